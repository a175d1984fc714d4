// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// siblingsVariable is a constant of a scheduler that asks for the other thread of each CPU's core: an array of s32, by CPU.
const siblingsVariable = "plugsched_siblings"

// setSiblings puts them into the object, if it asks for them.
func (o *Object) setSiblings(cpus string) error {
	v := o.spec.Variables[siblingsVariable]
	if v == nil {
		return nil
	}
	list, err := siblings(cpus, int(v.Size()/4))
	if err != nil {
		return err
	}
	return v.Set(list)
}

// siblings are the other threads of CPUs' cores. One that is alone, or is not there, is its own.
func siblings(cpus string, n int) ([]int32, error) {
	list := make([]int32, n)
	for cpu := range list {
		list[cpu] = int32(cpu)
		text, err := os.ReadFile(filepath.Join(cpus, fmt.Sprintf("cpu%d/topology/thread_siblings_list", cpu)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is off, or there are not so many
		}
		if err != nil {
			return nil, err
		}
		threads, err := parseCPUs(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, err
		}
		if len(threads) > 2 {
			return nil, &PreconditionError{fmt.Errorf("the core of CPU %d has %d threads, and the scheduler is for two at most", cpu, len(threads))}
		}
		for _, t := range threads {
			if t != cpu && t < n {
				list[cpu] = int32(t)
			}
		}
	}
	return list, nil
}

// parseCPUs reads a list of CPUs as the kernel prints them: 0-1,4.
func parseCPUs(text string) (cpus []int, err error) {
	for _, part := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, bad := strconv.Atoi(last)
		if err = errors.Join(err, bad); err != nil || to < from || to-from > 1<<16 {
			return nil, fmt.Errorf("a list of CPUs: %q", text)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
