// SPDX-License-Identifier: BSD-3-Clause

package ghosttest

import (
	"slices"
	"testing"
	"time"

	"plugsched/ghost"
)

// found is within what time a CPU has to be found that is online again, which no message tells.
const found = 200 * time.Millisecond

// TestGlobal tests what is to hold for every policy of several CPUs that one agent asks
// ([ghost.Enclave.RunGlobal]), whatever its order: that a CPU which is free goes to who may use it, whatever
// the kernel's half refuses, and forgets; that refusals are not provoked again and again; and that nothing is
// allocated. The policy has to be one in which all tasks run on all CPUs, and nobody waits beside a free one.
func TestGlobal(t *testing.T, policy NewPolicy) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, policy NewPolicy)
	}{
		{"Stale", testStale},
		{"Gone", testGone},
		{"Lost", testLost},
		{"Between", testBetween},
		{"Affinity", testAffinity},
		{"Section", testSection},
		{"Offline", testOffline},
		{"AllOffline", testAllOffline},
		{"Allocations", testAllocations},
		{"Chance", testChance},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, policy) })
	}
}

// meanwhile does something once, before the first transaction for a task is looked at.
func (m *Machine) meanwhile(task *Task, do func(x *ghost.Txn)) {
	m.Before = func(x *ghost.Txn) {
		if int(x.Slot) == task.Slot && x.Flags&ghost.Idle == 0 {
			m.Before = nil
			do(x)
		}
	}
}

// other is the machine's other CPU.
func other(cpu int) int { return 5 - cpu }

// restricted starts a task that may not use the CPU on which it is tried first, and returns the one
// that it may use.
func (m *Machine) restricted(name string) (task *Task, cpu int) {
	m.t.Helper()
	task = m.Join(name, 0, true)
	m.meanwhile(task, func(x *ghost.Txn) {
		cpu = other(int(x.CPU))
		task.Allowed = []int{cpu}
	})
	m.WantRunning(name)
	if m.Running(cpu) != task {
		m.t.Fatalf("%s does not run on CPU %d, the only one that it may use", name, cpu)
	}
	return task, cpu
}

// testStale: one transaction of several is void, and the others are not.
func testStale(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	w := m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.meanwhile(w, func(*ghost.Txn) { m.Change(w) })
	m.WantRunning("w", "x")
	if m.Agent.Stats.Stale != 1 {
		t.Errorf("%+v", m.Agent.Stats)
	}
}

// testGone: who goes while he is given a CPU is not waited for.
func testGone(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	w := m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.meanwhile(w, func(*ghost.Txn) { m.Exit(w) })
	m.WantRunning("x")
	m.Join("y", 0, true)
	m.WantRunning("x", "y")
	if m.Agent.Stats.Refused != 1 {
		t.Errorf("%+v", m.Agent.Stats)
	}
}

// testLost: with messages lost, the policy finds out which tasks there are.
func testLost(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	tasks := []*Task{m.Join("w", 0, true), m.Join("x", 0, true), m.Join("y", 0, true)}
	m.Settle()
	waits := slices.IndexFunc(tasks, (*Task).Waits)
	if waits < 0 || len(m.Names()) != 2 {
		t.Fatalf("of three tasks %v run", m.Names())
	}
	y := tasks[waits]
	tasks = slices.Delete(tasks, waits, waits+1)
	for range 70 {
		m.Change(y)
	}
	m.Block(tasks[0]) // is lost, as what follows
	m.Exit(tasks[1])
	m.WantRunning(y.Name)
	if m.Agent.Stats.Lost == 0 {
		t.Errorf("%+v", m.Agent.Stats)
	}
	m.Wake(tasks[0])
	m.WantRunning(y.Name, tasks[0].Name)
}

// A between is a kernel in which something happens before it tells which tasks there are.
type between struct {
	*Kernel
	do func()
}

func (k *between) Discover(ring, slot int) (next int, err error) {
	k.do()
	return k.Kernel.Discover(ring, slot)
}

// testBetween: after messages were lost, others come before the kernel tells which tasks there are: then those
// tasks are told of twice.
func testBetween(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	tasks := []*Task{m.Join("w", 0, true), m.Join("x", 0, false), m.Join("y", 0, true), m.Join("z", 0, true)}
	k := &between{m.Kernel, func() {
		m.Wake(tasks[1])
		m.Change(tasks[2])
		for _, task := range tasks {
			if task.cpu >= 0 {
				m.Yield(task)
				return
			}
		}
	}}
	m.Agent = ghost.NewAgent(k, 0, policy(m.CPUs(), m.MaxTasks()))
	m.Settle()
	for range 70 {
		m.Change(tasks[0])
	}
	m.Settle()
	if len(m.Names()) != 2 || m.Agent.Stats.Lost == 0 {
		t.Errorf("%v run, %+v", m.Names(), m.Agent.Stats)
	}
	for range 2 {
		m.Block(m.running())
		m.Settle()
	}
	if len(m.Names()) != 2 {
		t.Errorf("%v run of those that are left", m.Names())
	}
}

