// SPDX-License-Identifier: BSD-3-Clause

// Package newest runs who became runnable last.
package newest

import "plugsched/ghost"

type Policy struct {
	queue   ghost.List
	running *ghost.Task
}

// Handle is told each message.
func (p *Policy) Handle(a *ghost.Agent, t *ghost.Task, m *ghost.Message) {
	switch m.Type {
	case ghost.New:
		if m.Flags&ghost.Runnable != 0 && m.Flags&ghost.OnCPU == 0 {
			p.queue.PushFront(t)
		}
	case ghost.Wakeup, ghost.Preempt, ghost.Yield:
		p.stops(t)
		p.queue.PushFront(t)
	case ghost.Blocked, ghost.Dead, ghost.Departed:
		p.stops(t)
		p.queue.Remove(t)
	}
}

func (p *Policy) stops(t *ghost.Task) {
	if p.running == t {
		p.running = nil
	}
}

// Schedule is called when there is no further message.
func (p *Policy) Schedule(a *ghost.Agent) {
	if p.running != nil {
		return
	}
	if t := p.queue.PopFront(); t != nil {
		switch a.Run(t, ghost.Keep) {
		case ghost.OK:
			p.running = t
		case ghost.Stale: // something happened to it: the message is there
			p.queue.PushFront(t)
		}
	}
}
