// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"slices"
)

// Series is what one thing is varied for.
type Series struct {
	Name   string
	What   string // that is varied
	Values []int
	CPUs   int // 0: they are what is varied
	Ways   []Way
	load   func(n int) Load
	figure string // that tells what the value is worth, unless the value does
}

// sleepers are what always exists besides what is varied.
const sleepers = 100

const usualCPUs = 4

// All are the series there are.
var All = []Series{
	{Name: "threads", What: "sleeping processes", Values: []int{100, 1000, 10000, 30000}, CPUs: usualCPUs, Ways: []Way{Ours, Serial, Parallel},
		load: func(n int) Load { return Load{Sleepers: n} }},
	{Name: "runnable", What: "processes that spin", Values: []int{1, 10, 100, 500, 2000}, CPUs: usualCPUs, Ways: []Way{Ours},
		load: func(n int) Load { return Load{Sleepers: sleepers, Runnable: n} }},
	{Name: "cpus", What: "CPUs", Values: []int{1, 2, 4, 8, 16}, Ways: []Way{Ours},
		load: func(int) Load { return Load{Sleepers: sleepers} }},
	{Name: "groups", What: "task groups without tasks", Values: []int{0, 1000, 4000}, CPUs: usualCPUs, Ways: []Way{Ours},
		load: func(n int) Load { return Load{Sleepers: sleepers, Groups: n} }},
	{Name: "autogroups", What: "autogroups of one sleeper each", Values: []int{0, 300, 1000}, CPUs: usualCPUs, Ways: []Way{Ours},
		load: func(n int) Load { return Load{Sleepers: sleepers, Autogroups: n} }},
	{Name: "throttled", What: "throttled groups of one process each", Values: []int{0, 30, 100}, CPUs: usualCPUs, Ways: []Way{Ours},
		load: func(n int) Load { return Load{Sleepers: sleepers, Throttled: n} }},
	{Name: "depth", What: "how deep 1000 processes sleep: in poll, in a page fault of a write to a pipe, of one to a file",
		Values: []int{0, 1, 2}, CPUs: usualCPUs, Ways: []Way{Ours, Serial, Parallel}, figure: Frames,
		load: func(n int) Load { return Load{Sleepers: 1000, Depth: n} }},
}

// Choose returns the series of those names, and whether the overhead is among them; all without any.
func Choose(names []string) (out []Series, overhead bool, err error) {
	if len(names) == 0 {
		return slices.Clone(All), true, nil
	}
	for _, name := range names {
		found := name == OverheadName
		overhead = overhead || found
		for _, s := range All {
			if s.Name == name {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, false, fmt.Errorf("there is no series %q", name)
		}
	}
	return out, overhead, nil
}

// AtMost leaves out values above n.
func (s Series) AtMost(n int) Series {
	var values []int
	for _, v := range s.Values {
		if v <= n {
			values = append(values, v)
		}
	}
	s.Values = values
	return s
}

// UpdatesName is the name of the series of Updates.
const UpdatesName = "updates"

// Updates is the series of other schedulers than the first: their size.
func Updates(modules int) Series {
	s := Series{Name: UpdatesName, What: "functions that are redirected", CPUs: usualCPUs, Ways: []Way{Ours}, figure: Jumps,
		load: func(int) Load { return Load{Sleepers: sleepers} }}
	for i := range modules {
		s.Values = append(s.Values, i)
	}
	return s
}

// cpusFor is how many a value is measured on.
func (s Series) cpusFor(value int) int {
	if s.CPUs == 0 {
		return value
	}
	return s.CPUs
}

// MiB is the memory that a guest needs for a value: for the processes, with their kernel
// stacks and page tables, and for the queues that each group has on each CPU.
func (s Series) MiB(value int) int {
	l, cpus := s.load(value), s.cpusFor(value)
	processes := l.Sleepers + l.Runnable + l.Autogroups + l.Throttled
	groups := l.Groups + l.Autogroups + l.Throttled
	return 1024 + processes/12 + groups*cpus/64 + cpus*16
}

// Names are those of all series.
func Names() []string {
	var names []string
	for _, s := range All {
		names = append(names, s.Name)
	}
	return append(names, OverheadName)
}
