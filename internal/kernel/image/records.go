// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

// FrameRecords is what the calls in a kernel's code say of frame records, by which stacks are walked.
type FrameRecords struct {
	Functions, Calls int
	// Bare is from how many places functions are entered without a record, Unframed by whom, by address.
	Bare     int
	Unframed []isa.Unframed
}

// FrameRecords looks at all functions but those that are gone when the kernel has booted. It is nil where stacks are
// not walked by frame records.
func (p *Program) FrameRecords(ctx context.Context) (*FrameRecords, error) {
	mach, err := arch.Of(p.Machine)
	if err != nil || mach.Records == nil {
		return nil, err
	}
	var list []*Function
	for _, f := range p.Functions {
		if !strings.HasPrefix(f.Section, ".init") && !p.isPart(f) {
			list = append(list, f)
		}
	}
	results := make([]isa.Records, len(list))
	var jobs []func() error
	const batch = 1000
	for first := 0; first < len(list); first += batch {
		jobs = append(jobs, func() error {
			for i := first; i < min(first+batch, len(list)); i++ {
				results[i] = mach.Records(p.text(list[i], mach), p.parts(list[i]))
			}
			return nil
		})
	}
	if err := parallel(ctx, jobs); err != nil {
		return nil, err
	}
	out := &FrameRecords{Functions: len(list)}
	for i, r := range results {
		out.Calls += r.Calls
		if out.Bare += len(r.Bare); len(r.Bare) == 0 {
			continue
		}
		// All of its parts are as unknown as the one that was seen.
		for _, part := range p.parts(list[i]) {
			out.Unframed = append(out.Unframed, isa.Unframed{Name: list[i].Name, Addr: part.Addr, Size: uint64(len(part.Code)),
				Place: r.Bare[0] - list[i].Addr})
		}
	}
	slices.SortStableFunc(out.Unframed, func(a, b isa.Unframed) int { return cmp.Compare(a.Addr, b.Addr) })
	return out, nil
}

// coldPart is what gcc calls the part of a function that is seldom run. The linker makes detours of an instruction or
// two around an erratum of processors, which lead back (ld's --fix-cortex-a53-843419).
const (
	coldPart = ".cold"
	detour   = "e843419@"
)

// isPart reports the part of another function.
func (p *Program) isPart(f *Function) bool {
	name, cold := strings.CutSuffix(f.Name, coldPart)
	return cold && p.Lookup(name, f.Unit) != nil || strings.HasPrefix(f.Name, detour)
}

// parts are a function's code, and what was split off it.
func (p *Program) parts(f *Function) []isa.Part {
	var parts []isa.Part
	add := func(g *Function) { parts = append(parts, isa.Part{Addr: g.Addr, Code: p.Bytes(g.Addr, int(g.Size))}) }
	add(f)
	if g := p.Lookup(f.Name+coldPart, f.Unit); g != nil {
		add(g)
	}
	for _, c := range f.Calls {
		if c.Jump && strings.HasPrefix(c.To.Name, detour) {
			add(c.To)
		}
	}
	return parts
}
