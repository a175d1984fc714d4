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

// Constants of a scheduler that asks for domains, CPUs that share a cache: an array of u32, by CPU, with the number of each one's; how many
// there are; and an array of u32 with a CPU of each.
const (
	domainsVariable     = "plugsched_domains"
	domainCountVariable = "plugsched_domain_count"
	domainFirstVariable = "plugsched_domain_first"
)

const cpusDir = "/sys/devices/system/cpu"

// setDomains puts them into the object, if it asks for them.
func (o *Object) setDomains(cpus string) error {
	of, count, first := o.spec.Variables[domainsVariable], o.spec.Variables[domainCountVariable], o.spec.Variables[domainFirstVariable]
	if of == nil || count == nil || first == nil {
		return nil
	}
	list, _, err := domains(cpus, int(of.Size()/4))
	if err != nil {
		return err
	}
	firsts := make([]uint32, first.Size()/4)
	seen := map[uint32]bool{}
	for cpu, d := range list {
		if seen[d] {
			continue
		}
		if seen[d] = true; int(d) >= len(firsts) {
			return &PreconditionError{fmt.Errorf("there are more than %d groups of CPUs that share a cache, and the scheduler is for so many at most",
				len(firsts))}
		}
		firsts[d] = uint32(cpu)
	}
	return errors.Join(of.Set(list), count.Set(uint32(len(seen))), first.Set(firsts))
}

// domains are the numbers of CPUs' domains, in order of their first CPUs, and how many CPUs each has. One that is off, or is
// not there, is in the first, and is none of its number.
func domains(cpus string, n int) (of []uint32, sizes []int, err error) {
	of, sizes = make([]uint32, n), []int{0}
	numbers := map[string]uint32{}
	for cpu := range of {
		together, err := sharers(filepath.Join(cpus, fmt.Sprintf("cpu%d", cpu)))
		if err != nil {
			return nil, nil, err
		}
		if together == "" {
			continue
		}
		d, known := numbers[together]
		if !known {
			d = uint32(len(numbers))
			numbers[together] = d
		}
		of[cpu] = d
		if int(d) == len(sizes) {
			sizes = append(sizes, 0)
		}
		sizes[d]++
	}
	return of, sizes, nil
}

// sharers are the CPUs that share a CPU's last cache, as the kernel prints them; where it tells of no caches, those of its package.
func sharers(cpu string) (together string, err error) {
	levels, err := filepath.Glob(filepath.Join(cpu, "cache/index*/level"))
	if err != nil {
		return "", err
	}
	highest := 0
	for _, file := range levels {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		level, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if level <= highest {
			continue
		}
		highest = level
		if text, err = os.ReadFile(filepath.Join(filepath.Dir(file), "shared_cpu_list")); err != nil {
			return "", err
		}
		together = strings.TrimSpace(string(text))
	}
	if together != "" {
		return together, nil
	}
	text, err := os.ReadFile(filepath.Join(cpu, "topology/package_cpus_list"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}
