// SPDX-License-Identifier: BSD-3-Clause

// Package edf is a policy: the task with the earliest deadline runs, and takes the CPU from who
// has a later one. A deadline is set anew when a task wakes or yields, so that what it does
// between two sleeps is a job. On one CPU all are met as long as they can be: use an agent for each CPU
// (Enclave.Run) for that. An agent for several (Enclave.RunGlobal) uses them better, and promises less.
package edf

import (
	"math"
	"time"

	"plugsched/ghost"
)

// Policy is that of some CPUs.
type Policy struct {
	queue     ghost.List // the earliest deadline first
	places    []place
	relative  func(pid int) time.Duration
	deadlines []uint64 // by slot
	forbidden *ghost.Forbidden
}

// retry is after how long a CPU that was offline is tried again, ns.
const retry = 100_000_000

// A place is one of the CPUs.
type place struct {
	cpu  int
	task *ghost.Task // that has it
	next *ghost.Task // that is about to get it
	off  uint64      // until when it counts as offline
}

// New returns the policy for some CPUs of an enclave of so many tasks (MaxTasks). relative is
// how long after it wakes a task is to have done its job; it may neither block nor allocate. Those of
// whom it says 0 have no deadline, and run when nobody else can.
func New(cpus []int, tasks int, relative func(pid int) time.Duration) *Policy {
	p := &Policy{relative: relative, deadlines: make([]uint64, tasks), forbidden: ghost.NewForbidden(tasks, len(cpus))}
	for _, cpu := range cpus {
		p.places = append(p.places, place{cpu: cpu})
	}
	return p
}

// Handle keeps the queue: whoever can run and has no CPU is on it.
func (p *Policy) Handle(_ *ghost.Agent, t *ghost.Task, m *ghost.Message) {
	switch m.Type {
	case ghost.New:
		p.forbidden.Clear(t)
		p.begins(t, m.Time)
		if m.Flags&ghost.Runnable != 0 && m.Flags&ghost.OnCPU == 0 {
			p.wait(t)
		}
	case ghost.Wakeup, ghost.Yield:
		p.forbidden.Age(t, m.Time)
		p.stops(t)
		p.begins(t, m.Time)
		p.wait(t)
	case ghost.Preempt:
		p.stops(t)
		p.wait(t)
	case ghost.Blocked, ghost.Dead, ghost.Departed:
		p.stops(t)
	case ghost.Affinity:
		p.forbidden.Clear(t)
	}
}

// begins sets the deadline of a job.
func (p *Policy) begins(t *ghost.Task, now uint64) {
	p.deadlines[t.Slot] = math.MaxUint64
	if d := p.relative(t.PID); d > 0 {
		p.deadlines[t.Slot] = now + uint64(d)
	}
}

// earlier reports whether x comes before y.
func (p *Policy) earlier(x, y *ghost.Task) bool { return p.deadlines[x.Slot] < p.deadlines[y.Slot] }

// wait puts a task on the queue, behind those with the same deadline.
func (p *Policy) wait(t *ghost.Task) {
	for other := p.queue.Front(); other != nil; other = p.queue.After(other) {
		if p.earlier(t, other) {
			p.queue.PushBefore(other, t)
			return
		}
	}
	p.queue.PushBack(t)
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

// Schedule gives CPUs to those with the earliest deadlines, in one system call, and again where a
// task could not have the one that it was to.
func (p *Policy) Schedule(a *ghost.Agent) {
	for again := true; again; {
		now := a.Now()
		for t := p.queue.Front(); t != nil; {
			after := p.queue.After(t)
			i := p.best(t, now)
			if i >= 0 {
				p.queue.Remove(t)
				t.Mark, p.places[i].next = i+1, t
				a.Prepare(p.places[i].cpu, t, ghost.Keep)
			} else if !p.forbidden.Any(t) {
				break // nor is there a CPU for anybody behind it
			}
			t = after
		}
		again = p.commit(a)
	}
	p.sleep(a)
}

// best is the place that a task is to have: a free one, else that of who has the latest deadline,
// if it is later than the task's own; -1: none.
func (p *Policy) best(t *ghost.Task, now uint64) int {
	best, latest := -1, t
	for i := range p.places {
		c := &p.places[i]
		if p.forbidden.Has(t, i) || c.next != nil || now < c.off {
			continue
		}
		other := c.task
		if other == nil {
			return i
		}
		if p.earlier(latest, other) {
			best, latest = i, other
		}
	}
	return best
}

// commit reports whether somebody is to be tried on another CPU.
func (p *Policy) commit(a *ghost.Agent) (again bool) {
	for _, x := range a.Commit() {
		t := a.Task(x.Slot)
		c := &p.places[t.Mark-1]
		c.next = nil
		if x.Verdict == ghost.OK {
			c.task = t // a message comes of who had it
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
		p.wait(t)
	}
	return again
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
