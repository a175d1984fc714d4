// SPDX-License-Identifier: BSD-3-Clause

// Package ghosttest is a kernel for tests of policies: tasks exist, wake, sleep, yield and
// end when the test says so, and messages and transactions are those of the kernel's half.
// What it does is the same every time; a test calls [ghost.Agent.Step] where the agent would
// run.
package ghosttest

import (
	"fmt"
	"slices"
	"time"

	"plugsched/ghost"
)

// Task is a simulated one.
type Task struct {
	Name    string
	Slot    int
	Allowed []int // CPUs; nil: all

	gen      uint64
	seq      uint32
	ring     int
	runnable bool
	keep     bool
	cpu      int // of whom it is the owner; -1: none
	queue    int // the CPU on whose run queue it is
	runtime  uint64
	jobs     []*Job // that it has begun or waits for
	left     uint64 // of the first, ns
}

// PID is what messages call it.
func (t *Task) PID() int { return int(t.gen) }

// Waits reports whether it can run and has no CPU.
func (t *Task) Waits() bool { return t.runnable && t.cpu < 0 }

// Kernel implements ghost.Kernel.
type Kernel struct {
	cpus  []int
	slots []*Task
	rings []ring
	owner map[int]*Task
	gens  uint64
	now   uint64
	off   map[int]bool
	step  int // calls of Commit since the agent looked for messages
	// Calls is how many calls of Commit had transactions.
	Calls int
	// Switch is what it costs a task in Play to get a CPU.
	Switch time.Duration
	// Before, if set, is called before a transaction is looked at: what happens meanwhile.
	Before func(x *ghost.Txn)
}

type ring struct {
	msgs []ghost.Message
	room int
	seq  uint32
	lost uint32
}

// New returns a kernel of some CPUs, with a ring for each that has room for so many messages.
func New(cpus []int, tasks, messages int) *Kernel {
	k := &Kernel{now: 1, cpus: cpus, slots: make([]*Task, tasks), owner: map[int]*Task{}, off: map[int]bool{}}
	for range cpus {
		k.rings = append(k.rings, ring{room: messages, msgs: make([]ghost.Message, 0, messages)})
	}
	return k
}

func (k *Kernel) send(t *Task, kind ghost.Type, flags uint16) {
	r := &k.rings[t.ring]
	t.seq++
	r.seq++
	if len(r.msgs) == r.room {
		r.lost++
		return
	}
	r.msgs = append(r.msgs, ghost.Message{Type: kind, Flags: flags, Slot: uint32(t.Slot), Seq: t.seq, Gen: t.gen,
		PID: int32(t.gen), AgentSeq: r.seq, Time: k.now, Runtime: t.runtime, CPU: int32(t.queue)})
}

func (k *Kernel) sendNew(t *Task) {
	var flags uint16
	if t.runnable {
		flags |= ghost.Runnable
	}
	if t.cpu >= 0 {
		flags |= ghost.OnCPU
	}
	k.send(t, ghost.New, flags)
}

// Join makes a new task, whose messages go to a ring. It panics if there is no free slot.
func (k *Kernel) Join(name string, ring int, runnable bool) *Task {
	slot := slices.Index(k.slots, nil)
	if slot < 0 {
		panic("ghosttest: no free slot")
	}
	k.gens++
	t := &Task{Name: name, Slot: slot, gen: k.gens, ring: ring, runnable: runnable, cpu: -1, queue: k.cpus[ring]}
	k.slots[slot] = t
	k.sendNew(t)
	return t
}

func (k *Kernel) disown(t *Task) {
	if t.cpu >= 0 {
		delete(k.owner, t.cpu)
		t.cpu = -1
	}
}

// Wake makes a sleeper runnable.
func (k *Kernel) Wake(t *Task) {
	if !t.runnable {
		t.runnable = true
		k.send(t, ghost.Wakeup, 0)
	}
}

// Block makes the task that runs sleep.
func (k *Kernel) Block(t *Task) {
	k.mustRun(t)
	k.disown(t)
	t.runnable = false
	k.send(t, ghost.Blocked, 0)
}

// Yield makes the task that runs give its CPU away.
func (k *Kernel) Yield(t *Task) {
	k.mustRun(t)
	k.disown(t)
	k.send(t, ghost.Yield, 0)
}

// Preempt is a task of a higher class that runs for a while where t does.
func (k *Kernel) Preempt(t *Task) {
	k.mustRun(t)
	if t.keep {
		return
	}
	k.disown(t)
	k.send(t, ghost.Preempt, 0)
}

