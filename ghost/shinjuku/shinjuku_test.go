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
	return &machine{k, t, ghost.NewAgent(k, 0, New(k.CPUs(), k.MaxTasks(), slice))}
}

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
	m.want("w", "x")
	m.Pass(10 * time.Microsecond)
	m.Join("y", 0, true)
	m.want("w", "x")
	m.Pass(19 * time.Microsecond)
	m.want("w", "x")
	m.Pass(time.Microsecond)
	m.want("y", "w") // w was on 2, and waited before x's slice was over
	m.Pass(29 * time.Microsecond)
	m.want("y", "w")
	m.Pass(time.Microsecond)
	m.want("x", "y")
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
	if err := m.Play(jobs, m.a); err != nil {
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
	m.want("w", "x")
	calls := m.Calls
	if at, ok := m.a.Due(); ok {
		t.Errorf("the agent is to be woken at %d", at)
	}
	m.Pass(time.Second)
	m.want("w", "x")
	if m.Calls != calls {
		t.Errorf("%d further calls", m.Calls-calls)
	}
	m.Block(w) // y gets the CPU that is free, though x's slice is over
	m.Join("y", 0, true)
	m.want("y", "x")
	m.Join("z", 0, true)
	m.want("y", "z")
}

// TestGoesOffline: a CPU that goes offline when its slice is over is tried once, not for ever.
func TestGoesOffline(t *testing.T) {
	m := start(t)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	m.Join("y", 0, true)
	m.want("w", "x")
	m.Pass(slice)
	m.Before = func(*ghost.Txn) {
		if m.Calls > 50 {
			t.Fatal("it is tried for ever")
		}
		m.Online(2, false)
	}
	m.want("", "y")
	m.Before = nil
	m.Pass(slice)
	m.want("", "w")
}

// TestFailed: who could not be interrupted is, a slice later at the latest.
func TestFailed(t *testing.T) {
	m := start(t)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	y := m.Join("y", 0, true)
	m.want("w", "x")
	y.Allowed = []int{9}
	m.Pass(slice)
	m.want("w", "x")
	if m.a.Stats.Refused != 2 {
		t.Errorf("%+v", m.a.Stats)
	}
	if at, ok := m.a.Due(); ok {
		t.Errorf("woken at %d for who may run nowhere", at)
	}
	m.Change(y, 3)
	m.want("x", "y") // y took the CPU from x, and x from w
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
	for _, name := range []string{"w", "x", "y", "z"} {
		m.Join(name, 0, true)
	}
	m.want("w", "x")
	before := m.a.Stats.Commits
	if n := testing.AllocsPerRun(100, func() {
		m.Pass(slice)
		m.settle()
		m.Yield(m.Running(2))
		m.settle()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
	if m.a.Stats.Commits < before+300 {
		t.Errorf("only %d transactions", m.a.Stats.Commits-before)
	}
}
