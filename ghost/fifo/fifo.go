// SPDX-License-Identifier: BSD-3-Clause

// Package fifo is a policy: on each CPU tasks run one after the other, in the order in which
// they became runnable, each until it sleeps, yields or ends.
package fifo

import "plugsched/ghost"

// Policy is that of one CPU.
type Policy struct {
	queue   ghost.List
	running *ghost.Task
}

// New returns the policy of a CPU.
func New() *Policy { return &Policy{} }

// Handle keeps the queue: who loses the CPU without wanting to is the first again.
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
	case ghost.Affinity:
		if t.Mark == elsewhere {
			t.Mark = 0
			p.queue.PushBack(t)
		}
	}
}

// elsewhere marks tasks that may not run on this CPU.
const elsewhere = 1

func (p *Policy) stops(t *ghost.Task) {
	t.Mark = 0
	if p.running == t {
		p.running = nil
	}
}

// Schedule runs the first task of the queue if nobody has the CPU.
func (p *Policy) Schedule(a *ghost.Agent) {
	for p.running == nil {
		t := p.queue.PopFront()
		if t == nil {
			return
		}
		switch a.Run(t, ghost.Keep) {
		case ghost.OK, ghost.Busy:
			p.running = t
		case ghost.Stale, ghost.NoCPU:
			// A message says why, and is there already; or the CPU is offline, and a later
			// message finds it again.
			p.queue.PushFront(t)
			return
		case ghost.AffinityForbids:
			t.Mark = elsewhere
		}
	}
}
