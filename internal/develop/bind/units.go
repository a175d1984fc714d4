// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/symbols"
)

// Bound is all units with the boundary applied.
type Bound struct {
	Assembly map[string][]byte // by unit
	// Names are undefined names in it of which the name alone does not say which symbol of
	// the kernel is meant.
	Names map[string]*symbols.Symbol
	Changes
}

// Bind applies the boundary to every unit, as it was and as it is, and refuses what would
// not take effect. Of a unit that is new, and of one that is gone, one side is missing.
func (k *Kernel) Bind(ctx context.Context, pristine, edited map[string]*asm.Unit, src *edits.Set) (*Bound, error) {
	k.SetUnits(pristine, edited)
	b := &Bound{Assembly: map[string][]byte{}, Names: map[string]*symbols.Symbol{}}
	for _, name := range unitNames(pristine, edited) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		was, is := pristine[name], edited[name]
		if was == nil {
			was = &asm.Unit{Name: name}
		}
		if is == nil {
			b.Refusals = append(b.Refusals, k.Decide(name, &asm.Unit{Name: name}, was).Compare(src).Refusals...)
			continue
		}
		plan := k.Decide(name, is, was)
		b.Add(plan.Compare(src))
		b.Assembly[name] = plan.Render()
		maps.Copy(b.Names, plan.Bound)
	}
	k.builders(&b.Changes)
	return b, nil
}

func unitNames(sets ...map[string]*asm.Unit) []string {
	var out []string
	for _, s := range sets {
		out = slices.AppendSeq(out, maps.Keys(s))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Add takes in what another comparison found.
func (c *Changes) Add(o *Changes) {
	c.Changed = union(c.Changed, o.Changed)
	c.Added = union(c.Added, o.Added)
	c.Removed = union(c.Removed, o.Removed)
	c.Warnings = union(c.Warnings, o.Warnings)
	c.Refusals = append(c.Refusals, o.Refusals...)
	c.Holes = append(c.Holes, o.Holes...)
	slices.SortFunc(c.Holes, func(a, b Hole) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	c.Holes = slices.Compact(c.Holes)
	c.Unseen = append(c.Unseen, o.Unseen...)
	c.holders = append(c.holders, o.holders...)
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
