// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"cmp"
	"fmt"
	"slices"
)

// Operation is something that processes do through the scheduler, on one CPU.
type Operation struct {
	Name string
	What string // one of them is
	Unit int    // how many are measured at a time
	run  func(n int) (Sample, error)
}

// Sample is what was measured of an operation at a time, in ns.
type Sample struct {
	Each float64 `json:"each"`
	// Most is what one in a hundred took longer than, where each is looked at.
	Most float64 `json:"most,omitempty"`
}

// Turn is a Sample under a scheduler.
type Turn struct {
	Operation string `json:"operation"`
	Module    bool   `json:"module"` // it was the module's
	Sample
}

// Overhead is what an operation takes with the kernel's own scheduler and with the same one as a
// module, in instructions, measured in turns.
type Overhead struct {
	Operation string  `json:"operation"`
	What      string  `json:"what"`
	Stock     float64 `json:"stock"`  // median
	Module    float64 `json:"module"` // median
	// Ratio is the median of the second to the first, turn by turn, and Least and Greatest bound it.
	Ratio    float64 `json:"ratio"`
	Least    float64 `json:"least"`
	Greatest float64 `json:"greatest"`
}

// OverheadName is what it is called among the series.
const OverheadName = "overhead"

// overheads puts turns together, in the order in which operations come first.
func overheads(turns []Turn, nsPerInstruction int) []Overhead {
	var out []Overhead
	for _, o := range operations {
		for _, f := range []struct {
			name, what string
			of         func(Sample) float64
		}{
			{o.Name, o.What, func(s Sample) float64 { return s.Each }},
			{o.Name + ", 99 %", o.What + ": all but one in a hundred", func(s Sample) float64 { return s.Most }},
		} {
			var sides [2][]float64
			for _, t := range turns {
				if v := f.of(t.Sample); t.Operation == o.Name && v > 0 {
					i := 0
					if t.Module {
						i = 1
					}
					sides[i] = append(sides[i], v/float64(nsPerInstruction))
				}
			}
			if n := min(len(sides[0]), len(sides[1])); n > 0 {
				var ratios []float64
				for i := range n {
					ratios = append(ratios, sides[1][i]/sides[0][i])
				}
				out = append(out, Overhead{Operation: f.name, What: f.what, Stock: middle(sides[0]), Module: middle(sides[1]),
					Ratio: middle(ratios), Least: slices.Min(ratios), Greatest: slices.Max(ratios)})
			}
		}
	}
	return out
}

// middle needs a value at least.
func middle[T cmp.Ordered](values []T) T {
	v := slices.Sorted(slices.Values(values))
	return v[(len(v)-1)/2]
}

// Percent is how much more the module's takes.
func (o *Overhead) Percent() string { return fmt.Sprintf("%+.2f", 100*(o.Ratio-1)) }
