// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"slices"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/needs"
)

// unbound are options of the kernel's for which gcc writes what cannot be bound, and gcc's own that keep it from that.
var unbound = []struct {
	kernel string
	gcc    []string
}{
	// Each frame is described by a text that has the lines of its variables, and each unit has a table of all its
	// variables, most of which are the kernel's in the end (gcc's asan.cc). The module is left without both.
	{"CONFIG_KASAN_GENERIC", []string{"--param=asan-stack=0", "--param=asan-globals=0"}},
}

// Options are those of the compiler, besides kbuild's, for what is compared with a kernel of this configuration, and for
// what is bound.
func Options(a *arch.Arch, config needs.Config) (compared, bound []string) {
	bound = slices.Clone(a.Bound)
	for _, u := range unbound {
		if config[u.kernel] == "y" {
			bound = append(bound, u.gcc...)
		}
	}
	return a.Compared, bound
}
