// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/symbols"
)

// gone refuses uses of what the kernel gave back when it had booted, in what the module has: somebody
// else's memory would be called or read. What did so before it was edited (__ref) knows when it may.
func (c *comparer) gone() {
	p := c.plan
	for _, d := range p.Source.Defs {
		if p.Fates[d] == Drop || initSection(d.Section) {
			continue
		}
		seen := map[string]bool{}
		p.Source.Refs(d, func(name string, _ bool) {
			s := p.meant(name)
			if seen[name] || s == nil || !s.Init || c.usedBefore(d, s) {
				return
			}
			seen[name] = true
			user := p.kernel.sourceName(d.Name)
			r := Refusal{Class: Init, Name: asm.Stem(name), File: p.Unit, Do: "undo the change, or bring along a copy of it by a name of its own",
				Why: "is gone since boot (it is __init code or data), and " + user + " is in the module and would use it"}
			r.atUse(user, c.src)
			c.out.Refusals = append(c.out.Refusals, r)
		})
	}
}

// meant returns the kernel's symbol that a name in the module is bound to, nil if it is the
// module's own.
func (p *Plan) meant(name string) *symbols.Symbol {
	if p.Source.Lookup(name) == nil {
		if _, d := defines(p.kernel.edited, name); d != nil && !p.was(name) {
			return nil // new, in another unit
		}
		return p.kernel.find(name)
	}
	if p.moves(name) {
		return nil
	}
	if twin, ok := p.twins[name]; ok {
		name = twin
	}
	return p.kernel.symbol(name, p.Unit)
}

// usedBefore reports that a definition used a symbol before anything was edited. What gcc makes of
// it, inlined or not, may have been another function's then.
func (c *comparer) usedBefore(d *asm.Def, s *symbols.Symbol) bool {
	found := false
	if u, was := c.counterpart(d); was != nil {
		u.Refs(was, func(name string, _ bool) { found = found || name == s.Name })
	}
	edited := c.src.Find(c.plan.kernel.sourceName(d.Name), edits.Function, edits.Variable) != nil
	return found || !edited && c.plan.kernel.usedByMoving(s)
}

// usedByMoving reports that something which moves refers to a symbol in the kernel as it is.
func (k *Kernel) usedByMoving(s *symbols.Symbol) bool {
	return slices.ContainsFunc(slices.Concat(k.users[key{s.Name, s.Unit}], k.users[key{s.Name, ""}]), func(u user) bool {
		at := key{u.def.Name, u.unit}
		f, o := k.functions[at], k.objects[at]
		return f != nil && f.Class.Moves() || o != nil && o.Class != boundary.Shared
	})
}