// Change changes the CPUs that a task may use.
func (k *Kernel) Change(t *Task, allowed ...int) {
	t.Allowed = allowed
	k.send(t, ghost.Affinity, 0)
}

// Online makes a CPU go or come back; who runs there loses it.
func (k *Kernel) Online(cpu int, online bool) {
	k.off[cpu] = !online
	if !online {
		k.take(cpu)
	}
}

// Exit ends a task, in whatever state it is.
func (k *Kernel) Exit(t *Task) { k.leave(t, ghost.Dead) }

// Depart takes a task away from the agent, as sched_setscheduler(2) does.
func (k *Kernel) Depart(t *Task) { k.leave(t, ghost.Departed) }

func (k *Kernel) leave(t *Task, kind ghost.Type) {
	k.disown(t)
	t.runnable = false
	k.send(t, kind, 0)
	k.slots[t.Slot] = nil
}

func (k *Kernel) mustRun(t *Task) {
	if t.cpu < 0 {
		panic(fmt.Sprintf("ghosttest: %s does not run", t.Name))
	}
}

// Running is the task that runs on a CPU, nil if none does.
func (k *Kernel) Running(cpu int) *Task { return k.owner[cpu] }

// MaxTasks implements ghost.Kernel.
func (k *Kernel) MaxTasks() int { return len(k.slots) }

// CPUs implements ghost.Kernel.
func (k *Kernel) CPUs() []int { return k.cpus }

// Next implements ghost.Kernel.
func (k *Kernel) Next(ring int, m *ghost.Message) bool {
	k.step = 0
	r := &k.rings[ring]
	if len(r.msgs) == 0 {
		return false
	}
	*m = r.msgs[0]
	r.msgs = r.msgs[:copy(r.msgs, r.msgs[1:])]
	return true
}

// Pending implements ghost.Kernel.
func (k *Kernel) Pending(ring int) bool { return len(k.rings[ring].msgs) > 0 }

// Lost implements ghost.Kernel.
func (k *Kernel) Lost(ring int) uint32 { return k.rings[ring].lost }

// Discover implements ghost.Kernel.
func (k *Kernel) Discover(ring, slot int) (next int, err error) {
	for ; slot < len(k.slots) && len(k.rings[ring].msgs) < k.rings[ring].room; slot++ {
		if t := k.slots[slot]; t != nil && t.ring == ring {
			k.sendNew(t)
		}
	}
	return slot, nil
}

// stepCalls are more calls of Commit than a policy makes in a step that ends.
const stepCalls = 10000

// Commit implements ghost.Kernel. It panics if a policy never ends its step.
func (k *Kernel) Commit(txns []ghost.Txn) error {
	if k.step++; k.step > stepCalls {
		panic("ghosttest: a policy commits again and again, and never ends its step")
	}
	if len(txns) > 0 {
		k.Calls++
	}
	for i := range txns {
		if k.Before != nil {
			k.Before(&txns[i])
		}
		txns[i].Verdict = k.commit(&txns[i])
		txns[i].Time = k.now
	}
	return nil
}

func (k *Kernel) commit(x *ghost.Txn) ghost.Verdict {
	cpu := int(x.CPU)
	if int(x.Ring) >= len(k.rings) || int(x.Slot) >= len(k.slots) {
		return ghost.Invalid
	}
	if !slices.Contains(k.cpus, cpu) {
		return ghost.NoCPU
	}
	if x.Flags&ghost.Idle != 0 {
		k.take(cpu)
		return ghost.OK
	}
	t := k.slots[x.Slot]
	switch {
	case t == nil || t.gen != x.Gen:
		return ghost.Gone
	case x.Flags&ghost.TaskBarrier != 0 && x.TaskSeq != t.seq:
		return ghost.Stale
	case x.Flags&ghost.AgentBarrier != 0 && x.AgentSeq != k.rings[x.Ring].seq:
		return ghost.AgentStale
	case t.cpu >= 0:
		return ghost.Busy
	case !t.runnable:
		return ghost.NotRunnable
	case k.off[cpu]:
		return ghost.NoCPU
	case t.Allowed != nil && !slices.Contains(t.Allowed, cpu):
		return ghost.AffinityForbids
	}
	k.take(cpu)
	k.owner[cpu], t.cpu, t.queue, t.keep = t, cpu, cpu, x.Flags&ghost.Keep != 0
	t.left += uint64(k.Switch)
	return ghost.OK
}

// take takes a CPU from the task that has it.
func (k *Kernel) take(cpu int) {
	if t := k.owner[cpu]; t != nil {
		k.disown(t)
		k.send(t, ghost.Preempt, 0)
	}
}
