// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/kernel/image"
)

// result names the classes and the facts behind them.
func (d *deriver) result(ctx context.Context) (*Boundary, error) {
	b := &Boundary{Release: d.prog.Release, BuildID: d.prog.BuildID, Sources: d.cfg.Sources}
	for _, n := range d.order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f := n.fn
		r := &Function{Name: f.Name, Base: f.Base, Aliases: f.Aliases, Unit: f.Unit, DeclFile: f.DeclFile, DeclLine: f.DeclLine,
			Addr: f.Addr, Size: f.Size, Jump: n.jump, Sidecar: n.side != nil}
		callers, reached := d.outsideCallers(n), d.reached(n)
		switch {
		case n.init:
			r.Class = Init
		case len(n.stays) > 0:
			r.Class = External
		case reached && (f.Exported || f.BPF || n.tail || len(callers) > 0):
			r.Class = Interface
		case reached:
			r.Class = Callback
		default:
			r.Class = Internal
		}
		if r.Class.Border() {
			r.Shipped = d.prog.Bytes(f.Addr+uint64(n.jump), d.arch.JumpSize)
		} else {
			r.Jump = 0
		}
		if r.Class == External {
			r.Inlines = d.inlined(f)
		}
		r.Callers, r.Callees = names(n.callers), d.callees(f)
		r.Facts = append(d.facts(n, callers), d.copies(n)...)
		b.Functions = append(b.Functions, r)
		n.result = r
	}
	d.builders()
	if others := d.unnamed(); len(others) > 0 {
		b.Functions = append(b.Functions, others...)
		sort.SliceStable(b.Functions, func(i, j int) bool { return b.Functions[i].Name < b.Functions[j].Name })
	}
	for _, file := range d.cfg.Sidecar.Files() {
		if !d.cfg.Source(file) {
			b.Sidecars = append(b.Sidecars, file)
		}
	}
	b.Objects = d.objects()
	b.Absent = d.absent()
	return b, nil
}

