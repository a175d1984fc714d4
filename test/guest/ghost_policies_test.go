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
	t.Run("side by side", func(t *testing.T) { ghostSideBySide(t, m) })
	t.Run("takeover", func(t *testing.T) { ghostTakeOver(t, m) })
	ok(t, m, "plugsched uninstall")
}

// A load is a program whose processes an agent may schedule. They do nothing before it is told to begin.
type load struct {
	m         *vm.Machine
	file, pid string
	pids      []string
}

// startLoad starts one, which is told by the file that its first argument names.
func startLoad(t *testing.T, m *vm.Machine, name string, args ...any) *load {
	t.Helper()
	l := &load{m: m, file: "/run/" + name + fmt.Sprint(args...)}
	command := name + " " + l.file + ".told " + fmt.Sprint(args...)
	l.pid = ok(t, m, "rm -f "+l.file+"*; taskset 1 "+command+" > "+l.file+" 2>&1 & echo $!")
	ok(t, m, "until grep -q . "+l.file+"; do [ -d /proc/"+l.pid+" ] || exit 1; sleep 0.1; done")
	l.pids = strings.Fields(ok(t, m, "head -n 1 "+l.file))
	return l
}

func (l *load) begins(t *testing.T) {
	t.Helper()
	ok(t, l.m, "touch "+l.file+".told")
}

// said waits until the load has ended.
func (l *load) said(t *testing.T) string {
	t.Helper()
	ok(t, l.m, "while [ -d /proc/"+l.pid+" ]; do sleep 0.1; done")
	return ok(t, l.m, "sed 1d "+l.file)
}

// under lets an agent schedule a load, or CFS if that is "", and returns what the load said. What the
// agent is to know of each process stands behind its number.
func (l *load) under(t *testing.T, agent string, of ...string) (said string) {
	t.Helper()
	for i := range of {
		l.pids[i] += of[i]
	}
	if agent != "" {
		agent = agentFor(t, l.m, l.pids, agent)
	}
	l.begins(t)
	said = l.said(t)
	if agent != "" {
		ends(t, l.m, agent, "TERM")
	}
	return said
}

