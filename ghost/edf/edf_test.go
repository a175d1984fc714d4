// SPDX-License-Identifier: BSD-3-Clause

package edf

import (
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/fifo"
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

// start has deadlines by the order of Join, in ms, at first 10 for everybody.
func start(t *testing.T, deadlines ...time.Duration) *machine {
	k := ghosttest.New([]int{2, 3}, 8, 64)
	relative := func(pid int) time.Duration {
		if pid > len(deadlines) {
			return 10 * time.Millisecond
		}
		return deadlines[pid-1] * time.Millisecond
	}
	return &machine{k, t, ghost.NewAgent(k, 0, New(k.CPUs(), k.MaxTasks(), relative))}
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
	m.want("50", "none")
	m.Wake(in30)
	m.want("50", "30")
	m.Wake(too)
	m.want("30 too", "30")
	m.Wake(in10)
	m.settle()
	if m.Running(2) != in10 && m.Running(3) != in10 {
		t.Errorf("%v run", m.running())
	}
	m.Block(in10)
	m.want("30 too", "30")
	m.Block(too)
	m.want("50", "30")
	m.Pass(25 * time.Millisecond) // 50 is due in 25 ms now, 30 in 5
	m.Wake(too)                   // in 30
	m.want("50", "30")
	m.Yield(in30) // in 30 again, behind the other
	m.want("50", "30 too")
	m.Exit(in50)
	m.Depart(too)
	m.want("30", "none")
	m.Block(none)
	m.want("30", "")
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
	m := start(t, 30, 30, 10)
	m.Join("w", 0, true)
	m.Join("x", 0, true)
	y := m.Join("y", 0, false)
	m.want("w", "x")
	before := m.a.Stats.Commits
	if n := testing.AllocsPerRun(100, func() {
		m.Wake(y) // takes a CPU, and gives it back
		m.settle()
		m.Block(y)
		m.settle()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
	if m.a.Stats.Commits < before+200 {
		t.Errorf("only %d transactions", m.a.Stats.Commits-before)
	}
}
