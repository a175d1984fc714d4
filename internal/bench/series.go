// SPDX-License-Identifier: BSD-3-Clause

package bench

import "fmt"

// Series is what one thing is varied for.
type Series struct {
	Name   string
	What   string // that is varied
	Values []int
	CPUs   int // 0: they are what is varied
	Ways   []Way
	load   func(n int) Load
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
}

// Choose returns the series of those names, all without any.
func Choose(names []string) ([]Series, error) {
	if len(names) == 0 {
		return All, nil
	}
	var out []Series
	for _, name := range names {
		found := false
		for _, s := range All {
			if s.Name == name {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no series %q", name)
		}
	}
	return out, nil
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
	return 1024 + processes/6 + groups*cpus/64 + cpus*16
}

// Names are those of all series.
func Names() []string {
	var names []string
	for _, s := range All {
		names = append(names, s.Name)
	}
	return names
}
