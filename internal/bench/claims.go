// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"strings"
)

// why says why what grows with a series has to.
var why = map[string]string{
	"threads": "Sleepers are inspected before the stop. The other two ways inspect all of them in it.",
	"runnable": "Every task that is queued is taken off its queue by the old scheduler and put back by the new one, and its stack " +
		"is inspected in the stop, for it runs: all three are work for each of them.",
	"cpus": "Every CPU is called, waits for all others between two steps, and has an idle task to inspect and a queue to empty. The clock " +
		"counts what all CPUs do together, waiting too: on a machine whose CPUs work at the same time each has its own share only.",
	"groups":     "No group is looked at that has no task queued.",
	"autogroups": "An autogroup whose task sleeps is not looked at.",
	"depth": "The stacks of sleepers are unwound before the stop, the other ways unwind them in it: a frame takes two binary " +
		"searches in the kernel's tables for the unwinder, and one among what is replaced.",
	"updates": "How much a patch changes makes no difference: the whole scheduler is replaced in any case. What remains is how many " +
		"functions of the kernel lead to it.",
	"throttled": "A group that has used up its quota keeps its task queued in itself, for the new scheduler to release: " +
		"each such task is taken off and put back like any other that could run.",
}

// Growth says in a sentence how the stop of ours depends on what a series varies.
func (s *SeriesResult) Growth() string {
	var out []string
	for _, f := range s.Fits {
		if f.Way == Ours && f.Figure != Stop && f.Grows() {
			out = append(out, fmt.Sprintf("%s of %s by %s µs for each (of the differences the line explains %.0f %%)",
				f.Figure, f.Direction, micro3(f.Each), 100*f.R2))
		}
	}
	if len(s.Fits) == 0 {
		return "One value says nothing about growth."
	}
	if len(out) == 0 {
		return "Nothing grows."
	}
	return "What grows: " + strings.Join(out, "; ") + "."
}

func micro3(ns float64) string { return fmt.Sprintf("%.3g", ns/1e3) }

// Why says why that is so.
func (s *SeriesResult) Why() string { return why[s.Name] }

// work is what a way has to do with tasks: inspect their stacks and rebuild queues, of both
// directions.
func (p *Point) work(w Way) float64 {
	var sum int64
	for _, d := range directions {
		for _, part := range []string{"inspection", "clear", "rebuild"} {
			sum += p.median(w, d, part)
		}
	}
	return float64(sum)
}

// Claims are what the series of threads shows.
func (r *Result) Claims() []string {
	s := r.Find("threads")
	if s == nil || len(s.Points) < 2 {
		return nil
	}
	var out []string
	first := &s.Points[0]
	for i := range s.Points[1:] {
		p := &s.Points[i+1]
		line := fmt.Sprintf("With %d sleepers instead of %d the stop takes ", p.Value, first.Value)
		var parts []string
		for _, d := range directions {
			parts = append(parts, fmt.Sprintf("%.2f times as long (%s)",
				float64(p.median(Ours, d, Stop))/float64(max(first.median(Ours, d, Stop), 1)), d))
		}
		out = append(out, line+strings.Join(parts, ", ")+".")
		if p.Row(Parallel, directions[0]) == nil {
			continue
		}
		ratio := p.work(Parallel) / max(p.work(Ours), 1)
		out = append(out, fmt.Sprintf("With %d, inspection, clear and rebuild are %.0f times below those of the parallel way, and %.0f times if "+
			"its work were spread over %d CPUs without loss and ours not at all. Below the serial way: %.0f times.",
			p.Value, ratio, ratio/float64(s.CPUs), s.CPUs, p.work(Serial)/max(p.work(Ours), 1)))
	}
	return out
}

// Worst is the greatest share of a stop that is in none of its parts, by medians, over all rows.
func (r *Result) Worst() float64 {
	worst := 0.0
	for _, s := range r.Series {
		for _, p := range s.Points {
			for _, row := range p.Rows {
				worst = max(worst, row.Unnamed(), -row.Unnamed())
			}
		}
	}
	return worst
}