func (d *deriver) inlined(f *image.Function) []string {
	var out []string
	for _, s := range f.Inlines {
		if d.cfg.Compiled(s.DeclFile) {
			out = append(out, s.Name)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

func (d *deriver) facts(n *node, callers []*image.Function) []Fact {
	facts := append(append([]Fact(nil), n.stays...), n.notes...)
	if n.side != nil {
		facts = append(facts, Fact{Kind: "sidecar", Text: "is named under sidecar: " + n.side.Reason})
	}
	if n.fn.Exported {
		facts = append(facts, Fact{Kind: "exported", Text: "is exported, so that modules may call it"})
	}
	if n.fn.BPF {
		facts = append(facts, Fact{Kind: "bpf", Text: "has a BTF id in the kernel's tables: BPF programs may call it by that, or be attached to it"})
	}
	if n.tail {
		facts = append(facts, Fact{Kind: "called", Text: "is called by __schedule behind the context switch, a part that stays",
			By: scheduleName})
	}
	seen := map[string]bool{}
	for _, c := range callers {
		if s := describe(c); !seen[s] {
			seen[s] = true
			facts = append(facts, Fact{Kind: "called", Text: "is called by " + s + ", which stays", By: c.Name})
		}
	}
	for _, t := range n.takers {
		if !seen[t] {
			seen[t] = true
			facts = append(facts, Fact{Kind: "address", Text: "its address is taken by " + t})
		}
	}
	if len(seen) == 0 && !n.fn.Exported && !n.fn.BPF && !n.tail && len(n.stays) == 0 {
		facts = append(facts, Fact{Kind: "inside", Text: d.insideText(n)})
	}
	return facts
}

// insideText says how a function that nothing outside reaches is reached.
func (d *deriver) insideText(n *node) string {
	var callers []*image.Function
	init := false
	for _, c := range n.callers {
		if strings.HasPrefix(c.Section, ".init") {
			init = true
		} else {
			callers = append(callers, c)
		}
	}
	list := names(callers)
	switch {
	case len(list) > 8:
		list = append(list[:8], fmt.Sprintf("and %d more", len(list)-8))
		fallthrough
	case len(list) > 0:
		return "is only called by functions that move: " + strings.Join(list, ", ")
	case len(n.tables) > 0:
		return "is only reached through a scheduling class table, rewritten by the update: " + strings.Join(n.tables, ", ")
	case init:
		return "is only called by __init code, which is gone"
	}
	return "is not reached by anything in the kernel's image"
}

// copies says where code that stays holds an inlined copy of a function that
// moves.
func (d *deriver) copies(n *node) []Fact {
	var out []Fact
	for _, f := range d.inlinedInto(n.fn.DeclFile, n.fn.Base) {
		if c := d.nodes[f]; c != nil && len(c.stays) > 0 && len(n.stays) == 0 {
			out = append(out, Fact{Kind: "inlined", By: f.Name,
				Text: "a copy of it is inlined into " + describe(f) + ", which stays: a change that alters that copy is refused"})
		}
	}
	return out
}

// inlinedInto returns the scheduler's functions that hold a copy of one.
func (d *deriver) inlinedInto(file, name string) []*image.Function {
	if d.holders == nil {
		d.holders = map[[2]string][]*image.Function{}
		for _, n := range d.order {
			seen := map[[2]string]bool{}
			for _, s := range n.fn.Inlines {
				if k := [2]string{s.DeclFile, s.Name}; !seen[k] {
					seen[k] = true
					d.holders[k] = append(d.holders[k], n.fn)
				}
			}
		}
	}
	return d.holders[[2]string{file, name}]
}

// absent lists the source's functions that the kernel has no symbol of: inlined
// everywhere, or weak and replaced by another definition.
func (d *deriver) absent() []*Absent {
	have := map[[2]string]bool{}
	for _, n := range d.order {
		have[[2]string{n.fn.DeclFile, n.fn.Base}] = true
		for _, a := range n.fn.Aliases {
			have[[2]string{n.fn.DeclFile, a}] = true
		}
	}
	var out []*Absent
	add := func(s *image.Source, a Absent) {
		k := [2]string{s.DeclFile, s.Name}
		if d.cfg.Source(s.DeclFile) && !have[k] {
			have[k] = true
			a.Name, a.Unit, a.DeclFile, a.DeclLine = s.Name, s.Unit, s.DeclFile, s.DeclLine
			out = append(out, &a)
		}
	}
	for _, s := range d.prog.Dropped {
		for _, f := range d.prog.Func(s.Name) {
			if f.Global {
				add(s, Absent{Over: describe(f)})
			}
		}
	}
	for _, n := range d.order {
		for _, s := range n.fn.Inlines {
			add(s, Absent{Into: names(d.inlinedInto(s.DeclFile, s.Name))})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].DeclFile < out[j].DeclFile
	})
	return out
}

// callees are the functions that f and the part split off it branch to.
func (d *deriver) callees(f *image.Function) []string {
	var to []*image.Function
	for _, c := range d.branches(f) {
		thunk := slices.ContainsFunc(d.arch.Thunks, func(p string) bool { return strings.HasPrefix(c.Name, p) })
		if c != f && !thunk {
			to = append(to, c)
		}
	}
	return names(to)
}

func names(list []*image.Function) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.Name)
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// objects classifies the scheduler's variables.
func (d *deriver) objects() []*Object {
	var out []*Object
	for _, o := range d.prog.Objects {
		if !d.cfg.Compiled(o.Unit) {
			continue
		}
		r := &Object{Name: o.Name, Unit: o.Unit, DeclFile: o.DeclFile, DeclLine: o.DeclLine, Type: o.Type,
			Addr: o.Addr, Size: o.Size, Exported: o.Exported, Class: Shared, Why: "the kernel has it; state is inherited"}
		if d.isTable(o) {
			r.Class, r.Why = Table, "a scheduling class; rewritten in place, because tasks point at it"
		}
		if why, ok := d.cfg.Private[o.Name]; ok {
			r.Class, r.Why = Private, why
		}
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].Addr < out[j].Addr
	})
	return out
}
