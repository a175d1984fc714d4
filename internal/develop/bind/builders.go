// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
)

// editHolder is a function in whose code an edit is.
type editHolder struct {
	edit     *edits.Change
	function *boundary.Function // nil if it neither builds nor makes anything
}

// holders finds who has which edit, for builders to decide once all units are known.
func (c *comparer) holders() {
	for _, d := range c.plan.Source.Defs {
		if d.Kind != asm.Func || c.plan.Fates[d] != Keep || !slices.Contains(c.out.Changed, d.Name) {
			continue
		}
		f := c.plan.kernel.function(d.Name, c.plan.Unit)
		if f != nil && f.Builds == "" && f.Makes == "" && !f.Boot {
			f = nil
		}
		causes := slices.DeleteFunc(c.causes(d), func(e edits.Cause) bool { return e.Kind == edits.Type })
		if len(causes) == 0 && f != nil {
			c.out.Warnings = append(c.out.Warnings, d.Name+": "+outlives(f)+", and its code changed although its source did not")
		}
		for _, e := range causes {
			c.out.holders = append(c.out.holders, editHolder{e.Change, f})
		}
	}
}

// builders looks at edits of what builds state that is there already (boundary.Function.Builds
// and Makes): they do nothing for it, and what they build is left when the module goes. Who runs
// all the time and has the same edit, in whichever unit, makes it take effect all the same.
func (k *Kernel) builders(c *Changes) {
	in := map[*edits.Change][]*boundary.Function{}
	var order []*edits.Change
	for _, h := range c.holders {
		if in[h.edit] == nil {
			order = append(order, h.edit)
		}
		in[h.edit] = append(in[h.edit], h.function)
	}
	var warnings []string
	for _, e := range order {
		refusals, said := k.builder(e, in[e])
		c.Refusals = append(c.Refusals, refusals...)
		warnings = append(warnings, said...)
	}
	c.Warnings = union(c.Warnings, warnings)
}

// builder refuses an edit that only functions have that build what lasts, and warns of others that
// some of them have.
func (k *Kernel) builder(e *edits.Change, in []*boundary.Function) (refusals []Refusal, warnings []string) {
	rank := func(f *boundary.Function) int {
		switch {
		case f == nil:
			return 0
		case f.Makes != "":
			return 1
		case f.Builds != "":
			return 2
		}
		return 3
	}
	order := func(a, b *boundary.Function) int {
		if a == nil || b == nil {
			return cmp.Compare(rank(a), rank(b))
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.Name, b.Name))
	}
	least, most := slices.MinFunc(in, order), slices.MaxFunc(in, order)
	why, said := k.Rebuilt[e.Name]
	switch {
	case most == nil:
	case rank(least) < 2:
		if rank(most) == 3 {
			most = slices.MaxFunc(slices.DeleteFunc(in, func(f *boundary.Function) bool { return rank(f) == 3 }), order)
		}
		if most != nil {
			warnings = append(warnings, e.Name+": "+outlives(most))
		}
	case said:
		warnings = append(warnings, e.Name+": "+outlives(most)+"; plugsched.yaml says: "+why)
	default:
		r := Refusal{Class: Builder, Name: e.Name, File: e.File, Line: e.At, Why: outlives(least),
			Do: "undo the change, or have it built anew after install and after removal, and say how under rebuilt in plugsched.yaml"}
		if least.Name != e.Name {
			r.Why = "is a part of " + least.Name + ", which " + r.Why
		}
		if rank(least) == 3 {
			r.Do = "undo the change, and do the work in plugsched_init() (docs/develop/hooks.md), " +
				"or say under rebuilt in plugsched.yaml why it does not matter"
		}
		refusals = append(refusals, r)
	}
	return refusals, warnings
}

// outlives says what a function has to do with state that is there already.
func outlives(f *boundary.Function) string {
	switch {
	case f.Builds != "":
		return "builds " + f.Builds + ": until then they are as the code before built them, after a removal too"
	case f.Makes != "":
		return "sets up " + f.Makes + ": what is there already stays as the code before set it up, after a removal too"
	}
	return "is only called by code that ran at boot and will not run again"
}