// waits reads what burst said: how much work was done while short requests waited, the median and the least, and how much
// there was.
func waits(t *testing.T, said string) (median, least, of int) {
	t.Helper()
	var waited []int
	for line := range strings.Lines(said) {
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

// ghostShinjuku: of requests that come together, short ones wait less than with CFS, whose slices are a tick's length
// at least. First come, first served they wait for all that the long ones have to do.
func ghostShinjuku(t *testing.T, m *vm.Machine) {
	wait := func(agent string) (median, least, of int) {
		t.Helper()
		return waits(t, startLoad(t, m, "burst", 1).under(t, agent))
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
		said := startLoad(t, m, "jobs", 500000).under(t, agent, deadlines...)
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
	if n, jobs, _ := late("ghost-fifo -cpus 1"); n == 0 {
		t.Errorf("first come, first served none of %d deadlines was missed", jobs)
	}
	// A deadline in time has the place that one in work would have, also if the host lets the guest do little of it in
	// that time. All threads of the agent are on the tasks' CPU: one that waits for another, elsewhere, whose CPU the
	// host has taken would let the tasks go on. What is left of that is the waker's, on CPU 0: then once more.
	for range 3 {
		n, jobs, lost := late("taskset 2 ghost-policies -policy edf -cpus 1", "=1s", "=1500ms", "=10s")
		if n == 0 && jobs >= 60 && lost <= jobs/4 {
			return
		}
		t.Logf("%d of %d deadlines were missed, %d not judged", n, jobs, lost)
	}
	t.Error("deadlines are always missed")
}

// ghostSol: all CPUs are given away in one system call; with an agent for each it is one for each.
func ghostSol(t *testing.T, m *vm.Machine) {
	const rounds, cpus = 30, 3
	// Who wakes them all is then who sends all messages, before the agent can read one; otherwise idle CPUs would wake their
	// tasks themselves (ttwu_queue_cond() of kernel/sched/core.c).
	ok(t, m, "echo NO_TTWU_QUEUE > "+features)
	defer ok(t, m, "echo TTWU_QUEUE > "+features)
	for policy, want := range map[string]int{"sol": rounds, "edf": rounds * cpus} {
		said := startLoad(t, m, "barrier", rounds).under(t,
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

// ghostSideBySide: two enclaves have a policy each, at the same time; none gets the other's CPU, and the end of one
// is nothing to the other.
func ghostSideBySide(t *testing.T, m *vm.Machine) {
	first, second := startLoad(t, m, "burst", 1), startLoad(t, m, "burst", 2)
	fifo := agentFor(t, m, first.pids, "ghost-fifo -cpus 1")
	shinjuku := agentFor(t, m, second.pids, "taskset 4 ghost-policies -policy shinjuku -slice 1ms -cpus 2")
	if out, code := sh(t, m, "ghost-fifo -cpus 2,3 1"); code == 0 || !strings.Contains(out, "busy") {
		t.Errorf("a third agent, of a CPU that is another's: %d\n%s", code, out)
	}
	first.begins(t)
	second.begins(t)
	if _, least, of := waits(t, first.said(t)); least != of {
		t.Errorf("first come, first served a request waited for %d of %d units", least, of)
	}
	stay := startLoad(t, m, "burst", 3)
	ends(t, m, fifo, "KILL")
	third := agentFor(t, m, stay.pids, "ghost-fifo -cpus 1,3 -central")
	median, _, of := waits(t, second.said(t))
	t.Logf("by slices requests waited for %d of %d units", median, of)
	if median > of/2 {
		t.Errorf("by slices requests waited for %d of %d units", median, of)
	}
	ends(t, m, shinjuku, "TERM")
	if got := policies(t, m, stay.pids); got != fmt.Sprintf("%d of %s", len(stay.pids), ghostPolicy) {
		t.Errorf("policies in the third enclave: %s", got)
	}
	stay.begins(t)
	stay.said(t)
	ends(t, m, third, "TERM")
}

// ghostTakeOver: agents follow each other while tasks work, with other policies, and no task is CFS's in between.
func ghostTakeOver(t *testing.T, m *vm.Machine) {
	c := startCrowd(t, m, 6)
	ghostFollow(t, m, c, "-central -timeout 20s", "sol", "shinjuku", "sol")
	ghostFollow(t, m, c, "-timeout 1000h", "edf", "edf") // longer than the guest has been up
	ok(t, m, "kill -9 "+strings.Join(c.pids, " "))
}

// ghostFollow starts ghost-fifo with options, and lets agents with policies follow.
func ghostFollow(t *testing.T, m *vm.Machine, c *crowd, options string, successors ...string) {
	agent := joined(t, m, c.pids, "-cpus 1,2 "+options)
	c.goesOn(t, m, "under the first agent")
	for _, policy := range successors {
		before := agent
		ok(t, m, "[ -d /proc/"+before+" ] || { cat /run/agent; exit 1; }")
		agent = agentFor(t, m, c.pids[:1], "ghost-policies -metrics /run/metrics -policy "+policy+" -takeover "+before)
		ok(t, m, "! [ -d /proc/"+before+" ]")
		for _, when := range []string{"at once", "after a while"} {
			if got := policies(t, m, c.pids); got != fmt.Sprintf("%d of %s", len(c.pids), ghostPolicy) {
				t.Errorf("under %s %s: policies: %s", policy, when, got)
			}
			c.goesOn(t, m, "under "+policy)
		}
	}
	ends(t, m, agent, "TERM")
	told := func(kind string) int {
		t.Helper()
		return number(t, m, `awk '/^plugsched_ghost_messages_total.*"`+kind+`"/ { n += $2 } END { print n + 0 }' /run/metrics`)
	}
	if told("NEW") < len(c.pids) || told("WAKEUP") == 0 || told("DEPARTED") > 0 {
		t.Errorf("the last agent was told:\n%s", ok(t, m, "cat /run/metrics"))
	}
	c.goesOn(t, m, "after the last agent")
}
