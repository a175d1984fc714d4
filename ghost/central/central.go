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
	queue   ghost.List
	cpus    []int
	running []*ghost.Task // by place in cpus
}

// New returns the policy for some CPUs: those of the enclave that the agent is not meant to
// run on.
func New(cpus []int) *Policy { return &Policy{cpus: cpus, running: make([]*ghost.Task, len(cpus))} }

// Handle keeps the queue. Who loses a CPU without wanting to is the first again.
func (p *Policy) Handle(_ *ghost.Agent, t *ghost.Task, m *ghost.Message) {
	switch m.Type {
	case ghost.New:
		if m.Flags&ghost.Runnable != 0 && m.Flags&ghost.OnCPU == 0 {
			p.queue.PushBack(t)
		}
	case ghost.Wakeup, ghost.Yield:
		p.stops(t)
		p.queue.PushBack(t)
	case ghost.Preempt:
		p.stops(t)
		p.queue.PushFront(t)
	case ghost.Blocked, ghost.Dead, ghost.Departed:
		p.stops(t)
		p.queue.Remove(t)
	}
}

// stops notes that a task has no CPU; its mark is one more than the place of the one that it had.
func (p *Policy) stops(t *ghost.Task) {
	if t.Mark > 0 && p.running[t.Mark-1] == t {
		p.running[t.Mark-1] = nil
	}
	t.Mark = 0
}

// Schedule gives free CPUs away, in one system call, and again where a task could not use the
// one that it was to have: its mark is then negative, and says which CPUs it was not to have.
func (p *Policy) Schedule(a *ghost.Agent) {
	forbidden := true
	for rounds := 0; forbidden && rounds < len(p.cpus); rounds++ {
		forbidden = p.round(a)
	}
	for t := p.queue.Front(); t != nil; t = p.queue.After(t) {
		t.Mark = 0
	}
}

// first takes the first task off the queue that may be tried on a CPU.
func (p *Policy) first(place int) *ghost.Task {
	for t := p.queue.Front(); t != nil; t = p.queue.After(t) {
		if -t.Mark <= place {
			p.queue.Remove(t)
			return t
		}
	}
	return nil
}

func (p *Policy) round(a *ghost.Agent) (forbidden bool) {
	for i, cpu := range p.cpus {
		if p.running[i] != nil {
			continue
		}
		if t := p.first(i); t != nil {
			p.running[i], t.Mark = t, i+1
			a.Prepare(cpu, t, ghost.Keep)
		}
	}
	for _, x := range slices.Backward(a.Commit()) { // whoever is to be first again is put there last
		t := a.Task(x.Slot)
		place := t.Mark
		if x.Verdict != ghost.OK {
			p.stops(t)
		}
		switch x.Verdict {
		case ghost.Stale, ghost.NoCPU: // a message says why, and is there already; or the CPU is offline
			p.queue.PushFront(t)
		case ghost.AffinityForbids:
			p.queue.PushFront(t)
			t.Mark, forbidden = -place, true
		}
	}
	return forbidden
}
