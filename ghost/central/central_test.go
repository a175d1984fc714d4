// SPDX-License-Identifier: BSD-3-Clause

package central

import (
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/ghosttest"
)

// machine is a kernel of two CPUs with one agent, and what runs on them.
type machine struct {
	*ghosttest.Kernel
	t *testing.T
	a *ghost.Agent
}

// settle lets the agent run as long as it has something to do now.
func (m *machine) settle() {
	m.t.Helper()
	for {
		if err := m.a.Step(); err != nil {
			m.t.Fatal(err)
		}
		if at, ok := m.a.Due(); !ok || at > m.Now() {
			return
		}
	}
}

// want lets the agent run, and compares who runs then.
func (m *machine) want(on2, on3 string) {
	m.t.Helper()
	m.settle()
	for cpu, want := range map[int]string{2: on2, 3: on3} {
		got := ""
		if r := m.Running(cpu); r != nil {
			got = r.Name
		}
		if got != want {
			m.t.Fatalf("%q runs on CPU %d, want %q", got, cpu, want)
		}
	}
}

func start(t *testing.T) *machine {
	k := ghosttest.New([]int{2, 3}, 8, 64)
	return &machine{k, t, ghost.NewAgent(k, 0, New(k.CPUs(), k.MaxTasks()))}
}

// TestOrder: the CPU that is free first gets who has waited longest.
func TestOrder(t *testing.T) {
	m := start(t)
	w, x, y, z := m.Join("w", 0, true), m.Join("x", 0, true), m.Join("y", 0, true), m.Join("z", 0, true)
	m.want("w", "x")
	m.Block(x)
	m.want("w", "y")
	m.Wake(x)
	m.Yield(w)
	m.want("z", "y")
	m.Exit(y)
	m.want("z", "x")
	m.Depart(w)
	m.Block(z)
	m.Block(x)
	m.want("", "")
}

// TestStale: one transaction of several is void, and the others are not.
func TestStale(t *testing.T) {
	m := start(t)
	w := m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.Before = func(*ghost.Txn) {
		m.Before = nil
		m.Change(w)
	}
	m.want("w", "x")
	if m.a.Stats.Stale != 1 {
		t.Errorf("%+v", m.a.Stats)
	}
}

// TestGone: who goes while he is given a CPU is not waited for.
func TestGone(t *testing.T) {
	m := start(t)
	w := m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.Before = func(*ghost.Txn) {
		m.Before = nil
		m.Exit(w)
	}
	m.settle()
	m.Join("y", 0, true)
	m.settle()
	if len(m.running()) != 2 || m.a.Stats.Refused != 1 {
		t.Errorf("%v run, %+v", m.running(), m.a.Stats)
	}
}

// TestLost: with messages lost, the policy finds out which tasks there are.
func TestLost(t *testing.T) {
	m := start(t)
	w, x, y := m.Join("w", 0, true), m.Join("x", 0, true), m.Join("y", 0, true)
	m.want("w", "x")
	for range 70 {
		m.Change(y)
	}
	m.Block(w) // is lost, as what follows
	m.Exit(x)
	m.settle()
	if got := m.running(); len(got) != 1 || got[0] != "y" || m.a.Stats.Lost == 0 {
		t.Errorf("%v run, %+v", got, m.a.Stats)
	}
	m.Wake(w)
	m.settle()
	if got := m.running(); len(got) != 2 {
		t.Errorf("%v run", got)
	}
}

// TestAffinity: who may use one CPU only is tried on another once, and gets that one.
func TestAffinity(t *testing.T) {
	m := start(t)
	w := m.Join("w", 0, true)
	w.Allowed = []int{3}
	m.want("", "w")
	refused := m.a.Stats.Refused
	m.Join("x", 0, true)
	m.want("x", "w")
	for range 3 {
		m.Block(w)
		m.settle()
		m.Wake(w)
		m.want("x", "w")
	}
	if refused != 1 || m.a.Stats.Refused != refused {
		t.Errorf("%d transactions were refused, then %d", refused, m.a.Stats.Refused)
	}
	m.Block(m.Running(2))
	m.Change(w, 2)
	m.Yield(w)
	m.want("w", "")
}

// TestSection: who may use one CPU only for a while, without a message, uses others again.
func TestSection(t *testing.T) {
	m := start(t)
	w := m.Join("w", 0, true)
	w.Allowed = []int{3}
	m.want("", "w")
	w.Allowed = nil
	m.Block(w)
	m.settle()
	m.Pass(time.Second)
	m.Join("x", 0, true)
	m.Join("y", 0, true)
	m.settle()
	m.Block(m.Running(2))
	m.Wake(w)
	m.settle()
	if m.Running(2) != w {
		t.Errorf("%v run", m.running())
	}
}

// TestOffline: a CPU that is offline keeps nobody from the others, and is found again though no
// message tells that it is back.
func TestOffline(t *testing.T) {
	m := start(t)
	m.Online(2, false)
	m.Join("w", 0, true)
	m.want("", "w")
	m.Join("x", 0, true)
	m.settle()
	m.settle()
	if len(m.running()) != 1 {
		t.Errorf("%v run on one CPU", m.running())
	}
	refused := m.a.Stats.Refused
	m.Online(2, true)
	for back := m.Now(); len(m.running()) < 2; m.settle() {
		at, ok := m.a.Due()
		if !ok || at > back+2*retry {
			t.Fatal("nobody wakes the agent")
		}
		m.Pass(time.Duration(at - m.Now()))
	}
	if refused > 2 || m.a.Stats.Refused != refused {
		t.Errorf("%d transactions were refused, then %d", refused, m.a.Stats.Refused)
	}
}

// TestAllOffline: with all CPUs offline the agent does not spin, and goes on when one is back.
func TestAllOffline(t *testing.T) {
	m := start(t)
	m.Online(2, false)
	m.Online(3, false)
	w := m.Join("w", 0, true)
	m.want("", "")
	m.Change(w) // a message in between
	m.want("", "")
	if m.a.Stats.Refused > 4 {
		t.Errorf("%+v", m.a.Stats)
	}
	m.Online(3, true)
	at, ok := m.a.Due()
	if !ok || at > m.Now()+2*retry {
		t.Fatal("nobody wakes the agent")
	}
	m.Pass(time.Duration(at - m.Now()))
	m.want("", "w")
}

// running are the names of those who run.
func (m *machine) running() (names []string) {
	for _, cpu := range m.CPUs() {
		if r := m.Running(cpu); r != nil {
			names = append(names, r.Name)
		}
	}
	return names
}

// TestAllocations: see that of package fifo.
func TestAllocations(t *testing.T) {
	m := start(t)
	tasks := []*ghosttest.Task{m.Join("w", 0, true), m.Join("x", 0, true), m.Join("y", 0, true)}
	m.want("w", "x")
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		for m.Running(2) != tasks[i] {
			i = (i + 1) % len(tasks)
		}
		m.Yield(tasks[i])
		_ = m.a.Step()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
}
