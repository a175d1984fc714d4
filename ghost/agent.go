// SPDX-License-Identifier: BSD-3-Clause

package ghost

// A Kernel is what an agent needs of one: an [Enclave], or a simulated one.
type Kernel interface {
	// MaxTasks is how many slots there are.
	MaxTasks() int
	// CPUs are the enclave's, in the order of its rings.
	CPUs() []int
	// Next takes the next message of a ring, and reports whether there was one.
	Next(ring int, m *Message) bool
	// Pending reports whether there is one.
	Pending(ring int) bool
	// Lost is how many messages a ring had no room for, ever.
	Lost(ring int) uint32
	// Discover makes the kernel send New for tasks of a ring, from a slot on, as long as
	// there is room, and returns the slot to go on with: MaxTasks if that was all.
	Discover(ring, slot int) (next int, err error)
	// Commit carries transactions out and puts a verdict into each.
	Commit(txns []Txn) error
	// Now is CLOCK_MONOTONIC, ns: what messages and verdicts have as their time.
	Now() uint64
}

// A Task is what an agent knows of one, from the messages that it has read.
type Task struct {
	Slot uint32
	Gen  uint64 // 0: nothing is known of it
	PID  int
	Seq  uint32
	// What a policy links it by, and what it likes to keep.
	Next, Prev *Task
	Mark       int
}

// A Policy decides which tasks run. Its methods are called by its agent's thread alone, and
// keep the tasks waiting: they may neither block nor allocate.
type Policy interface {
	// Handle is told each message, and the task that it is about, which already knows of it.
	// After Dead and Departed the task may be on no list any more.
	Handle(a *Agent, t *Task, m *Message)
	// Schedule is called when there is no further message, to commit what follows from them.
	Schedule(a *Agent)
}

// An Agent reads the messages of one ring, asks a policy, and commits for it.
type Agent struct {
	kernel Kernel
	ring   int
	cpu    int
	policy Policy
	tasks  []Task
	seq    uint32
	lost   uint32
	found  int    // slot up to which tasks were discovered, MaxTasks: all
	wake   uint64 // when to schedule next without a message, 0: never
	txns   []Txn
	m      Message
	Stats  Stats // Snapshot is for other threads than the agent's
}

// NewAgent returns the agent of a ring. Nothing is read before Step is called.
func NewAgent(k Kernel, ring int, p Policy) *Agent {
	return &Agent{kernel: k, ring: ring, cpu: k.CPUs()[ring], policy: p, tasks: make([]Task, k.MaxTasks()), found: k.MaxTasks(),
		txns: make([]Txn, 0, len(k.CPUs()))}
}

// CPU is the one that its ring belongs to.
func (a *Agent) CPU() int { return a.cpu }

// CPUs are the enclave's.
func (a *Agent) CPUs() []int { return a.kernel.CPUs() }

// Task is what the agent knows of the task in a slot.
func (a *Agent) Task(slot uint32) *Task { return &a.tasks[slot] }

// Step hands all messages that there are to the policy and lets it schedule, once.
func (a *Agent) Step() error {
	for a.kernel.Next(a.ring, &a.m) {
		a.take(&a.m)
	}
	if err := a.discover(); err != nil {
		return err
	}
	a.wake = 0
	a.policy.Schedule(a)
	return nil
}

// Now is CLOCK_MONOTONIC in ns, as in Message.Time and Txn.Time.
func (a *Agent) Now() uint64 { return a.kernel.Now() }

// WakeAt makes the agent schedule at a time (of Now) though no message comes, and at once if that
// has passed. It holds until Schedule is called again; the earliest of several holds.
func (a *Agent) WakeAt(at uint64) {
	if a.wake == 0 || at < a.wake {
		a.wake = max(at, 1)
	}
}

