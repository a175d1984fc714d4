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
	for _, name := range []string{"w", "x", "y"} {
		m.Join(name, 0, true)
	}
	m.want("w", "x")
	before := m.a.Stats.Commits
	if n := testing.AllocsPerRun(100, func() {
		m.Yield(m.Running(2))
		m.settle()
		m.Yield(m.Running(3))
		m.settle()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
	if m.a.Stats.Commits < before+200 {
		t.Errorf("only %d transactions", m.a.Stats.Commits-before)
	}
}
