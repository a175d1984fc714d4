// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"
	"strconv"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
)

// thisModule is what THIS_MODULE stands for in a module; in built-in code it is NULL.
const thisModule = "__this_module"

// owned reports a definition that differs from the pristine one because it mentions its
// owner, and not by anything that the developer did: with the kernel's it stays NULL, in the
// module it is right. is and was are the two as asm.Unit.Normal shows them.
func (c *comparer) owned(d *asm.Def, is, was string) bool {
	if !strings.Contains(is, thisModule) || strings.Contains(was, thisModule) {
		return false
	}
	if d.Kind == asm.Object {
		return withoutOwner(is) == withoutOwner(was)
	}
	if c.src.Find(c.plan.kernel.sourceName(d.Name), edits.Function) != nil {
		return false
	}
	causes := c.causes(d)
	inlined := slices.ContainsFunc(causes, func(e edits.Cause) bool { return e.Kind == edits.Function })
	// Of what ran at boot, the source alone decides: an address that is not NULL can make the compiler
	// arrange more than the instructions that mention it (DO_ONCE), and nobody runs them.
	return !inlined && sameBesidesOwner(is, was) || len(causes) == 0 && initSection(d.Section)
}

// sameBesidesOwner reports code in which some instructions mention the owner, and all others
// are the same. What the compiler makes of NULL there is another instruction, or none.
func sameBesidesOwner(is, was string) bool {
	now, before := strings.Split(is, "\n"), strings.Split(was, "\n")
	for len(now) > 0 {
		switch {
		case len(before) > 0 && now[0] == before[0]:
			before = before[1:]
		case !strings.Contains(now[0], thisModule):
			return false
		case len(before) > 1 && len(now) > 1 && before[1] == now[1]:
			before = before[1:]
		}
		now = now[1:]
	}
	return len(before) == 0
}

// widths are the sizes in bytes of what data directives write, in gcc's words.
var widths = map[string]int{".quad": 8, ".xword": 8, ".long": 4, ".word": 2, ".value": 2, ".byte": 1}

// withoutOwner shows data with NULL in the place of its owner. The compiler writes
// neighbouring zeros as one statement, so that each byte of them is shown for itself.
func withoutOwner(normal string) string {
	var b strings.Builder
	for line := range strings.Lines(normal) {
		line = strings.TrimSpace(line)
		directive, value, _ := strings.Cut(line, "\t")
		n := widths[directive]
		switch {
		case directive == ".zero":
			n, _ = strconv.Atoi(value)
		case value != "0" && value != thisModule:
			n = 0
		}
		if n == 0 {
			b.WriteString(line + "\n")
			continue
		}
		b.WriteString(strings.Repeat("0\n", n))
	}
	return b.String()
}
