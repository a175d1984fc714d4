// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"context"
	"maps"
	"slices"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

// ObjectUsers finds the functions whose instructions name an object's address,
// for the objects that want accepts, in the order of the functions. Whoever gets
// at an object through a pointer is not seen.
//
// Where per-CPU addresses begin at 0 they look like any other number. A per-CPU object
// is named by an operand that is relative to the CPU's area, by a constant that can only
// be an address, by one that equals its address and, in functions that add the offset of a
// CPU's area to something, by whatever number they compute an address with. Of the last two,
// some may be mere numbers.
func (p *Program) ObjectUsers(ctx context.Context, want func(*Object) bool) (map[*Object][]*Function, error) {
	mach, err := arch.Of(p.Machine)
	if err != nil {
		return nil, err
	}
	wanted := map[*Object]bool{}
	for _, o := range p.Objects {
		if want(o) {
			wanted[o] = true
		}
	}
	areas := p.perCPUAreas()
	type use struct {
		object *Object
		by     *Function
	}
	code := batches(p.stretches())
	found := make([][]use, len(code))
	var jobs []func() error
	for i := range code {
		jobs = append(jobs, func() error {
			for _, s := range code[i] {
				seen, perhaps, adds := map[*Object]bool{}, map[*Object]bool{}, false
				mach.Memory(s.code(), s.addr, func(m isa.Memory) {
					adds = adds || areas.offset(m)
					sure, maybe := areas.names(m)
					o := p.ObjectAt(uint64(m.Disp))
					switch {
					case o == nil || !wanted[o] || s.owner == nil:
					case !sure && !o.Global && o.Unit != s.owner.Unit: // a number: nobody else knows the name
					case sure || maybe && !m.Based && !m.Index && uint64(m.Disp) == o.Addr:
						seen[o] = true
					case maybe:
						perhaps[o] = true
					}
				})
				if adds {
					maps.Copy(seen, perhaps)
				}
				for o := range seen {
					found[i] = append(found[i], use{o, s.owner})
				}
			}
			return nil
		})
	}
	if err := parallel(ctx, jobs); err != nil {
		return nil, err
	}
	out := map[*Object][]*Function{}
	for _, list := range found {
		for _, u := range list {
			if l := out[u.object]; len(l) == 0 || l[len(l)-1] != u.by {
				out[u.object] = append(l, u.by)
			}
		}
	}
	return out, nil
}

// perCPUAreas tells per-CPU addresses from other numbers.
type perCPUAreas struct {
	section *Section // nil if per-CPU addresses are like others
	bases   []int64  // where the offsets of the CPUs' areas are kept
}

func (p *Program) perCPUAreas() *perCPUAreas {
	a := &perCPUAreas{section: p.Section(".data..percpu")}
	if a.section != nil && a.section.Addr != 0 {
		a.section = nil
	}
	// arch/x86/include/asm/percpu.h, include/asm-generic/percpu.h
	for _, name := range []string{"__per_cpu_offset", "this_cpu_off"} {
		if addr, ok := p.Symbol(name); ok {
			a.bases = append(a.bases, int64(addr))
		}
	}
	return a
}

// offset reports an operand that reads the offset of an area.
func (a *perCPUAreas) offset(m isa.Memory) bool {
	return m.Size > 0 && slices.Contains(a.bases, m.Disp)
}

// names reports an operand that names what is at its displacement for sure, or maybe.
func (a *perCPUAreas) names(m isa.Memory) (sure, maybe bool) {
	if a.section == nil || !a.section.contains(uint64(m.Disp)) {
		return !m.Based || m.Disp < 0, false // with an index
	}
	return m.PerCPU || m.Address, m.Size == 0 && !m.Stack
}
