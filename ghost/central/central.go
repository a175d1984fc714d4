// SPDX-License-Identifier: BSD-3-Clause

// Package central is a policy: one agent gives the CPUs of its enclave to tasks in the order
// in which they became runnable, whichever CPU is free. Each keeps his until he sleeps, yields
// or ends.
package central

import (
	"slices"

	"plugsched/ghost"
)

// Policy is that of all CPUs.
type Policy struct {
	queue     ghost.List
	places    []place
	forbidden *ghost.Forbidden
}

// retry is after how long a CPU that was offline is tried again, ns.
const retry = 100_000_000

// A place is one of the CPUs.
type place struct {
	cpu  int
	task *ghost.Task // that has it, or is about to get it
	off  uint64      // until when it counts as offline
}

// New returns the policy for some CPUs, those of the enclave that the agent is not meant to run
// on, for an enclave of so many tasks (MaxTasks).
func New(cpus []int, tasks int) *Policy {
	p := &Policy{forbidden: ghost.NewForbidden(tasks, len(cpus))}
	for _, cpu := range cpus {
		p.places = append(p.places, place{cpu: cpu})
	}
	return p
}

// Handle keeps the queue. Who loses a CPU without wanting to is the first again.
func (p *Policy) Handle(_ *ghost.Agent, t *ghost.Task, m *ghost.Message) {
	switch m.Type {
	case ghost.New:
		p.forbidden.Clear(t)
		if m.Flags&ghost.Runnable != 0 && m.Flags&ghost.OnCPU == 0 {
			p.queue.PushBack(t)
		}
	case ghost.Wakeup, ghost.Yield:
		p.forbidden.Age(t, m.Time)
		p.stops(t)
		p.queue.PushBack(t)
	case ghost.Preempt:
		p.forbidden.Age(t, m.Time)
		p.stops(t)
		p.queue.PushFront(t)
	case ghost.Blocked, ghost.Dead, ghost.Departed:
		p.stops(t)
	case ghost.Affinity:
		p.forbidden.Clear(t)
	}
}

// stops notes that a task has no CPU and is not on the queue; its mark is one more than the
// place of the CPU that it had.
func (p *Policy) stops(t *ghost.Task) {
	p.queue.Remove(t)
	if t.Mark > 0 && p.places[t.Mark-1].task == t {
		p.places[t.Mark-1].task = nil
	}
	t.Mark = 0
}

// Schedule gives free CPUs away, in one system call, and again where a task could not have the one
// that it was to.
func (p *Policy) Schedule(a *ghost.Agent) {
	for again := true; again; {
		now := a.Now()
		for i := range p.places {
			c := &p.places[i]
			if c.task != nil {
				continue
			}
			t := p.first(i)
			if t != nil && now < c.off {
				a.WakeAt(c.off)
			} else if t != nil {
				p.queue.Remove(t)
				c.task, t.Mark = t, i+1
				a.Prepare(c.cpu, t, ghost.Keep)
			}
		}
		again = p.commit(a)
	}
}

// first is the first task of the queue that may use a CPU.
func (p *Policy) first(i int) *ghost.Task {
	for t := p.queue.Front(); t != nil; t = p.queue.After(t) {
		if !p.forbidden.Has(t, i) {
			return t
		}
	}
	return nil
}

// commit reports whether somebody is to be tried on another CPU.
func (p *Policy) commit(a *ghost.Agent) (again bool) {
	for _, x := range slices.Backward(a.Commit()) { // whoever is to be first again is put there last
		t := a.Task(x.Slot)
		i := t.Mark - 1
		if x.Verdict == ghost.OK {
			continue
		}
		p.stops(t)
		switch x.Verdict {
		case ghost.Stale: // a message says why, and is there already
		case ghost.AffinityForbids:
			p.forbidden.Add(t, i, x.Time)
			again = true
		case ghost.NoCPU:
			p.places[i].off = x.Time + retry
			again = true
		default: // it does not wait
			continue
		}
		p.queue.PushFront(t)
	}
	return again
}
