// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"sort"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/kernel/symbols"
)

// twins pairs the numbered static locals of a unit with the kernel's. gcc's
// numbers change with every edit, so that they are matched through the pristine
// unit, whose numbers are the kernel's: by name, size and the functions that use
// them. What has no state worth keeping (constants, "printed once" marks) or no
// unambiguous match is not in the result and stays private to the module.
func (k *Kernel) twins(unit string, edited, pristine *asm.Unit) map[string]string {
	twins := map[string]string{}
	ours, theirs := k.signatures(edited), k.signatures(pristine)
	for sig, names := range ours {
		match := theirs[sig]
		if len(match) != len(names) {
			continue
		}
		for i, name := range names {
			if s := k.Symbols.In(match[i], unit); s != nil && s.Kind == symbols.Object {
				twins[name] = match[i]
			}
		}
	}
	return twins
}

// signatures groups the numbered static locals of a unit by what identifies them.
func (k *Kernel) signatures(u *asm.Unit) map[string][]string {
	users := map[string]map[string]bool{}
	for _, d := range u.Defs {
		u.Refs(d, func(name string, _ bool) {
			if numbered(name) {
				if users[name] == nil {
					users[name] = map[string]bool{}
				}
				users[name][k.sourceName(d.Name)] = true
			}
		})
	}
	out := map[string][]string{}
	for _, d := range u.Defs {
		if d.Kind != asm.Object || !numbered(d.Name) || stateless(d) {
			continue
		}
		var by []string
		for name := range users[d.Name] {
			by = append(by, name)
		}
		sort.Strings(by)
		sig := fmt.Sprintf("%s %d %s %s", asm.Stem(d.Name), d.Size, d.Section, strings.Join(by, ","))
		out[sig] = append(out[sig], d.Name)
	}
	return out
}

func stateless(d *asm.Def) bool {
	return d.Size == 0 || d.Section == ".data.once" || strings.HasPrefix(d.Section, ".rodata") || strings.HasPrefix(d.Section, ".discard")
}

// sourceName strips what gcc appends to the names of clones and parts, and what
// SYSCALL_DEFINE (include/linux/syscalls.h) puts in front of a system call's.
func (k *Kernel) sourceName(name string) string {
	name = k.Arch.SyscallName(name)
	base, _, _ := strings.Cut(name, ".")
	if base == "" {
		return name
	}
	return base
}
