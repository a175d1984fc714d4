// SPDX-License-Identifier: BSD-3-Clause

package ghosttest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"plugsched/ghost"
	"plugsched/ghost/central"
	"plugsched/ghost/fifo"
	"plugsched/ghost/ghosttest"
)

// deaf is a policy that is not told some messages.
type deaf struct {
	ghost.Policy
	to ghost.Type
}

func (p deaf) Handle(a *ghost.Agent, t *ghost.Task, m *ghost.Message) {
	if m.Type != p.to {
		p.Policy.Handle(a, t, m)
	}
}

// wasteful is a policy that allocates.
type wasteful struct {
	ghost.Policy
	got []byte
}

func (p *wasteful) Schedule(a *ghost.Agent) {
	p.got = make([]byte, 100)
	p.Policy.Schedule(a)
}

// broken are policies that are not good enough, by the subtest that says so.
var broken = map[string]ghosttest.NewPolicy{
	"Affinity":    without(ghost.Affinity),
	"Lost":        without(ghost.Dead),
	"Chance":      without(ghost.Preempt),
	"Section":     without(ghost.Blocked),
	"Allocations": func(cpus []int, tasks int) ghost.Policy { return &wasteful{Policy: central.New(cpus, tasks)} },
	"Stale":       func([]int, int) ghost.Policy { return fifo.New() }, // for one CPU
}

func without(message ghost.Type) ghosttest.NewPolicy {
	return func(cpus []int, tasks int) ghost.Policy { return deaf{central.New(cpus, tasks), message} }
}

// TestGlobalFails: the suite finds policies out that are not good enough. They fail in processes of their own.
func TestGlobalFails(t *testing.T) {
	const which = "GHOSTTEST_BROKEN"
	if name := os.Getenv(which); name != "" {
		ghosttest.TestGlobal(t, broken[name])
		return
	}
	for name := range broken {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGlobalFails$/^"+name+"$")
		cmd.Env = append(os.Environ(), which+"="+name)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "--- FAIL: TestGlobalFails/"+name+" ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
