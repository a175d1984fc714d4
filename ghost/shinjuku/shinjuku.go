// SPDX-License-Identifier: BSD-3-Clause

// Package shinjuku is a policy after the system of that name: one agent gives the CPUs of its
// enclave to tasks in the order in which they became runnable, for a slice. Who has had it goes to
// the end of the queue as soon as somebody waits, so that a few who compute for long do not hold
// up the many who do not.
//
// The kernel's half sends no ticks. A slice is measured by the agent's clock, from when a transaction was
// carried out, and ends with a transaction for the next task on the same CPU. The time counts
// during which a higher class has the CPU, too.
package shinjuku

import (
	"slices"
	"time"

	"plugsched/ghost"
)

// Policy is that of all CPUs.
type Policy struct {
	queue     ghost.List
	places    []place
	slice     uint64
	forbidden *ghost.Forbidden
}

// retry is after how long a CPU that was offline is tried again, ns.
const retry = 100_000_000

// A place is one of the CPUs.
type place struct {
	cpu   int
	task  *ghost.Task // that has it
	since uint64
	off   uint64 // until when it counts as offline
}

// New returns the policy for some CPUs, those of the enclave that the agent is not meant to run
// on, for an enclave of so many tasks (MaxTasks).
func New(cpus []int, tasks int, slice time.Duration) *Policy {
	p := &Policy{slice: uint64(slice), forbidden: ghost.NewForbidden(tasks, len(cpus))}
	for _, cpu := range cpus {
		p.places = append(p.places, place{cpu: cpu})
	}
	return p
}

// Handle keeps the queue: whoever can run and has no CPU is on it, the last who came behind.
func (p *Policy) Handle(_ *ghost.Agent, t *ghost.Task, m *ghost.Message) {
	switch m.Type {
	case ghost.New:
		p.forbidden.Clear(t)
		if m.Flags&ghost.Runnable != 0 && m.Flags&ghost.OnCPU == 0 {
			p.queue.PushBack(t)
		}
	case ghost.Wakeup, ghost.Yield, ghost.Preempt:
		p.forbidden.Age(t, m.Time)
		p.stops(t)
		p.queue.PushBack(t)
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

// Schedule gives away free CPUs, and those whose slice is over, in one system call, and again where a task
// could not have the one that it was to.
func (p *Policy) Schedule(a *ghost.Agent) {
	var now uint64
	for again := true; again; {
		now = a.Now()
		for i := range p.places {
			if p.places[i].task == nil && now >= p.places[i].off {
				p.prepare(a, i)
			}
		}
		for i := range p.places {
			if c := &p.places[i]; c.task != nil && now >= max(c.since+p.slice, c.off) {
				p.prepare(a, i)
			}
		}
		again = p.commit(a)
	}
	p.sleep(a, now)
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

func (p *Policy) prepare(a *ghost.Agent, i int) {
	if t := p.first(i); t != nil {
		p.queue.Remove(t)
		t.Mark = i + 1
		a.Prepare(p.places[i].cpu, t, ghost.Keep)
	}
}

// commit reports whether somebody is to be tried on another CPU.
func (p *Policy) commit(a *ghost.Agent) (again bool) {
	for _, x := range slices.Backward(a.Commit()) { // whoever is to be first again is put there last
		t := a.Task(x.Slot)
		c := &p.places[t.Mark-1]
		if x.Verdict == ghost.OK {
			c.task, c.since = t, x.Time // a message comes of who had it
			continue
		}
		switch x.Verdict {
		case ghost.Stale: // a message says why, and is there already
		case ghost.AffinityForbids:
			p.forbidden.Add(t, t.Mark-1, x.Time)
			again = true
		case ghost.NoCPU:
			c.off = x.Time + retry
			again = true
		default: // it does not wait
			t.Mark = 0
			continue
		}
		t.Mark = 0
		p.queue.PushFront(t)
	}
	return again
}

// sleep asks to be woken when the next slice ends that somebody waits for. One that is over
// already could not be ended, and is tried again after as long.
func (p *Policy) sleep(a *ghost.Agent, now uint64) {
	for i := range p.places {
		c := &p.places[i]
		if p.first(i) == nil {
			continue
		}
		if c.task == nil {
			a.WakeAt(max(c.off, now+1))
		} else if end := c.since + p.slice; end > now {
			a.WakeAt(end)
		} else {
			a.WakeAt(now + p.slice)
		}
	}
}
