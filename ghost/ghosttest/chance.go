// SPDX-License-Identifier: BSD-3-Clause

package ghosttest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"plugsched/ghost"
)

// testChance: whatever happens, also between a look at the messages and a transaction, and if messages
// are lost, nobody waits in the end who may use a CPU that is free.
func testChance(t *testing.T, policy NewPolicy) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var stats ghost.Stats
	for range 300 {
		s := chances(t, r, policy)
		stats.Stale += s.Stale
		stats.Refused += s.Refused
		stats.Lost += s.Lost
	}
	if stats.Stale == 0 || stats.Refused == 0 || stats.Lost == 0 {
		t.Errorf("not everything happened: %+v", stats)
	}
}

// chance does something to a task, whatever comes.
func chance(k *Kernel, r *rand.Rand, tasks []*Task) []*Task {
	cpu := k.CPUs()[r.IntN(len(k.CPUs()))]
	if running := k.Running(cpu); running != nil {
		switch r.IntN(8) {
		case 0, 1:
			k.Block(running)
			return tasks
		case 2:
			k.Yield(running)
			return tasks
		case 3:
			k.Preempt(running)
			return tasks
		}
	}
	if len(tasks) < 6 {
		return append(tasks, k.Join("", 0, r.IntN(2) == 0))
	}
	i := r.IntN(len(tasks))
	switch r.IntN(12) {
	case 0:
		k.Exit(tasks[i])
		return slices.Delete(tasks, i, i+1)
	case 1:
		k.Depart(tasks[i])
		return slices.Delete(tasks, i, i+1)
	case 2:
		k.Change(tasks[i], cpu)
	case 3:
		k.Change(tasks[i])
	case 4:
		k.Online(cpu, r.IntN(3) > 0)
	default:
		k.Wake(tasks[i])
	}
	return tasks
}

func chances(t *testing.T, r *rand.Rand, policy NewPolicy) ghost.Stats {
	t.Helper()
	k := New([]int{2, 3, 5}, 16, 16)
	a := ghost.NewAgent(k, 0, policy(k.CPUs(), k.MaxTasks()))
	var tasks []*Task
	for range 6 {
		tasks = append(tasks, k.Join("", 0, r.IntN(2) == 0))
	}
	k.Before = func(*ghost.Txn) {
		if r.IntN(6) == 0 {
			tasks = chance(k, r, tasks)
		}
	}
	for range 60 {
		for range r.IntN(5) {
			tasks = chance(k, r, tasks)
		}
		if r.IntN(20) == 0 {
			for range 20 { // more than there is room for
				k.Change(tasks[0])
			}
		}
		if err := a.Step(); err != nil {
			t.Fatal(err)
		}
		k.Pass(time.Duration(r.IntN(3)) * time.Millisecond)
	}
	k.Before = nil
	for _, cpu := range k.CPUs() {
		k.Online(cpu, true)
	}
	k.Change(tasks[0], tasks[0].Allowed...) // a message
	k.Pass(time.Second)
	if err := settle(k.now, []*ghost.Agent{a}); err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		for _, cpu := range k.CPUs() {
			if task.Waits() && k.Running(cpu) == nil && (task.Allowed == nil || slices.Contains(task.Allowed, cpu)) {
				t.Fatalf("task %d waits, and CPU %d is free", task.PID(), cpu)
			}
		}
	}
	return a.Stats
}
