// SPDX-License-Identifier: BSD-3-Clause

// Package sol is a policy that is sparing with system calls, after ghOSt's "speed of light": one
// agent gives the CPUs of its enclave to tasks in the order in which they became runnable, and each keeps
// his until he sleeps, yields or ends. However many CPUs are free, an agent's step commits once. What
// was refused is in the next step's call. Of those who are to run now, each gets the CPU that he
// had last, if that is free: moving a task to another one costs the kernel more.
package sol

import (
	"slices"

	"plugsched/ghost"
)

// Policy is that of all CPUs.
type Policy struct {
	queue     ghost.List
	places    []place
	last      []int // by slot: one more than the place that the task had last, 0: none
	forbidden *ghost.Forbidden
}

// retry is after how long a CPU that was offline is tried again, ns.
const retry = 100_000_000

// A place is one of the CPUs.
type place struct {
	cpu  int
	task *ghost.Task // that has it, or is about to get it
	free bool        // as far as Schedule has come
	off  uint64      // until when it counts as offline
}

// New returns the policy for some CPUs, those of the enclave that the agent is not meant to run
// on, for an enclave of so many tasks (MaxTasks).
func New(cpus []int, tasks int) *Policy {
	p := &Policy{last: make([]int, tasks), forbidden: ghost.NewForbidden(tasks, len(cpus))}
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
		p.last[t.Slot] = 0
		if m.Flags&ghost.Runnable != 0 && m.Flags&ghost.OnCPU == 0 {
			p.queue.PushBack(t)
		}
	case ghost.Wakeup, ghost.Yield:
		p.forbidden.Age(t, m.Time)
		p.stops(t)
		p.queue.PushBack(t)
	case ghost.Preempt:
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

// Schedule gives free CPUs away, in one system call. First those who run now get the CPU that
// they had; then the rest of the CPUs, and whoever waits, in order.
func (p *Policy) Schedule(a *ghost.Agent) {
	free, now := 0, a.Now()
	for i := range p.places {
		c := &p.places[i]
		if c.free = c.task == nil && now >= c.off; c.free {
			free++
		}
	}
	turn := free
	for t := p.queue.Front(); t != nil && turn > 0; turn-- {
		after := p.queue.After(t)
		if i := p.last[t.Slot] - 1; i >= 0 && p.fits(t, i) {
			p.prepare(a, t, i)
			free--
		}
		t = after
	}
	for t := p.queue.Front(); t != nil && free > 0; {
		after := p.queue.After(t)
		if i := p.any(t); i >= 0 {
			p.prepare(a, t, i)
			free--
		}
		t = after
	}
	p.commit(a)
	p.sleep(a)
}

// fits reports whether a place is free and, as far as is known, allowed.
func (p *Policy) fits(t *ghost.Task, i int) bool {
	return p.places[i].free && !p.forbidden.Has(t, i)
}

// any is the first place that fits, -1: none does.
func (p *Policy) any(t *ghost.Task) int {
	for i := range p.places {
		if p.fits(t, i) {
			return i
		}
	}
	return -1
}

func (p *Policy) prepare(a *ghost.Agent, t *ghost.Task, i int) {
	p.queue.Remove(t)
	p.places[i].task, p.places[i].free, t.Mark = t, false, i+1
	a.Prepare(p.places[i].cpu, t, ghost.Keep)
}

func (p *Policy) commit(a *ghost.Agent) {
	for _, x := range slices.Backward(a.Commit()) { // whoever is to be first again is put there last
		t := a.Task(x.Slot)
		i := t.Mark - 1
		if x.Verdict == ghost.OK {
			p.last[t.Slot] = i + 1
			continue
		}
		p.stops(t)
		switch x.Verdict {
		case ghost.Stale: // a message says why, and is there already
		case ghost.AffinityForbids:
			p.forbidden.Add(t, i, x.Time)
			a.WakeAt(x.Time) // on another CPU, with what happens meanwhile
		case ghost.NoCPU:
			p.places[i].off = x.Time + retry
			a.WakeAt(x.Time)
		default: // it does not wait
			continue
		}
		p.queue.PushFront(t)
	}
}

// sleep asks to be woken when a CPU is to be tried again that somebody may wait for.
func (p *Policy) sleep(a *ghost.Agent) {
	now := a.Now()
	for i := range p.places {
		if off := p.places[i].off; off > now && p.queue.Len() > 0 {
			a.WakeAt(off)
		}
	}
}
