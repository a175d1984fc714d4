// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

// stretch is a run of code that begins at an instruction and belongs to one
// function, or to none (a gap between symbols).
type stretch struct {
	owner *Function // nil in a gap
	sec   *Section
	addr  uint64
	size  uint64
}

func (s *stretch) code() []byte {
	off := s.addr - s.sec.Addr
	return s.sec.Data[off : off+s.size]
}

// stretches cuts the executable sections at the functions' starts and ends, so
// that bytes which are no instruction derail the decoder up to the next symbol
// at most.
func (p *Program) stretches() []stretch {
	var out []stretch
	for _, sec := range p.index.sections {
		if !sec.Exec || len(sec.Data) == 0 {
			continue
		}
		end := sec.Addr + min(sec.Size, uint64(len(sec.Data)))
		cuts := []uint64{sec.Addr, end}
		for _, f := range p.Functions {
			if sec.contains(f.Addr) {
				cuts = append(cuts, f.Addr, min(f.Addr+f.Size, end))
			}
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		for i := 0; i+1 < len(cuts) && cuts[i+1] <= end; i++ {
			out = append(out, stretch{p.FuncAt(cuts[i]), sec, cuts[i], cuts[i+1] - cuts[i]})
		}
	}
	return out
}

// decoded is what a batch of stretches refers to.
type decoded struct {
	refs      []ownedRef
	undecoded int
}

type ownedRef struct {
	isa.Ref
	owner *Function // nil in a gap
}

// decode collects the references that leave the stretch's function, or that are
// values. takes reports whether a reference that is no branch takes a function's
// address.
func decode(m *arch.Arch, batch []stretch, takes func(isa.Ref) bool) decoded {
	var d decoded
	for i := range batch {
		s := &batch[i]
		d.undecoded += m.Refs(s.code(), s.addr, func(r isa.Ref) {
			switch {
			case !r.Branch():
				if !takes(r) {
					return
				}
			case s.owner != nil && r.Target-s.owner.Addr < s.owner.Size:
				if r.Kind == isa.RefJump || r.Target != s.owner.Addr {
					return
				}
			}
			d.refs = append(d.refs, ownedRef{r, s.owner})
		})
	}
	return d
}

// batches cuts the stretches into pieces of similar amounts of code, one job
// each.
func batches(all []stretch) [][]stretch {
	const bytes = 512 << 10
	var out [][]stretch
	var size uint64
	start := 0
	for i, s := range all {
		size += s.size
		if size >= bytes || i == len(all)-1 {
			out = append(out, all[start:i+1])
			start, size = i+1, 0
		}
	}
	return out
}

// linkCode turns the decoded references into Calls and Takes. compiled reports
// code of a C unit.
func (p *Program) linkCode(ctx context.Context, m *arch.Arch, refs []ownedRef, compiled func(addr uint64) bool) error {
	frags, err := p.fragments(m, refs, compiled)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(r ownedRef) bool { return r.owner == nil && frags.dead(r.Site) })
	for i := range refs {
		if refs[i].owner == nil {
			refs[i].owner = frags.owner(refs[i].Site)
		}
	}
	p.adoptGaps(refs, frags)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range refs {
		from := r.owner
		if from == nil {
			from = p.FuncAt(r.Site)
		}
		to := frags.owner(r.Target)
		if f := p.FuncAt(r.Target); f != nil {
			to = f
		}
		if from == nil || to == nil {
			continue
		}
		if !r.Branch() {
			from.Takes = append(from.Takes, Take{r.Site, to})
			continue
		}
		c := Call{Site: r.Site, To: to, Offset: r.Target - to.Addr, Jump: r.Kind == isa.RefJump}
		if to == from && (c.Jump || c.Offset != 0) {
			continue
		}
		from.Calls = append(from.Calls, c)
	}
	for _, f := range p.Functions {
		slices.SortStableFunc(f.Calls, func(a, b Call) int { return cmp.Compare(a.Site, b.Site) })
		slices.SortStableFunc(f.Takes, func(a, b Take) int { return cmp.Compare(a.Site, b.Site) })
	}
	return nil
}

// fragments are pieces of code without a symbol that belong to a function: what
// it jumps to in a gap, and what may replace its instructions at boot. Each
// extends to the next fragment, or to the end of the gap.
//
// A compiler gives every function a symbol. Compiled code without one is a weak
// function that another definition replaced: the linker dropped its name and
// kept its code, which nothing can reach. It and its fragments are dead.
type fragments struct {
	starts   []fragment // by address
	gaps     []stretch
	compiled func(addr uint64) bool
}

type fragment struct {
	addr  uint64
	owner *Function // nil if it is dead
}

