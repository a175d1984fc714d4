// SPDX-License-Identifier: BSD-3-Clause

package top

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// Frame is what is shown: what happened between two samples.
type Frame struct {
	Time     time.Time     `json:"time"`
	Interval time.Duration `json:"interval_ns"` // that it is about
	Release  string        `json:"release"`
	// Schedulers are those that run; none is the kernel's own.
	Schedulers []view.Scheduler `json:"schedulers"`
	LastEnd    *view.Ended      `json:"last_end,omitempty"`
	All        CPU              `json:"all"`
	CPUs       []CPU            `json:"cpus"`
	// Switches are those of all CPUs from one task to another.
	Switches int64 `json:"switches"`
	// Pressure is for how much of the time somebody waited for a CPU; missing where the kernel does not tell.
	Pressure *float64    `json:"pressure,omitempty"`
	Queues   []scx.Queue `json:"queues,omitempty"`
	Counters []Counter   `json:"counters,omitempty"`
	Notes    []string    `json:"notes,omitempty"` // what could not be asked
}

// CPU is one, or all of them.
type CPU struct {
	Number   int     `json:"cpu"` // -1: all
	Busy     float64 `json:"busy"`
	Runnable int     `json:"runnable"` // tasks that run, or wait, at the end of the interval
	// Began is how often a task began to run, and Wait how long each had been runnable before, on average. Missing where the kernel
	// does not tell.
	Began int64          `json:"began,omitempty"`
	Wait  *time.Duration `json:"wait_ns,omitempty"`
}

// Counter is what one of the ways has counted.
type Counter struct {
	Way   view.Way `json:"way"`
	Of    string   `json:"of"` // the scheduler, or the agent
	Name  string   `json:"name"`
	Total int64    `json:"total"`
	// More is what came in the interval; missing of what is no count.
	More *int64 `json:"more,omitempty"`
}

// Between makes a frame. The samples are of one machine.
func Between(a, b *Sample) *Frame {
	f := &Frame{Time: b.At, Interval: b.At.Sub(a.At), Schedulers: b.Running, LastEnd: b.LastEnd, Switches: b.Switches - a.Switches,
		Queues: b.Queues, Notes: b.Notes, CPUs: []CPU{}}
	if b.Status != nil {
		f.Release = b.Status.Release
	}
	var all counts
	waits := false
	for _, n := range slices.Sorted(maps.Keys(b.CPUs)) {
		now, before := b.CPUs[n], a.CPUs[n]
		// One that was off and comes back goes on counting; one that is new has had all of it since.
		d := counts{now.busy - before.busy, now.all - before.all, now.waited - before.waited, now.began - before.began, now.known}
		f.CPUs = append(f.CPUs, d.cpu(n, b.Runnable[n]))
		all.busy, all.all = all.busy+d.busy, all.all+d.all
		all.waited, all.began, waits = all.waited+d.waited, all.began+d.began, waits || d.known
	}
	all.known = waits
	runnable := 0
	for _, n := range b.Runnable {
		runnable += n
	}
	f.All = all.cpu(-1, runnable)
	if a.Pressure >= 0 && b.Pressure >= 0 && f.Interval > 0 {
		p := min(1, float64(b.Pressure-a.Pressure)/float64(f.Interval))
		f.Pressure = &p
	}
	f.count(a, b)
	return f
}

func (d counts) cpu(n, runnable int) CPU {
	c := CPU{Number: n, Runnable: runnable}
	if d.all > 0 {
		c.Busy = float64(d.busy) / float64(d.all)
	}
	if d.known {
		c.Began = d.began
		wait := d.waited / time.Duration(max(d.began, 1))
		c.Wait = &wait
	}
	return c
}

// count adds what each way has counted.
func (f *Frame) count(a, b *Sample) {
	fixed := func(way view.Way, of, name string, n int64) {
		f.Counters = append(f.Counters, Counter{Way: way, Of: of, Name: name, Total: n})
	}
	more := func(way view.Way, of, name string, before, now int64) {
		d := now - before
		f.Counters = append(f.Counters, Counter{Way: way, Of: of, Name: name, Total: now, More: &d})
	}
	if s := b.Status; s != nil && s.Active {
		fixed(view.Module, s.Name, "functions redirected", int64(len(s.Functions)))
		fixed(view.Module, s.Name, "taken over by livepatches", int64(len(s.TakenOver)))
		fixed(view.Module, s.Name, "kprobes in the kernel's own", int64(len(s.Probes)))
	}
	if s := b.BPF; s != nil && s.Name != "" {
		for _, name := range slices.Sorted(maps.Keys(s.Events)) {
			before := int64(0) // of another scheduler nothing counts
			if a.BPF != nil && a.BPF.Loads == s.Loads {
				before = a.BPF.Events[name]
			}
			more(view.BPF, s.Name, name, before, s.Events[name])
		}
	}
	for _, now := range b.Agents {
		i := slices.IndexFunc(a.Agents, func(x agent) bool { return x.name == now.name })
		before := now
		if i >= 0 {
			before = a.Agents[i]
		}
		more(view.Agent, now.name, "CPU time, ms", before.ran.Milliseconds(), now.ran.Milliseconds())
		more(view.Agent, now.name, "switches", before.switches, now.switches)
	}
}

// busiest are queues, the longest first.
func busiest(list []scx.Queue) []scx.Queue {
	return slices.SortedStableFunc(slices.Values(list), func(a, b scx.Queue) int { return cmp.Compare(b.Tasks, a.Tasks) })
}
