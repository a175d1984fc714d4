// SPDX-License-Identifier: BSD-3-Clause

package edf

import (
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/fifo"
	"plugsched/ghost/ghosttest"
)

// start has deadlines by the order of Join, in ms, at first 10 for everybody.
func start(t *testing.T, deadlines ...time.Duration) *ghosttest.Machine {
	return ghosttest.NewMachine(t, with(func(pid int) time.Duration {
		if pid > len(deadlines) {
			return 10 * time.Millisecond
		}
		return deadlines[pid-1] * time.Millisecond
	}))
}

// with is the policy for several CPUs, with deadlines.
func with(relative func(pid int) time.Duration) ghosttest.NewPolicy {
	return func(cpus []int, tasks int) ghost.Policy { return New(cpus, tasks, relative) }
}

// TestGlobal: what every policy of several CPUs has to do, whatever deadlines there are.
func TestGlobal(t *testing.T) {
	for name, relative := range map[string]func(pid int) time.Duration{
		"same":    func(int) time.Duration { return 10 * time.Millisecond },
		"several": func(pid int) time.Duration { return time.Duration(pid%5) * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) { ghosttest.TestGlobal(t, with(relative)) })
	}
}

// periodic is a task that has to do the same again and again, each time before the next.
type periodic struct{ period, work time.Duration }

// misses counts jobs that were not done within their period, on one CPU in three seconds.
func misses(t *testing.T, tasks []periodic, policy func(k *ghosttest.Kernel, relative func(int) time.Duration) ghost.Policy) (n, of int) {
	t.Helper()
	k := ghosttest.New([]int{3}, 8, 64)
	periods := map[int]time.Duration{}
	var jobs []ghosttest.Job
	for _, p := range tasks {
		task := k.Join("", 0, false)
		periods[task.PID()] = p.period
		for at := time.Duration(0); at < 3*time.Second; at += p.period {
			jobs = append(jobs, ghosttest.Job{Task: task, At: at, Work: p.work})
		}
	}
	a := ghost.NewAgent(k, 0, policy(k, func(pid int) time.Duration { return periods[pid] }))
	if err := k.Play(jobs, a); err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		if jobs[i].Latency() > periods[jobs[i].Task.PID()] {
			n++
		}
	}
	return n, len(jobs)
}

// TestDeadlines: at 80 % of a CPU nobody misses a deadline, nor at 100 %, at 110 % somebody must. First
// come, first served they are missed at 80 %.
func TestDeadlines(t *testing.T) {
	const ms = time.Millisecond
	own := func(k *ghosttest.Kernel, relative func(int) time.Duration) ghost.Policy {
		return New(k.CPUs(), k.MaxTasks(), relative)
	}
	first := func(*ghosttest.Kernel, func(int) time.Duration) ghost.Policy { return fifo.New() }
	load80 := []periodic{{10 * ms, 3 * ms}, {15 * ms, 3 * ms}, {100 * ms, 30 * ms}}
	load100 := append(load80, periodic{50 * ms, 10 * ms})
	load110 := append(load100, periodic{100 * ms, 10 * ms})
	for _, c := range []struct {
		name   string
		load   []periodic
		policy func(*ghosttest.Kernel, func(int) time.Duration) ghost.Policy
		miss   bool
	}{
		{"80 %", load80, own, false},
		{"100 %", load100, own, false},
		{"110 %", load110, own, true},
		{"80 %, first come, first served", load80, first, true},
	} {
		n, of := misses(t, c.load, c.policy)
		t.Logf("%s: %d of %d miss their deadlines", c.name, n, of)
		if (n > 0) != c.miss {
			t.Errorf("%s: %d of %d miss their deadlines", c.name, n, of)
		}
	}
}

// TestOrder: whose deadline is earlier takes the CPU from who has the latest; who has none waits for
// all others.
func TestOrder(t *testing.T) {
	m := start(t, 0, 50, 30, 30, 10)
	none := m.Join("none", 0, true)
	in50, in30 := m.Join("50", 0, true), m.Join("30", 0, false)
	too, in10 := m.Join("30 too", 0, false), m.Join("10", 0, false)
	m.Want("50", "none")
	m.Wake(in30)
	m.Want("50", "30")
	m.Wake(too)
	m.Want("30 too", "30")
	m.Wake(in10)
	m.Settle()
	if m.Running(2) != in10 && m.Running(3) != in10 {
		t.Errorf("%v run", m.Names())
	}
	m.Block(in10)
	m.Want("30 too", "30")
	m.Block(too)
	m.Want("50", "30")
	m.Pass(25 * time.Millisecond) // 50 is due in 25 ms now, 30 in 5
	m.Wake(too)                   // in 30
	m.Want("50", "30")
	m.Yield(in30) // in 30 again, behind the other
	m.Want("50", "30 too")
	m.Exit(in50)
	m.Depart(too)
	m.Want("30", "none")
	m.Block(none)
	m.Want("30", "")
}

// TestAllocations: see that of package fifo.
func TestAllocations(t *testing.T) {
	m := start(t, 30, 30, 10)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	y := m.Join("y", 0, false)
	m.Want("w", "x")
	before := m.Agent.Stats.Commits
	if n := testing.AllocsPerRun(100, func() {
		m.Wake(y) // takes a CPU, and gives it back
		m.Settle()
		m.Block(y)
		m.Settle()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
	if m.Agent.Stats.Commits < before+200 {
		t.Errorf("only %d transactions", m.Agent.Stats.Commits-before)
	}
}
