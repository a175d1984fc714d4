// SPDX-License-Identifier: BSD-3-Clause

package fifo

import (
	"testing"

	"plugsched/ghost"
	"plugsched/ghost/ghosttest"
)

// one is a kernel of one CPU with an agent.
func one(messages int) (*ghosttest.Kernel, *ghost.Agent) {
	k := ghosttest.New([]int{3}, 8, messages)
	return k, ghost.NewAgent(k, 0, New())
}

// step lets the agent run, and says who runs then.
func step(t *testing.T, k *ghosttest.Kernel, a *ghost.Agent) string {
	t.Helper()
	for first := true; first || k.Pending(0); first = false {
		if err := a.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if r := k.Running(3); r != nil {
		return r.Name
	}
	return ""
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%q runs, want %q", got, want)
	}
}

// TestOrder: first come, first served, and nobody is interrupted.
func TestOrder(t *testing.T) {
	k, a := one(64)
	x, y, z := k.Join("x", 0, true), k.Join("y", 0, false), k.Join("z", 0, true)
	want(t, step(t, k, a), "x")
	k.Wake(y)
	want(t, step(t, k, a), "x")
	k.Preempt(x) // it keeps its CPU
	want(t, step(t, k, a), "x")
	k.Block(x)
	want(t, step(t, k, a), "z")
	k.Wake(x)
	k.Yield(z)
	want(t, step(t, k, a), "y")
	k.Exit(y)
	want(t, step(t, k, a), "x")
	k.Depart(z) // while it waits
	k.Block(x)
	want(t, step(t, k, a), "")
	k.Wake(x)
	want(t, step(t, k, a), "x")
}

// TestStale: what happened after the last message that was read makes a transaction void, and
// the policy goes on with what it reads next.
func TestStale(t *testing.T) {
	k, a := one(64)
	x, y := k.Join("x", 0, true), k.Join("y", 0, true)
	k.Before = func(*ghost.Txn) {
		k.Before = nil
		k.Exit(x)
	}
	want(t, step(t, k, a), "y")
	k.Before = func(*ghost.Txn) {
		k.Before = nil
		k.Change(y)
	}
	k.Yield(y)
	want(t, step(t, k, a), "y")
	if a.Stats.Stale != 1 || a.Stats.Refused != 1 {
		t.Errorf("%+v", a.Stats)
	}
}

// TestAffinity: who may not run here does not keep others from it.
func TestAffinity(t *testing.T) {
	k, a := one(64)
	x := k.Join("x", 0, true)
	y := k.Join("y", 0, true)
	x.Allowed = []int{1}
	want(t, step(t, k, a), "y")
	k.Change(x, 3)
	want(t, step(t, k, a), "y")
	k.Block(y)
	want(t, step(t, k, a), "x")
}

// TestLost: with messages lost, the policy finds out which tasks there are.
func TestLost(t *testing.T) {
	k, a := one(4)
	x := k.Join("x", 0, true)
	y, z := k.Join("y", 0, true), k.Join("z", 0, true)
	want(t, step(t, k, a), "x")
	k.Exit(y)
	for range 6 {
		k.Change(z)
	}
	k.Block(x) // is lost
	want(t, step(t, k, a), "z")
	k.Wake(x)
	k.Exit(z)
	want(t, step(t, k, a), "x")
	if a.Stats.Lost == 0 {
		t.Error("nothing was lost")
	}
}

// TestAllocations: a policy that allocates would wait for the garbage collector some day.
func TestAllocations(t *testing.T) {
	k, a := one(64)
	x := k.Join("x", 0, true)
	y := k.Join("y", 0, true)
	step(t, k, a)
	if n := testing.AllocsPerRun(100, func() {
		k.Yield(x)
		_ = a.Step()
		k.Yield(y)
		_ = a.Step()
	}); n != 0 {
		t.Errorf("%v allocations for each turn", n)
	}
}
