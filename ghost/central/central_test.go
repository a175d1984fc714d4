// SPDX-License-Identifier: BSD-3-Clause

package central

import (
	"testing"

	"plugsched/ghost"
	"plugsched/ghost/ghosttest"
)

// machine is a kernel of two CPUs with one agent, and what runs on them.
type machine struct {
	*ghosttest.Kernel
	t *testing.T
	a *ghost.Agent
}

func start(t *testing.T) *machine {
	k := ghosttest.New([]int{2, 3}, 8, 64)
	return &machine{k, t, ghost.NewAgent(k, 0, New(k.CPUs()))}
}

// want lets the agent run, and compares who runs then.
func (m *machine) want(on2, on3 string) {
	m.t.Helper()
	for first := true; first || m.Pending(0); first = false {
		if err := m.a.Step(); err != nil {
			m.t.Fatal(err)
		}
	}
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

// TestAffinity: who may use one CPU only is tried on the others in vain, and gets that one.
func TestAffinity(t *testing.T) {
	m := start(t)
	w := m.Join("w", 0, true)
	w.Allowed = []int{3}
	m.want("", "w")
	m.Join("x", 0, true)
	m.want("x", "w")
	m.Yield(w)
	m.want("x", "w")
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