// Due says when Step is to be called next: 0 if there is a message, never (false) as long as
// there is none.
func (a *Agent) Due() (at uint64, ok bool) {
	if a.kernel.Pending(a.ring) {
		return 0, true
	}
	return a.wake, a.wake != 0
}

// take keeps the task up to date and tells the policy.
func (a *Agent) take(m *Message) {
	if m.Type <= Priority {
		count(&a.Stats.Messages[m.Type], 1)
	} else {
		count(&a.Stats.Messages[0], 1)
	}
	a.seq = m.AgentSeq
	if int(m.Slot) >= len(a.tasks) {
		return
	}
	t := &a.tasks[m.Slot]
	if t.Gen != m.Gen || m.Type == New {
		if t.Gen != 0 {
			a.bury(t) // its end was lost; or it is discovered, after messages that came meanwhile
		}
		*t = Task{Slot: m.Slot, Gen: m.Gen, PID: int(m.PID)}
	}
	t.Seq = m.Seq
	a.policy.Handle(a, t, m)
	if m.Type == Dead || m.Type == Departed {
		t.Gen = 0
	}
}

// bury tells the policy the end of a task of which no message came.
func (a *Agent) bury(t *Task) {
	m := Message{Type: Dead, Slot: t.Slot, Gen: t.Gen, PID: int32(t.PID), Seq: t.Seq}
	a.policy.Handle(a, t, &m)
	t.Gen = 0
}

// discover begins anew when messages were lost: what is known of the ring's tasks is
// forgotten, and the kernel tells which there are.
func (a *Agent) discover() error {
	if lost := a.kernel.Lost(a.ring); lost != a.lost {
		count(&a.Stats.Lost, uint64(lost-a.lost))
		a.lost, a.found = lost, 0
		for i := range a.tasks {
			if a.tasks[i].Gen != 0 {
				a.bury(&a.tasks[i])
			}
		}
	}
	for a.found < len(a.tasks) {
		next, err := a.kernel.Discover(a.ring, a.found)
		if err != nil {
			return err
		}
		a.found = next
		for a.kernel.Next(a.ring, &a.m) {
			a.take(&a.m)
		}
	}
	return nil
}

// Run gives this agent's CPU to a task, unless the task had a message that the agent has not
// read. flags are further ones of a transaction.
func (a *Agent) Run(t *Task, flags uint32) Verdict {
	a.Prepare(a.cpu, t, flags)
	return a.Commit()[0].Verdict
}

// Prepare adds what Run does, for any CPU of the enclave, to what the next Commit carries out.
// There is room for one transaction for each CPU, then it allocates.
func (a *Agent) Prepare(cpu int, t *Task, flags uint32) {
	a.txns = append(a.txns, Txn{Slot: t.Slot, Gen: t.Gen, TaskSeq: t.Seq, AgentSeq: a.seq, Ring: uint32(a.ring), CPU: int32(cpu),
		Flags: flags | TaskBarrier})
}

// PrepareIdle does so with taking a CPU from the task that has it.
func (a *Agent) PrepareIdle(cpu int) {
	a.txns = append(a.txns, Txn{Ring: uint32(a.ring), CPU: int32(cpu), Flags: Idle})
}

// Commit carries out what was prepared, in one system call, and returns it with a verdict each, until
// something is prepared again.
func (a *Agent) Commit() []Txn {
	txns := a.txns
	a.txns = a.txns[:0]
	for i := range txns {
		txns[i].Verdict = Invalid // unless the kernel says something else
	}
	if len(txns) == 0 {
		return txns
	}
	count(&a.Stats.Calls, 1)
	if err := a.kernel.Commit(txns); err != nil {
		count(&a.Stats.Errors, 1)
	}
	for i := range txns {
		count(&a.Stats.Commits, 1)
		switch txns[i].Verdict {
		case OK:
		case Stale, AgentStale:
			count(&a.Stats.Stale, 1)
		default:
			count(&a.Stats.Refused, 1)
		}
	}
	return txns
}
