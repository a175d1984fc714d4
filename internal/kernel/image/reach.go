// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"slices"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

// Reach is what code behind an address can get to, on any path and whatever
// static keys say.
type Reach struct {
	Calls []*Function // in no particular order; indirect calls are not among them
	Keys  []uint64    // sites of static keys on the way
}

// stackFailure does not return (kernel/panic.c): the code behind a call of it is
// somebody else's.
const stackFailure = "__stack_chk_fail"

// ReachFrom follows the code of f, and of the parts split off it, from addr on.
func (p *Program) ReachFrom(f *Function, addr uint64) (*Reach, error) {
	mach, err := arch.Of(p.Machine)
	if err != nil {
		return nil, err
	}
	tail, err := mach.Tail(p.text(f, mach), addr)
	if err != nil {
		return nil, err
	}
	r := &Reach{Keys: tail.Keys}
	for _, a := range tail.Calls {
		if g := p.FuncAt(a); g != nil {
			r.Calls = append(r.Calls, g)
		}
	}
	return r, nil
}

// Routine is f as a proof about its code needs it.
func (p *Program) Routine(f *Function) (*isa.Routine, error) {
	mach, err := arch.Of(p.Machine)
	if err != nil {
		return nil, err
	}
	return &isa.Routine{
		Text:  p.text(f, mach),
		Entry: f.Addr,
		Frame: p.FrameAt,
		Name: func(a uint64) string {
			if g := p.FuncAt(a); g != nil && g.Addr == a {
				return g.Name
			}
			return ""
		},
		Symbols: p.symbolsAt,
	}, nil
}

// text is the code of f, and of the parts split off it.
func (p *Program) text(f *Function, mach *arch.Arch) *isa.Text {
	return &isa.Text{
		Bytes: func(a uint64) []byte { return p.upTo(a, mach.MaxInstruction) },
		Within: func(a uint64) bool {
			g := p.FuncAt(a)
			return g == f || g != nil && g.Name == f.Name+".cold" && p.Lookup(g.Name, f.Unit) == g
		},
		Patched: func(a uint64) (uint64, bool) {
			s := p.PatchSiteIn(a, a+1)
			return siteTarget(s, a)
		},
		Returns: func(a uint64) bool {
			g := p.FuncAt(a)
			return g == nil || g.Name != stackFailure
		},
		Replaced: func(a uint64, size int) bool {
			i, _ := slices.BinarySearchFunc(p.replaced, a, func(s span, a uint64) int { return cmp.Compare(s.hi, a+1) })
			return i < len(p.replaced) && p.replaced[i].lo < a+uint64(size)
		},
		Instead: func(a uint64) []uint64 { return p.instead[a] },
		Fault:   func(a uint64) uint64 { return p.faults[a] },
	}
}

func siteTarget(s *PatchSite, addr uint64) (uint64, bool) {
	if s == nil || s.Addr != addr || s.Kind != SiteStaticKey {
		return 0, false
	}
	return s.Target, true
}

// upTo returns up to n bytes at addr.
func (p *Program) upTo(addr uint64, n int) []byte {
	for ; n > 0; n-- {
		if b := p.Bytes(addr, n); b != nil {
			return b
		}
	}
	return nil
}
