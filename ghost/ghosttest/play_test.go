// SPDX-License-Identifier: BSD-3-Clause

package ghosttest_test

import (
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/ghost/fifo"
	"plugsched/ghost/ghosttest"
)

// TestPlay: work takes its time, on each CPU one task at a time, and messages and verdicts say when.
func TestPlay(t *testing.T) {
	k := ghosttest.New([]int{0, 1}, 8, 64)
	agents := []*ghost.Agent{ghost.NewAgent(k, 0, fifo.New()), ghost.NewAgent(k, 1, fifo.New())}
	x, y, z := k.Join("x", 0, false), k.Join("y", 0, false), k.Join("z", 1, false)
	k.Switch = time.Millisecond
	jobs := []ghosttest.Job{
		{Task: x, At: 0, Work: 10 * time.Millisecond},
		{Task: z, At: 7 * time.Millisecond, Work: 3 * time.Millisecond},
		{Task: y, At: 5 * time.Millisecond, Work: 2 * time.Millisecond},
		{Task: x, At: 8 * time.Millisecond, Work: 4 * time.Millisecond}, // x goes on with it
	}
	if err := k.Play(jobs, agents...); err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{11, 11, 18, 15} {
		if got := jobs[i].Done; got != want*time.Millisecond {
			t.Errorf("job %d is done after %v, want %v", i, got, want*time.Millisecond)
		}
	}
	if got := jobs[2].Latency(); got != 13*time.Millisecond {
		t.Errorf("y's took %v", got)
	}
	k.Wake(x)
	var m ghost.Message
	if !k.Next(0, &m) || m.Time != k.Now() || m.Runtime != uint64(15*time.Millisecond) || m.PID != int32(x.PID()) || m.CPU != 0 {
		t.Errorf("%+v", m)
	}
	txns := []ghost.Txn{{Slot: m.Slot, Gen: m.Gen, CPU: 1}}
	if err := k.Commit(txns); err != nil || txns[0].Verdict != ghost.OK || txns[0].Time != k.Now() {
		t.Errorf("%v: %+v", err, txns)
	}
}

// idle is a policy that does nothing.
type idle struct{ wake uint64 }

func (idle) Handle(*ghost.Agent, *ghost.Task, *ghost.Message) {}

func (p idle) Schedule(a *ghost.Agent) {
	if p.wake != 0 {
		a.WakeAt(p.wake)
	}
}

// TestPlayEnds: a policy that leaves work undone, or wants to be asked for ever, is an error.
func TestPlayEnds(t *testing.T) {
	for wake, want := range map[uint64]string{
		0: "ghosttest: there is work, and nobody does it",
		1: "ghosttest: an agent is never idle",
	} {
		k := ghosttest.New([]int{0}, 8, 64)
		jobs := []ghosttest.Job{{Task: k.Join("x", 0, false), Work: time.Second}}
		if err := k.Play(jobs, ghost.NewAgent(k, 0, idle{wake})); err == nil || err.Error() != want {
			t.Errorf("woken at %d: %v", wake, err)
		}
	}
}

// again is a policy that takes a CPU from nobody, for ever.
type again struct{ idle }

func (again) Schedule(a *ghost.Agent) {
	for {
		a.PrepareIdle(a.CPU())
		a.Commit()
	}
}

// TestStepEnds: a policy whose step never ends is found out.
func TestStepEnds(t *testing.T) {
	k := ghosttest.New([]int{0}, 8, 64)
	defer func() {
		if said := recover(); said != "ghosttest: a policy commits again and again, and never ends its step" {
			t.Errorf("%v", said)
		}
	}()
	_ = ghost.NewAgent(k, 0, again{}).Step()
}
