// SPDX-License-Identifier: BSD-3-Clause

package ghost

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// still is a kernel in which nothing happens.
type still struct {
	now     uint64
	pending bool
}

func (k *still) MaxTasks() int                              { return 4 }
func (k *still) CPUs() []int                                { return []int{3, 4} }
func (k *still) Next(int, *Message) bool                    { return false }
func (k *still) Pending(int) bool                           { return k.pending }
func (k *still) Lost(int) uint32                            { return 0 }
func (k *still) Discover(_, slot int) (next int, err error) { return slot, nil }
func (k *still) Commit([]Txn) error                         { return nil }
func (k *still) Now() uint64                                { return k.now }

// asks is a policy that asks to be woken.
type asks []uint64

func (*asks) Handle(*Agent, *Task, *Message) {}
func (p *asks) Schedule(a *Agent) {
	for _, at := range *p {
		a.WakeAt(at)
	}
	*p = nil
}

// TestPatience: an agent waits as long as its policy has asked, once.
func TestPatience(t *testing.T) {
	k := &still{now: 1000}
	p := &asks{}
	a := NewAgent(k, 0, p)
	var left unix.Timespec
	for _, c := range []struct {
		at      []uint64
		pending bool
		want    int64 // ns; -1: for ever
	}{
		{nil, false, -1},
		{nil, true, 0},
		{[]uint64{1500}, false, 500},
		{[]uint64{1500}, true, 0},
		{[]uint64{9000, 1200, 5000}, false, 200},
		{[]uint64{3_000_001_000}, false, 3_000_000_000},
		{[]uint64{0}, false, 0},
		{[]uint64{999}, false, 0},
		{nil, false, -1}, // what was asked before is over
	} {
		*p, k.pending = c.at, c.pending
		if err := a.Step(); err != nil {
			t.Fatal(err)
		}
		got := int64(-1)
		if ts := a.patience(&left); ts != nil {
			got = ts.Nano()
		}
		if got != c.want {
			t.Errorf("%+v: waits for %d", c, got)
		}
	}
}

// ticks is a policy that asks to be woken again and again, and ends the run after some times.
type ticks struct {
	left  int
	asked uint64
	early uint64 // by how much it was woken too early, at most
	seen  Stats  // by another thread's eyes
	e     *Enclave
	end   func()
}

func (*ticks) Handle(*Agent, *Task, *Message) {}
func (p *ticks) Schedule(a *Agent) {
	now := a.Now()
	if now < p.asked {
		p.early = max(p.early, p.asked-now)
	}
	if p.left--; p.left == 0 {
		p.seen = p.e.Stats()
		p.end()
	}
	p.asked = now + uint64(time.Millisecond)
	a.WakeAt(p.asked)
}

// TestRunWakes: the thread of an agent that gets no message schedules when it asked for it, not before.
func TestRunWakes(t *testing.T) {
	silent, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(silent)
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	e := &Enclave{cpus: []int{7}, clock: c, past: Metrics{}, head: &header{NrStatus: 4},
		rings: []ringView{{&ring{Head: 1}, []Message{{Type: Wakeup, Gen: 1}}}}, waiters: []int{silent}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &ticks{left: 20, e: e, end: cancel}
	if err := e.RunGlobal(ctx, p); err != nil {
		t.Fatal(err)
	}
	if p.left > 0 || p.early > 0 {
		t.Errorf("%d times were left, and it was woken %d ns too early", p.left, p.early)
	}
	if p.seen.Messages[Wakeup] != 1 || e.Metrics()[7].Messages[Wakeup] != 1 || len(e.agents) != 0 {
		t.Errorf("while it ran: %+v, afterwards: %+v", p.seen, e.Metrics())
	}
}

// TestClock: it is the kernel's, as messages have it.
func TestClock(t *testing.T) {
	monotonic := func() uint64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return uint64(ts.Nano())
	}
	before := monotonic()
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	// Between the two clocks' first readings the thread may lose its CPU: c is late by that at most.
	begun := monotonic()
	if got, after := c.now(), monotonic(); got < before || got > after || got+(begun-before) < begun {
		t.Errorf("%d, between %d and %d", got, before, after)
	}
}

