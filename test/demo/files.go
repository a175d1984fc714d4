// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"os/exec"
	"strings"

	"plugsched/internal/project"
)

func (d *demo) kernel() (string, error) {
	p, err := project.Open(d.work)
	if err != nil {
		return "", err
	}
	t, err := p.Target()
	if err != nil {
		return "", err
	}
	if t.Vmlinuz == "" {
		return "", fmt.Errorf("%s: no boot image", t.Release)
	}
	return t.Vmlinuz, nil
}

// withLibraries lists a program and the shared libraries it needs.
func withLibraries(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	list := []string{program}
	for _, l := range strings.Split(string(out), "\n") {
		for _, w := range strings.Fields(l) {
			if strings.HasPrefix(w, "/") {
				list = append(list, w)
				break
			}
		}
	}
	return list, nil
}
