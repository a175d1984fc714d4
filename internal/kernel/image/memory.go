// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"context"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

// ObjectUsers finds the functions whose instructions name an object's address,
// for the objects that want accepts, in the order of the functions. Whoever gets
// at an object through a pointer is not seen; nor is a per-CPU object's address as
// a constant, where per-CPU addresses begin at 0 and look like any other number.
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
	perCPU := p.Section(".data..percpu")
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
				seen := map[*Object]bool{}
				mach.Memory(s.code(), s.addr, func(m isa.Memory) {
					addr := uint64(m.Disp)
					if m.Based && m.Disp >= 0 || perCPU != nil && perCPU.Addr == 0 && !m.PerCPU && perCPU.contains(addr) {
						return
					}
					if o := p.ObjectAt(addr); o != nil && wanted[o] && s.owner != nil && !seen[o] {
						seen[o] = true
						found[i] = append(found[i], use{o, s.owner})
					}
				})
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