// TestEnclaveMetrics: agents of runs that have ended count with those that run. The later ones ask which tasks there are.
func TestEnclaveMetrics(t *testing.T) {
	e := &Enclave{past: Metrics{}}
	k := &still{}
	run := func(rings ...int) (agents []*Agent) {
		for _, ring := range rings {
			a := NewAgent(k, ring, &asks{})
			a.take(&Message{Type: Wakeup, Gen: 1})
			agents = append(agents, a)
		}
		e.begins(agents)
		return agents
	}
	want := func(on3, on4 uint64) {
		t.Helper()
		m := e.Metrics()
		if m[3].Messages[Wakeup] != on3 || m[4].Messages[Wakeup] != on4 || e.Stats().Messages[Wakeup] != on3+on4 {
			t.Errorf("%v, want %d and %d", m, on3, on4)
		}
	}
	first := run(0, 1)
	want(1, 1)
	e.ends(first)
	want(1, 1)
	second := run(1)
	if first[0].found != k.MaxTasks() || second[0].found != 0 {
		t.Errorf("the first agent asks for tasks from %d on, the second from %d", first[0].found, second[0].found)
	}
	want(1, 2)
	second[0].take(&Message{Type: Wakeup, Gen: 1})
	want(1, 3)
	e.ends(second)
	want(1, 3)
}

// TestForbidden: what is noted of a task is nothing about others.
func TestForbidden(t *testing.T) {
	f := NewForbidden(3, 2)
	x, y := &Task{Slot: 1}, &Task{Slot: 2}
	f.Add(x, 1, 5)
	if !f.Has(x, 1) || f.Has(x, 0) || !f.Any(x) || f.Any(y) || f.Any(&Task{}) {
		t.Errorf("%v", f.set)
	}
	f.Clear(y)
	if !f.Any(x) {
		t.Error("another task's is forgotten")
	}
	f.Add(x, 0, 6)
	f.Age(x, 5+forbiddenFor)
	if !f.Has(x, 0) || !f.Has(x, 1) {
		t.Error("it is forgotten too early")
	}
	f.Age(x, 6+forbiddenFor)
	if f.Any(x) {
		t.Error("it is never forgotten")
	}
	f.Add(x, 1, 5)
	f.Clear(x)
	if f.Any(x) {
		t.Error("it is not forgotten")
	}
}

// TestPushBefore: a list can be kept in order.
func TestPushBefore(t *testing.T) {
	var l List
	tasks := make([]Task, 4)
	l.PushBack(&tasks[2])
	l.PushBefore(&tasks[2], &tasks[0])
	l.PushBefore(&tasks[2], &tasks[1])
	l.PushBack(&tasks[3])
	for i := range tasks {
		if l.Len() != len(tasks)-i {
			t.Errorf("%d are left before the %dth", l.Len(), i)
		}
		if got := l.PopFront(); got != &tasks[i] {
			t.Errorf("%p comes as number %d", got, i)
		}
	}
}

// TestNoScheduler: who finds no module's scheduler is told of one in BPF that runs.
func TestNoScheduler(t *testing.T) {
	dir := t.TempDir()
	if err := noScheduler(dir); !errors.Is(err, ErrNoScheduler) {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "root/ops"), []byte("simple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := noScheduler(dir); !errors.Is(err, ErrNoScheduler) || !strings.Contains(err.Error(), "the BPF scheduler simple runs, and") {
		t.Error(err)
	}
}

// TestOpenTimeout: a timeout that the kernel's half cannot count is refused, and not another one.
func TestOpenTimeout(t *testing.T) {
	for _, c := range []struct {
		timeout time.Duration
		bad     bool
	}{{0, false}, {time.Second, false}, {-time.Second, true}, {49 * 24 * time.Hour, false}, {50 * 24 * time.Hour, true}} {
		_, err := Open(Config{RunnableTimeout: c.timeout, Device: filepath.Join(t.TempDir(), "none")})
		if errors.Is(err, ErrNoScheduler) == c.bad {
			t.Errorf("%v: %v", c.timeout, err)
		}
	}
}
