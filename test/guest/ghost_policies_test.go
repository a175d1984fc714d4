// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && examples

package guest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
)

// TestExampleGhostPolicies: each policy shows its point on a kernel. A load says what became of it in units of
// work that tasks did, or in calls, which a slow host does not change.
func TestExampleGhostPolicies(t *testing.T) {
	t.Parallel()
	loads := func(c *vm.Config) {
		for _, name := range []string{"burst", "jobs", "barrier"} {
			with("/bin/"+name, compileC(t, "ghost/"+name+".c"))(c)
		}
	}
	m := borrow(t, both(with("/example.ko", example(t, "ghost")), func(c *vm.Config) { addGhost(t, c) }, loads))
	ok(t, m, "plugsched install /example.ko")
	t.Run("shinjuku", func(t *testing.T) { ghostShinjuku(t, m) })
	t.Run("edf", func(t *testing.T) { ghostEDF(t, m) })
	t.Run("sol", func(t *testing.T) { ghostSol(t, m) })
	ok(t, m, "plugsched uninstall")
}

// underLoad runs a load, whose processes an agent schedules, or CFS if that is "", and returns what it said. What
// the agent is to know of each process stands behind its number.
func underLoad(t *testing.T, m *vm.Machine, load, agent string, of ...string) (said string) {
	t.Helper()
	pid := ok(t, m, "rm -f /run/told /run/load; taskset 1 "+load+" > /run/load 2>&1 & echo $!")
	ok(t, m, "until grep -q . /run/load; do [ -d /proc/"+pid+" ] || exit 1; sleep 0.1; done")
	pids := strings.Fields(ok(t, m, "head -n 1 /run/load"))
	for i := range of {
		pids[i] += of[i]
	}
	if agent != "" {
		agent = agentFor(t, m, pids, agent)
	}
	ok(t, m, "touch /run/told; while [ -d /proc/"+pid+" ]; do sleep 0.1; done")
	if agent != "" {
		ends(t, m, agent, "TERM")
	}
	return ok(t, m, "sed 1d /run/load")
}

// ghostShinjuku: of requests that come together, short ones wait less than with CFS, whose slices are a tick's length
// at least. First come, first served they wait for all that the long ones have to do.
func ghostShinjuku(t *testing.T, m *vm.Machine) {
	wait := func(agent string) (median, least, of int) {
		t.Helper()
		var waited []int
		for line := range strings.Lines(underLoad(t, m, "burst /run/told", agent)) {
			var n int
			if _, err := fmt.Sscanf(line, "waited %d", &n); err == nil {
				waited = append(waited, n)
			} else if _, err := fmt.Sscanf(line, "of %d", &of); err != nil {
				t.Fatalf("%q", line)
			}
		}
		if len(waited) != 36 || of == 0 {
			t.Fatalf("%d requests, of %d", len(waited), of)
		}
		slices.Sort(waited)
		return waited[len(waited)/2], waited[0], of
	}
	if _, least, of := wait("ghost-fifo -cpus 1"); least != of {
		t.Errorf("first come, first served a request waited for %d of %d units", least, of)
	}
	// The agent is on the tasks' CPU: where the host takes that away, no slice is longer for it.
	for try := range 3 {
		cfs, _, of := wait("")
		own, _, _ := wait("taskset 2 ghost-policies -policy shinjuku -slice 1ms -cpus 1")
		t.Logf("of %d units of long requests short ones wait for %d, with CFS %d", of, own, cfs)
		if own < cfs {
			return
		}
		t.Logf("try %d fails", try)
	}
	t.Error("requests never wait less than with CFS")
}

// ghostEDF: at 80 % of a CPU no deadline is missed. First come, first served some are.
func ghostEDF(t *testing.T, m *vm.Machine) {
	late := func(agent string, deadlines ...string) (late, jobs, lost int) {
		t.Helper()
		said := underLoad(t, m, "jobs /run/told 500000", agent, deadlines...)
		t.Logf("%s:\n%s", agent, said)
		for line := range strings.Lines(said) {
			var j, l, worst, not int
			if _, err := fmt.Sscanf(line, "jobs %d late %d worst %d lost %d", &j, &l, &worst, &not); err != nil {
				t.Fatalf("%q", line)
			}
			late, jobs, lost = late+l, jobs+j, lost+not
		}
		return late, jobs, lost
	}
	// A deadline in time has the place that one in work would have, also if the host lets the guest do
	// little of it in that time.
	n, jobs, lost := late("ghost-policies -policy edf -cpus 1", "=1s", "=1500ms", "=10s")
	if n > 0 || jobs < 60 || lost > jobs/4 {
		t.Errorf("%d of %d deadlines were missed, %d not judged", n, jobs, lost)
	}
	if n, jobs, _ := late("ghost-fifo -cpus 1"); n == 0 {
		t.Errorf("first come, first served none of %d deadlines was missed", jobs)
	}
}

// ghostSol: all CPUs are given away in one system call; with an agent for each it is one for each.
func ghostSol(t *testing.T, m *vm.Machine) {
	const rounds, cpus = 30, 3
	// Who wakes them all is then who sends all messages, before the agent can read one; otherwise idle CPUs would wake their
	// tasks themselves (ttwu_queue_cond() of kernel/sched/core.c).
	ok(t, m, "echo NO_TTWU_QUEUE > "+features)
	defer ok(t, m, "echo TTWU_QUEUE > "+features)
	for policy, want := range map[string]int{"sol": rounds, "edf": rounds * cpus} {
		said := underLoad(t, m, fmt.Sprintf("barrier /run/told %d", rounds),
			"taskset 1 ghost-policies -metrics /run/metrics -cpus 1,2,3 -policy "+policy)
		if said != fmt.Sprintf("rounds %d", rounds) {
			t.Errorf("%s: %s", policy, said)
		}
		calls := number(t, m, "awk '/^plugsched_ghost_commit_calls_total/ { n += $2 } END { print n }' /run/metrics")
		txns := number(t, m, "awk '/^plugsched_ghost_commits_total/ { n += $2 } END { print n }' /run/metrics")
		t.Logf("%s: %d calls with %d transactions for %d rounds of %d CPUs", policy, calls, txns, rounds, cpus)
		if calls != want || txns != rounds*cpus {
			t.Errorf("%s: %d calls with %d transactions, want %d with %d", policy, calls, txns, want, rounds*cpus)
		}
	}
}
