// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
)

// switches refuses what would not survive the context switch. The module's __schedule
// does not return from it: its frame is left behind, for the one that the kernel's
// has (runtime/arch, plugsched_switch_to). So the switch must be in __schedule itself,
// where no kprobe may be, and ftrace must not wait for its return either.
func (c *comparer) switches() {
	for _, d := range c.plan.Source.Defs {
		if d.Kind != asm.Func || c.plan.Fates[d] == Drop {
			continue
		}
		holds := c.plan.refersTo(d, c.plan.kernel.Arch.SwitchTo)
		switch {
		case holds && d.Name != schedule:
			c.refuse(Switch, d, "has the context switch in it, and is not "+schedule+": its frame would be left behind there",
				"let "+schedule+" have it, and mark what it calls for it __always_inline")
		case holds && c.traceable(d):
			c.refuse(Switch, d, "has the context switch in it, where its frame is left behind, and could be traced: a tracer would wait for its return",
				"mark it notrace")
		}
	}
}

// traceable reports functions that ftrace can hook into.
func (c *comparer) traceable(d *asm.Def) bool {
	u := c.plan.Source
	found := u.In(d, func(section string) bool { return slices.Contains(c.plan.kernel.Arch.Traced, section) })
	u.Refs(d, func(name string, branch bool) {
		found = found || branch && (name == "__fentry__" || strings.TrimLeft(name, "_") == "mcount")
	})
	return found
}