// running is a task that runs.
func (m *Machine) running() *Task {
	for _, cpu := range m.CPUs() {
		if r := m.Running(cpu); r != nil {
			return r
		}
	}
	m.t.Fatal("nobody runs")
	return nil
}

// testAffinity: who may use one CPU only is tried on another once, and gets that one.
func testAffinity(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	w, cpu := m.restricted("w")
	refused := m.Agent.Stats.Refused
	x := m.Join("x", 0, true)
	m.WantRunning("w", "x")
	for range 3 {
		m.Block(w)
		m.WantRunning("x")
		m.Wake(w)
		m.WantRunning("w", "x")
	}
	if refused != 1 || m.Agent.Stats.Refused != refused {
		t.Errorf("%d transactions were refused, then %d", refused, m.Agent.Stats.Refused)
	}
	m.Block(x)
	m.Change(w, other(cpu))
	m.Yield(w)
	m.WantRunning("w")
}

// testSection: who may use one CPU only for a while, without a message, uses others again.
func testSection(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	w, cpu := m.restricted("w")
	w.Allowed = nil
	m.Block(w)
	m.Settle()
	m.Pass(time.Second)
	m.Join("x", 0, true)
	m.Join("y", 0, true)
	m.WantRunning("x", "y")
	stays := m.Running(cpu)
	m.Block(m.Running(other(cpu)))
	m.Wake(w)
	m.WantRunning("w", stays.Name)
}

// testOffline: a CPU that is offline keeps nobody from the others, and is found again though no
// message tells that it is back.
func testOffline(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	m.Online(2, false)
	m.Join("w", 0, true)
	m.Want("", "w")
	m.Join("x", 0, true)
	m.Settle()
	m.Settle()
	if len(m.Names()) != 1 {
		t.Errorf("%v run on one CPU", m.Names())
	}
	refused := m.Agent.Stats.Refused
	m.Online(2, true)
	m.finds(2)
	if refused > 2 || m.Agent.Stats.Refused != refused {
		t.Errorf("%d transactions were refused, then %d", refused, m.Agent.Stats.Refused)
	}
}

// testAllOffline: with all CPUs offline the agent does not spin, and goes on when one is back.
func testAllOffline(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	m.Online(2, false)
	m.Online(3, false)
	w := m.Join("w", 0, true)
	m.Want("", "")
	m.Change(w) // a message in between
	m.Want("", "")
	if m.Agent.Stats.Refused > 4 {
		t.Errorf("%+v", m.Agent.Stats)
	}
	m.Online(3, true)
	m.finds(1)
	m.Want("", "w")
}

// finds lets time pass, only as the agent asks for it, until so many tasks run.
func (m *Machine) finds(n int) {
	m.t.Helper()
	back := m.Now()
	for steps := 0; len(m.Names()) < n; steps++ {
		at, ok := m.Agent.Due()
		if !ok || at > back+uint64(found) {
			m.t.Fatal("nobody wakes the agent")
		}
		if steps == 100_000 { // far more than slices in that time
			m.t.Fatal("the agent is woken again and again")
		}
		m.Pass(time.Duration(at - m.Now()))
		m.Settle()
	}
}

// testAllocations: a policy that allocates would wait for the garbage collector some day.
func testAllocations(t *testing.T, policy NewPolicy) {
	m := NewMachine(t, policy)
	for _, name := range []string{"w", "x", "y"} {
		m.Join(name, 0, true)
	}
	m.Settle()
	before := m.Agent.Stats.Commits
	if n := testing.AllocsPerRun(100, func() {
		for cpu := 2; cpu <= 3; cpu++ {
			m.Yield(m.Running(cpu))
			m.Settle()
		}
		slept := m.Running(2)
		m.Block(slept)
		m.Settle()
		m.Pass(time.Millisecond)
		m.Wake(slept)
		m.Settle()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
	if m.Agent.Stats.Commits < before+300 {
		t.Errorf("only %d transactions", m.Agent.Stats.Commits-before)
	}
}
