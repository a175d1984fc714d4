// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"plugsched/internal/operate/live"
)

// figures are what a run saw.
type figures struct {
	threads          string
	downtime         []time.Duration
	trials, verified int
	memory           memories
	points           []point
	took             time.Duration
}

func (f *figures) add(t *live.Timings) {
	f.downtime = append(f.downtime, time.Duration(t.StopMachine))
}

// quantile of the downtimes, rounded to 10 µs.
func (f *figures) quantile(q float64) time.Duration {
	l := slices.Sorted(slices.Values(f.downtime))
	return l[int(q*float64(len(l)-1))].Round(10 * time.Microsecond)
}

func median(l []*live.Timings, of func(*live.Timings) int64) int64 {
	var v []int64
	for _, t := range l {
		v = append(v, of(t))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func (s *soak) markdown() string {
	var b strings.Builder
	first, last := s.memory.ends()
	fmt.Fprintf(&b, "Kernel %s, %d virtual CPUs under QEMU TCG on %d host CPUs, load `%s` (%s threads), %s, %v for the cycles.\n\n",
		s.Release, s.CPUs, runtime.NumCPU(), s.spec, s.threads, time.Now().UTC().Format("2006-01-02"), s.took.Round(time.Second))
	b.WriteString("| What | Result |\n| --- | --- |\n")
	row := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
	}
	row("install and removal cycles in one guest", "%d", s.Cycles)
	row("updates in all (install, replace, remove)", "%d", len(s.downtime))
	row("trials of one module over another that ended by themselves", "%d", s.trials)
	row("removals after which the kernel was searched for references", "%d, none found", s.verified)
	row("complaints in the kernel's log", "0")
	row("workers without progress, lost or in error", "0 in %d checks of 15 s", len(s.memory))
	row("downtime: median, 90 %, 99 %, maximum", "%v, %v, %v, %v", s.quantile(0.5), s.quantile(0.9), s.quantile(0.99), s.quantile(1))
	row("unreclaimable slab, first and last", "%d KiB, %d KiB", first.slab, last.slab)
	row("per-CPU memory, first and last", "%d KiB, %d KiB", first.percpu, last.percpu)
	row("vmalloc, first and last", "%d KiB, %d KiB", first.vmalloc, last.vmalloc)
	b.WriteString("\nMedians of 20 updates with so many threads, all asleep:\n\n| Threads | Inspected before the stop, in | Inspected in the stop | Inspection in the stop | Downtime |\n| --- | --- | --- | --- | --- |\n")
	for _, p := range s.points {
		fmt.Fprintf(&b, "| %d | %v | %d | %v | %v |\n", p.threads, p.scan.Round(100*time.Microsecond), p.stopped,
			p.inspect.Round(10*time.Microsecond), p.down.Round(100*time.Microsecond))
	}
	return b.String()
}
