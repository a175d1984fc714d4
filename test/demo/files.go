// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/guest/vm"
)

// files puts the module into the guest, and chrt and taskset: the host's own, with
// the libraries that they need.
func (d *demo) files() ([]vm.File, error) {
	list := []vm.File{{GuestPath: "/scheduler.ko", HostPath: filepath.Join(d.Work, "scheduler.ko")}}
	for _, program := range []string{"/usr/bin/chrt", "/usr/bin/taskset"} {
		needs, err := withLibraries(program)
		if err != nil {
			return nil, err
		}
		for _, l := range needs {
			if !slices.ContainsFunc(list, func(v vm.File) bool { return v.GuestPath == l }) {
				list = append(list, vm.File{GuestPath: l, HostPath: l, Mode: 0o755})
			}
		}
	}
	return list, nil
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
