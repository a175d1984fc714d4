// SPDX-License-Identifier: BSD-3-Clause

package sol

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/central"
	"plugsched/ghost/fifo"
	"plugsched/ghost/ghosttest"
)

// own is the policy for several CPUs.
func own(cpus []int, tasks int) ghost.Policy { return New(cpus, tasks) }

func start(t *testing.T) *ghosttest.Machine { return ghosttest.NewMachine(t, own) }

// TestGlobal: what every policy of several CPUs has to do.
func TestGlobal(t *testing.T) { ghosttest.TestGlobal(t, own) }

const cpus, rounds = 16, 20

// calls counts calls of Commit, and transactions, for a program with a task for each of some CPUs, which meet
// at a barrier some times: all sleep, and all wake.
func calls(t *testing.T, rings int, policy func(k *ghosttest.Kernel) ghost.Policy) (calls, txns uint64) {
	t.Helper()
	var list []int
	for cpu := range cpus {
		list = append(list, cpu)
	}
	k := ghosttest.New(list, cpus, 64)
	var agents []*ghost.Agent
	for ring := range rings {
		agents = append(agents, ghost.NewAgent(k, ring, policy(k)))
	}
	var jobs []ghosttest.Job
	for i := range cpus {
		task := k.Join(fmt.Sprint(i), i%rings, false)
		for round := range rounds {
			jobs = append(jobs, ghosttest.Job{Task: task, At: time.Duration(round) * time.Second, Work: time.Millisecond})
		}
	}
	if err := k.Play(jobs, agents...); err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		if got := jobs[i].Latency(); got != time.Millisecond {
			t.Fatalf("job %d took %v", i, got)
		}
	}
	for _, a := range agents {
		calls += a.Stats.Calls
		txns += a.Stats.Commits
	}
	if calls != uint64(k.Calls) {
		t.Errorf("%d calls, the kernel had %d", calls, k.Calls)
	}
	return calls, txns
}

// TestCalls: however many CPUs are to be given away, that is one call. With an agent for each it is one
// for each.
func TestCalls(t *testing.T) {
	own, txns := calls(t, 1, func(k *ghosttest.Kernel) ghost.Policy { return New(k.CPUs(), k.MaxTasks()) })
	if own != rounds || txns != rounds*cpus {
		t.Errorf("%d calls with %d transactions for %d rounds on %d CPUs", own, txns, rounds, cpus)
	}
	each, txns := calls(t, cpus, func(*ghosttest.Kernel) ghost.Policy { return fifo.New() })
	if each != rounds*cpus || txns != rounds*cpus {
		t.Errorf("with fifo %d calls with %d transactions for %d rounds on %d CPUs", each, txns, rounds, cpus)
	}
	t.Logf("%d calls, with fifo %d", own, each)
}

// TestOneCall: a step makes one call, even if transactions are refused; central tries again at once.
func TestOneCall(t *testing.T) {
	for name, c := range map[string]struct {
		policy func(k *ghosttest.Kernel) ghost.Policy
		want   int
	}{
		"sol":     {func(k *ghosttest.Kernel) ghost.Policy { return New(k.CPUs(), k.MaxTasks()) }, 1},
		"central": {func(k *ghosttest.Kernel) ghost.Policy { return central.New(k.CPUs(), k.MaxTasks()) }, 3},
	} {
		k := ghosttest.New([]int{1, 2, 3}, 8, 64)
		a := ghost.NewAgent(k, 0, c.policy(k))
		w := k.Join("w", 0, true)
		w.Allowed = []int{3}
		if err := a.Step(); err != nil {
			t.Fatal(err)
		}
		if k.Calls != c.want {
			t.Errorf("%s: %d calls in a step, want %d", name, k.Calls, c.want)
		}
		for at, ok := a.Due(); ok && at <= k.Now(); at, ok = a.Due() {
			if err := a.Step(); err != nil {
				t.Fatal(err)
			}
		}
		if k.Running(3) != w || k.Calls != 3 {
			t.Errorf("%s: after %d calls %v runs", name, k.Calls, k.Running(3))
		}
	}
}

// TestPlaces: those who run now get the CPUs that they had, whatever the order in which they woke.
func TestPlaces(t *testing.T) {
	list := []int{1, 2, 3, 4}
	k := ghosttest.New(list, 8, 64)
	a := ghost.NewAgent(k, 0, New(k.CPUs(), k.MaxTasks()))
	step := func() {
		t.Helper()
		if err := a.Step(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cpu := range list {
		k.Join(fmt.Sprint(cpu), 0, true)
	}
	step()
	for range 5 {
		var tasks []*ghosttest.Task
		for _, cpu := range list {
			tasks = append(tasks, k.Running(cpu))
			k.Block(k.Running(cpu))
		}
		step()
		for _, task := range slices.Backward(tasks) {
			k.Wake(task)
		}
		step()
		for _, cpu := range list {
			if got := k.Running(cpu); got == nil || got.Name != fmt.Sprint(cpu) {
				t.Errorf("%v runs on CPU %d", got, cpu)
			}
		}
	}
	// Who waits longer comes first all the same: on the CPU that another one had.
	late := k.Join("late", 0, true)
	step()
	had := k.Running(2)
	k.Yield(had)
	step()
	if k.Running(2) != late {
		t.Errorf("%v runs on CPU 2", k.Running(2))
	}
}

// TestOrder: the CPU that is free first gets who has waited longest.
func TestOrder(t *testing.T) {
	m := start(t)
	w, x, y, z := m.Join("w", 0, true), m.Join("x", 0, true), m.Join("y", 0, true), m.Join("z", 0, true)
	m.Want("w", "x")
	m.Block(x)
	m.Want("w", "y")
	m.Wake(x)
	m.Yield(w)
	m.Want("z", "y")
	m.Exit(y)
	m.Want("z", "x")
	m.Depart(w)
	m.Block(z)
	m.Block(x)
	m.Want("", "")
}
