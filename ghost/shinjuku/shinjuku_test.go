// SPDX-License-Identifier: BSD-3-Clause

package shinjuku

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/central"
	"plugsched/ghost/fifo"
	"plugsched/ghost/ghosttest"
)

const slice = 30 * time.Microsecond

// own is the policy for several CPUs.
func own(cpus []int, tasks int) ghost.Policy { return New(cpus, tasks, slice) }

func start(t *testing.T) *ghosttest.Machine { return ghosttest.NewMachine(t, own) }

// TestGlobal: what every policy of several CPUs has to do.
func TestGlobal(t *testing.T) { ghosttest.TestGlobal(t, own) }

// bimodal are requests of which one in two hundred takes ten milliseconds and the others four
// microseconds, as a store's, that use two CPUs to 70 %, each a task of its own.
func bimodal(k *ghosttest.Kernel, rings int) []ghosttest.Job {
	random := rand.New(rand.NewPCG(1, 2))
	const mean = 10*time.Millisecond/200 + 4*time.Microsecond
	var jobs []ghosttest.Job
	var at time.Duration
	for i := range k.MaxTasks() {
		at += time.Duration(random.ExpFloat64() * float64(mean) / (2 * 0.7))
		j := ghosttest.Job{Task: k.Join(fmt.Sprint(i), i%rings, false), At: at, Work: 4 * time.Microsecond}
		if random.IntN(200) == 0 {
			j.Work = 10 * time.Millisecond
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// p99 is how long the slowest percent of the requests took at least.
func p99(t *testing.T, rings int, policy func(k *ghosttest.Kernel, cpu int) ghost.Policy) time.Duration {
	t.Helper()
	k := ghosttest.New([]int{2, 3}, 5000, 8192)
	k.Switch = time.Microsecond
	jobs := bimodal(k, rings)
	var agents []*ghost.Agent
	for ring, cpu := range k.CPUs()[:rings] {
		agents = append(agents, ghost.NewAgent(k, ring, policy(k, cpu)))
	}
	if err := k.Play(jobs, agents...); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for i := range jobs {
		took = append(took, jobs[i].Latency())
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// TestTail: a few who compute for long hold nobody up. Under the policies that let everybody finish they do, a
// hundred times as long.
func TestTail(t *testing.T) {
	own := p99(t, 1, func(k *ghosttest.Kernel, _ int) ghost.Policy { return New(k.CPUs(), k.MaxTasks(), slice) })
	one := p99(t, 1, func(k *ghosttest.Kernel, _ int) ghost.Policy { return central.New(k.CPUs(), k.MaxTasks()) })
	each := p99(t, 2, func(*ghosttest.Kernel, int) ghost.Policy { return fifo.New() })
	t.Logf("p99: %v; with central %v, with fifo %v", own, one, each)
	if own > one/10 || own > each/10 {
		t.Errorf("p99 is %v, with central %v, with fifo %v", own, one, each)
	}
}

// TestTurns: whose slice is over goes to the end of the queue when somebody waits.
func TestTurns(t *testing.T) {
	m := start(t)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.Want("w", "x")
	m.Pass(10 * time.Microsecond)
	m.Join("y", 0, true)
	m.Want("w", "x")
	m.Pass(19 * time.Microsecond)
	m.Want("w", "x")
	m.Pass(time.Microsecond)
	m.Want("y", "w") // w was on 2, and waited before x's slice was over
	m.Pass(29 * time.Microsecond)
	m.Want("y", "w")
	m.Pass(time.Microsecond)
	m.Want("x", "y")
}

// TestTimer: a slice ends in time though nothing happens then.
func TestTimer(t *testing.T) {
	m := start(t)
	w, x, y := m.Join("w", 0, false), m.Join("x", 0, false), m.Join("y", 0, false)
	jobs := []ghosttest.Job{
		{Task: w, Work: time.Second},
		{Task: x, Work: time.Second},
		{Task: y, At: 5 * time.Microsecond, Work: 4 * time.Microsecond},
	}
	if err := m.Play(jobs, m.Agent); err != nil {
		t.Fatal(err)
	}
	if got := jobs[2].Done; got != slice+4*time.Microsecond {
		t.Errorf("y is done after %v", got)
	}
	if m.Calls > 5 {
		t.Errorf("%d calls", m.Calls)
	}
}

// TestAlone: while nobody waits, nobody is interrupted, and the agent sleeps.
func TestAlone(t *testing.T) {
	m := start(t)
	w := m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.Want("w", "x")
	calls := m.Calls
	if at, ok := m.Agent.Due(); ok {
		t.Errorf("the agent is to be woken at %d", at)
	}
	m.Pass(time.Second)
	m.Want("w", "x")
	if m.Calls != calls {
		t.Errorf("%d further calls", m.Calls-calls)
	}
	m.Block(w) // y gets the CPU that is free, though x's slice is over
	m.Join("y", 0, true)
	m.Want("y", "x")
	m.Join("z", 0, true)
	m.Want("y", "z")
}

// TestGoesOffline: a CPU that goes offline when its slice is over is tried once, not for ever.
func TestGoesOffline(t *testing.T) {
	m := start(t)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.Join("y", 0, true)
	m.Want("w", "x")
	m.Pass(slice)
	m.Before = func(*ghost.Txn) {
		if m.Calls > 50 {
			t.Fatal("it is tried for ever")
		}
		m.Online(2, false)
	}
	m.Want("", "y")
	m.Before = nil
	m.Pass(slice)
	m.Want("", "w")
}

// TestFailed: who could not be interrupted is, a slice later at the latest.
func TestFailed(t *testing.T) {
	m := start(t)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	y := m.Join("y", 0, true)
	m.Want("w", "x")
	y.Allowed = []int{9}
	m.Pass(slice)
	m.Want("w", "x")
	if m.Agent.Stats.Refused != 2 {
		t.Errorf("%+v", m.Agent.Stats)
	}
	if at, ok := m.Agent.Due(); ok {
		t.Errorf("woken at %d for who may run nowhere", at)
	}
	m.Change(y, 3)
	m.Want("x", "y") // y took the CPU from x, and x from w
}

// TestAllocations: see that of package fifo.
func TestAllocations(t *testing.T) {
	m := start(t)
	for _, name := range []string{"w", "x", "y", "z"} {
		m.Join(name, 0, true)
	}
	m.Want("w", "x")
	before := m.Agent.Stats.Commits
	if n := testing.AllocsPerRun(100, func() {
		m.Pass(slice)
		m.Settle()
		m.Yield(m.Running(2))
		m.Settle()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
	if m.Agent.Stats.Commits < before+300 {
		t.Errorf("only %d transactions", m.Agent.Stats.Commits-before)
	}
}