func (p *Program) fragments(m *arch.Arch, refs []ownedRef, compiled func(uint64) bool) (*fragments, error) {
	f := &fragments{compiled: compiled}
	for _, s := range p.stretches() {
		if s.owner == nil {
			f.gaps = append(f.gaps, s)
		}
	}
	for _, r := range refs {
		if to := f.gap(r.Target); to != nil && r.Kind == isa.RefJump && to != f.gap(r.Site) {
			f.start(r.Target, r.owner, r.Site)
		}
	}
	if t := p.Section(".altinstructions"); t != nil {
		repl, err := m.Alternatives(t.Data, t.Addr,
			func(a uint64) bool { return p.FuncAt(a) != nil || f.gap(a) != nil || p.inMixed(a) },
			func(a uint64) bool { return f.gap(a) != nil })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Path, err)
		}
		for _, r := range repl {
			if r.SiteLen > 0 {
				p.replaced = append(p.replaced, span{r.Site, r.Site + uint64(r.SiteLen)})
				p.addInstead(m, &r)
			}
			if r.ReplacementLen > 0 {
				f.start(r.Replacement, p.FuncAt(r.Site), r.Site)
			}
		}
	}
	p.replaced = merge(p.replaced)
	slices.SortStableFunc(f.starts, func(a, b fragment) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), compareBool(a.owner == nil, b.owner == nil))
	})
	f.starts = slices.CompactFunc(f.starts, func(a, b fragment) bool { return a.addr == b.addr })
	return f, nil
}

// addInstead notes what may be in the place of each instruction, where those of both are of one size.
func (p *Program) addInstead(m *arch.Arch, r *isa.Alternative) {
	if m.Records == nil {
		return
	}
	if p.instead == nil {
		p.instead = map[uint64][]uint64{}
	}
	for off := 0; off < r.SiteLen; off += m.MaxInstruction {
		by := uint64(0)
		if off < r.ReplacementLen {
			by = r.Replacement + uint64(off)
		}
		p.instead[r.Site+uint64(off)] = append(p.instead[r.Site+uint64(off)], by)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// start records that the code at addr belongs to the code at site.
func (f *fragments) start(addr uint64, owner *Function, site uint64) {
	if owner != nil || f.compiled(site) {
		f.starts = append(f.starts, fragment{addr, owner})
	}
}

func (f *fragments) gap(addr uint64) *stretch {
	i, _ := slices.BinarySearchFunc(f.gaps, addr, func(g stretch, a uint64) int {
		if g.addr > a {
			return 1
		}
		return -1
	})
	if i > 0 && addr-f.gaps[i-1].addr < f.gaps[i-1].size {
		return &f.gaps[i-1]
	}
	return nil
}

// owner returns the function that the code at addr, in a gap, belongs to.
func (f *fragments) owner(addr uint64) *Function {
	if s := f.at(addr); s != nil {
		return s.owner
	}
	return nil
}

// dead reports code in a gap that nothing can reach.
func (f *fragments) dead(addr uint64) bool {
	if s := f.at(addr); s != nil {
		return s.owner == nil
	}
	return f.compiled(addr)
}

func (f *fragments) at(addr uint64) *fragment {
	g := f.gap(addr)
	if g == nil {
		return nil
	}
	i, _ := slices.BinarySearchFunc(f.starts, addr, func(s fragment, a uint64) int {
		if s.addr > a {
			return 1
		}
		return -1
	})
	if i == 0 || f.starts[i-1].addr < g.addr {
		return nil
	}
	return &f.starts[i-1]
}

// adoptGaps makes a function of every gap whose code refers to something, or is
// referred to, and belongs to no function, so that no caller goes unnoticed.
func (p *Program) adoptGaps(refs []ownedRef, frags *fragments) {
	adopted := map[uint64]bool{}
	adopt := func(addr uint64) {
		g := frags.gap(addr)
		if g == nil || frags.owner(addr) != nil || adopted[g.addr] {
			return
		}
		adopted[g.addr] = true
		name := fmt.Sprintf("%s+%#x", g.sec.Name, g.addr-g.sec.Addr)
		p.Functions = append(p.Functions, &Function{
			Name: name, Base: name, Addr: g.addr, Size: g.size, Section: g.sec.Name, FtraceSite: -1,
		})
	}
	for _, r := range refs {
		if r.owner == nil {
			adopt(r.Site)
		}
		if r.Branch() {
			adopt(r.Target)
		}
	}
	p.sortFunctions()
}

func (p *Program) sortFunctions() {
	slices.SortStableFunc(p.Functions, func(a, b *Function) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Name, b.Name))
	})
	p.funcEnds = ends(p.Functions)
}
