// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && examples

package guest

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

const (
	// ghostPolicy is SCHED_GHOST of examples/ghost.
	ghostPolicy = "18"
	cfsPolicy   = "0"
)

// addGhost puts the agents of examples/ghost, and what makes trouble for it, into a guest.
func addGhost(t *testing.T, c *vm.Config) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "plugsched/examples/ghost/ghost-fifo",
		"plugsched/examples/ghost/ghost-policies", "plugsched/test/boost", "plugsched/test/hostile")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"ghost-fifo", "ghost-policies", "boost", "hostile"} {
		c.Files = append(c.Files, vm.File{GuestPath: "/bin/" + name, HostPath: filepath.Join(dir, name), Mode: 0o755})
	}
}

// joined starts ghost-fifo with options for processes, and returns when they have joined.
func joined(t *testing.T, m *vm.Machine, pids []string, options string) (agent string) {
	t.Helper()
	return agentFor(t, m, pids, "ghost-fifo "+options)
}

// agentFor starts an agent for processes, and returns when they have joined.
func agentFor(t *testing.T, m *vm.Machine, pids []string, command string) (agent string) {
	t.Helper()
	agent = ok(t, m, "rm -f /run/agent; "+command+" "+strings.Join(pids, " ")+" > /run/agent 2>&1 & echo $!")
	ok(t, m, "until grep -q ready /run/agent; do [ -d /proc/"+agent+" ] || { cat /run/agent; exit 1; }; sleep 0.1; done")
	return agent
}

// ends ends an agent, with a signal, and waits for that.
func ends(t *testing.T, m *vm.Machine, agent, signal string) {
	t.Helper()
	ok(t, m, "kill -"+signal+" "+agent+"; while [ -d /proc/"+agent+" ]; do sleep 0.1; done")
}

// policies counts processes by policy, as "N of P".
func policies(t *testing.T, m *vm.Machine, pids []string) string {
	t.Helper()
	return ok(t, m, "for p in "+strings.Join(pids, " ")+"; do sed -n 's/^policy *: *//p' /proc/$p/sched; done |"+
		" sort | uniq -c | awk '{print $1 \" of \" $2}'")
}

// workers are processes that stop themselves, and count and say so when they are continued.
type workers struct {
	pids []string
	log  string
}

// startWorkers makes some that may use CPU 1 alone.
func startWorkers(t *testing.T, m *vm.Machine, name string) workers {
	t.Helper()
	w := workers{log: "/run/" + name}
	ok(t, m, `cat > /run/worker <<'END'
kill -STOP $$
echo begin $$ >> $1
i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done
echo end $$ >> $1
END
> `+w.log)
	w.pids = strings.Fields(ok(t, m, "for i in 1 2 3 4; do taskset 2 sh /run/worker "+w.log+" > /dev/null 2>&1 & echo $!; done"))
	for _, pid := range w.pids {
		ok(t, m, "until grep -q '^State:.T' /proc/"+pid+"/status; do sleep 0.1; done")
	}
	return w
}

// goOn continues the workers, one after the other.
func (w workers) goOn(t *testing.T, m *vm.Machine) {
	t.Helper()
	ok(t, m, "for p in "+strings.Join(w.pids, " ")+"; do kill -CONT $p; done")
}

// begun waits until the first has begun.
func (w workers) begun(t *testing.T, m *vm.Machine) {
	t.Helper()
	ok(t, m, "until grep -q begin "+w.log+"; do sleep 0.1; done")
}

// inTurn waits until all have ended, and reports whether each had before the next one began.
func (w workers) inTurn(t *testing.T, m *vm.Machine) bool {
	t.Helper()
	ok(t, m, "until [ $(grep -c end "+w.log+") = 4 ]; do sleep 0.2; done")
	var want []string
	for _, pid := range w.pids {
		want = append(want, "begin "+pid, "end "+pid)
	}
	said := strings.Split(ok(t, m, "cat "+w.log), "\n")
	t.Logf("%s: %q", w.log, said)
	return strings.Join(said, "\n") == strings.Join(want, "\n")
}

// crowd are processes that compute, sleep, fork and wait, for ever, and count.
type crowd struct{ pids []string }

func startCrowd(t *testing.T, m *vm.Machine, n int) *crowd {
	t.Helper()
	ok(t, m, `cat > /run/member <<'END'
n=0
while :; do
	n=$((n+1)); echo $n > /run/count.$$
	i=0; while [ $i -lt 200 ]; do i=$((i+1)); done
	case $((n % 3)) in 0) usleep 2000;; 1) (exit 0);; esac
done
END`)
	c := &crowd{}
	for range n {
		c.pids = append(c.pids, c.member(t, m))
	}
	return c
}

func (c *crowd) member(t *testing.T, m *vm.Machine) (pid string) {
	t.Helper()
	return ok(t, m, "sh /run/member > /dev/null 2>&1 & until [ -s /run/count.$! ]; do sleep 0.1; done; echo $!")
}

// replace kills one, in whatever state, and starts another.
func (c *crowd) replace(t *testing.T, m *vm.Machine) {
	t.Helper()
	i := rand.N(len(c.pids))
	ok(t, m, "kill -9 "+c.pids[i])
	c.pids[i] = c.member(t, m)
}

// goesOn waits until all have counted further.
func (c *crowd) goesOn(t *testing.T, m *vm.Machine, when string) {
	t.Helper()
	out, code := sh(t, m, "for p in "+strings.Join(c.pids, " ")+`; do
	before=$(cat /run/count.$p) i=0
	while [ "$(cat /run/count.$p)" = "$before" ]; do
		[ $((i += 1)) -gt 300 ] && { echo process $p stands still; cat /proc/$p/status /proc/$p/sched; exit 1; }
		sleep 0.2
	done
done`)
	if code != 0 {
		t.Fatalf("%s: %s", when, out)
	}
}

// TestExampleGhost: a process schedules others, and whatever becomes of it, they go on.
func TestExampleGhost(t *testing.T) {
	t.Parallel()
	ko := example(t, "ghost")
	m := boot(t, func(c *vm.Config) {
		c.CPUs = 3
		both(with("/example.ko", ko), with("/bin/yield", compileC(t, "yield.c")))(c)
		addChrt(t, c)
		addGhost(t, c)
	})
	absent := func(t *testing.T) {
		t.Helper()
		if out, code := sh(t, m, "ghost-fifo -cpus 1 1"); code == 0 || !strings.Contains(out, "no ghost class") {
			t.Errorf("an agent's exit code is %d:\n%s", code, out)
		}
		w := startWorkers(t, m, "cfs")
		w.goOn(t, m)
		if w.inTurn(t, m) {
			t.Error("with CFS workers take no turns")
		}
	}
	said := func(t *testing.T, what string) {
		t.Helper()
		ok(t, m, "until grep -q '"+what+"' /run/agent; do sleep 0.1; done")
	}
	t.Run("before", absent)
	ok(t, m, "plugsched install /example.ko")
	t.Run("order", func(t *testing.T) {
		if mode := ok(t, m, "stat -c %a /dev/ghost"); mode != "600" {
			t.Errorf("the device's mode is %s", mode)
		}
		w := startWorkers(t, m, "fifo")
		agent := joined(t, m, w.pids, "-cpus 1")
		if got := policies(t, m, w.pids); got != "4 of "+ghostPolicy {
			t.Errorf("policies: %s", got)
		}
		w.goOn(t, m)
		if !w.inTurn(t, m) {
			t.Error("not first come, first served")
		}
		ends(t, m, agent, "TERM")
	})
	t.Run("killed", func(t *testing.T) {
		w := startWorkers(t, m, "killed")
		agent := joined(t, m, w.pids, "-cpus 1")
		w.goOn(t, m)
		w.begun(t, m)
		ends(t, m, agent, "KILL")
		if got := policies(t, m, w.pids); got != "4 of "+cfsPolicy {
			t.Errorf("policies: %s", got)
		}
		if w.inTurn(t, m) {
			t.Error("the agent was killed, and workers take no turns")
		}
	})
	t.Run("messages", func(t *testing.T) { ghostMessages(t, m) })
	t.Run("boosted", func(t *testing.T) { ghostBoosted(t, m) })
	c := startCrowd(t, m, 9)
	t.Run("rounds", func(t *testing.T) { ghostRounds(t, m, c) })
	t.Run("hostile", func(t *testing.T) {
		calls := 20000
		if full {
			calls = 2000000
		}
		seed := rand.Uint32()
		out := ok(t, m, fmt.Sprintf("hostile -n %d -seed %d -cpus 1,2 %s", calls, seed, strings.Join(c.pids, " ")))
		t.Logf("seed %d:\n%s", seed, out)
		for _, verdict := range []string{"OK ", "stale ", "no such CPU ", "gone ", "invalid "} {
			if !strings.Contains("\n"+out, "\n"+verdict) {
				t.Errorf("no verdict is %s", verdict)
			}
		}
		c.goesOn(t, m, "after a hostile agent")
	})
	t.Run("late", func(t *testing.T) {
		agent := joined(t, m, c.pids, "-cpus 1,2 -timeout 20s")
		c.goesOn(t, m, "under the agent")
		ok(t, m, "kill -STOP "+agent)
		ok(t, m, "until dmesg | grep -q 'ghost: CPUs 1-2: the enclave ends, task [0-9]* was not run'; do sleep 0.2; done")
		c.goesOn(t, m, "after the deadline")
		ok(t, m, "kill -CONT "+agent)
		said(t, "a task waited too long")
	})
	t.Run("removal", func(t *testing.T) {
		agent := joined(t, m, c.pids, "-cpus 1,2")
		for _, command := range []string{"uninstall", "install --replace /scheduler.ko"} {
			if out, code := sh(t, m, "plugsched "+command); code != 3 || !strings.Contains(out, "open in task "+agent+" (ghost-fifo)") {
				t.Errorf("%s while an agent runs: %d\n%s", command, code, out)
			}
		}
		c.goesOn(t, m, "under the agent")
		if got := policies(t, m, c.pids); got != fmt.Sprintf("%d of %s", len(c.pids), ghostPolicy) {
			t.Errorf("policies: %s", got)
		}
		if out := ok(t, m, "plugsched uninstall --force"); !strings.Contains(out, "no function, no timer and no stack leads to the module") {
			t.Errorf("not verified:\n%s", out)
		}
		said(t, "its scheduler was left")
		c.goesOn(t, m, "after the removal")
	})
	t.Run("rollback", func(t *testing.T) {
		ok(t, m, "plugsched try --for 1h /example.ko")
		joined(t, m, c.pids, "-cpus 1,2")
		c.goesOn(t, m, "under the agent")
		if got := policies(t, m, c.pids); got != fmt.Sprintf("%d of %s", len(c.pids), ghostPolicy) {
			t.Errorf("policies: %s", got)
		}
		ok(t, m, "echo x > /proc/sysrq-trigger; until plugsched status | grep -q 'rolled back'; do sleep 0.2; done")
		if got := policies(t, m, c.pids); got != fmt.Sprintf("%d of %s", len(c.pids), cfsPolicy) {
			t.Errorf("policies: %s", got)
		}
		said(t, "its scheduler was left")
		c.goesOn(t, m, "after the rollback")
		ok(t, m, "plugsched uninstall")
		c.goesOn(t, m, "after the removal")
	})
	t.Run("after", absent)
}

// ghostRounds kills agents at random moments, while tasks come and go, a CPU does, and rings
// are too small.
func ghostRounds(t *testing.T, m *vm.Machine, c *crowd) {
	rounds := 4
	if full {
		rounds = 100
	}
	for r := range rounds {
		options := []string{"-cpus 1,2", "-cpus 1,2 -messages 16", "-cpus 1,2 -central"}[r%3]
		agent := joined(t, m, c.pids, options)
		offline := r%4 == 1
		if offline {
			ok(t, m, "echo 0 > /sys/devices/system/cpu/cpu2/online")
		} else if r%4 == 3 {
			c.goesOn(t, m, "under the agent, "+options)
		}
		time.Sleep(rand.N(500 * time.Millisecond))
		c.replace(t, m)
		ends(t, m, agent, "KILL")
		c.goesOn(t, m, "round "+strconv.Itoa(r)+", "+options)
		if got := policies(t, m, c.pids); got != fmt.Sprintf("%d of %s", len(c.pids), cfsPolicy) {
			t.Fatalf("policies: %s", got)
		}
		if offline {
			ok(t, m, "echo 1 > /sys/devices/system/cpu/cpu2/online")
		}
	}
}

// ghostBoosted has a task in the enclave that holds a lock a realtime thread waits for: it is
// boosted when it joins, while it is there, when its agent is killed, and when it ends.
func ghostBoosted(t *testing.T, m *vm.Machine) {
	pid := ok(t, m, "boost /run/go > /run/boost 2>&1 & echo $!")
	says := func(word string, times int) {
		t.Helper()
		ok(t, m, fmt.Sprintf("until [ $(grep -c %s /run/boost) = %d ]; do sleep 0.1; done", word, times))
	}
	is := func(policy string) {
		t.Helper()
		got := ok(t, m, "sed -n 's/^\\(policy\\|prio\\) *: *//p' /proc/"+pid+"/sched")
		if want := policy + "\n49"; got != want {
			t.Errorf("policy and priority are %q, want %q", got, want)
		}
	}
	says("boosted", 1)
	agent := joined(t, m, []string{pid}, "-cpus 1")
	is(ghostPolicy)
	for i := 1; i <= 3; i++ {
		ok(t, m, "touch /run/go")
		says("free", i)
		says("boosted", i+1)
		is(ghostPolicy)
	}
	ends(t, m, agent, "KILL")
	is(cfsPolicy)
	ok(t, m, "touch /run/go")
	says("free", 4)
	says("boosted", 5)
	agent = joined(t, m, []string{pid}, "-cpus 1")
	ok(t, m, "touch /run/go")
	says("free", 5)
	says("boosted", 6)
	ok(t, m, "kill -9 "+pid)
	ends(t, m, agent, "TERM")
}

// ghostMessages counts what is told of changes from outside, and of a task that yields and
// goes from CPU to CPU.
func ghostMessages(t *testing.T, m *vm.Machine) {
	told := func(agent string, want map[string]int) {
		t.Helper()
		ends(t, m, agent, "TERM")
		got := ok(t, m, "cat /run/agent")
		for kind, n := range want {
			if !strings.Contains(got+"\n", fmt.Sprintf("\n%s %d\n", kind, n)) {
				t.Errorf("%s is not told %d times:\n%s", kind, n, got)
			}
		}
	}
	w := startWorkers(t, m, "told")
	agent := joined(t, m, w.pids, "-cpus 1")
	ok(t, m, "renice -n 5 -p "+w.pids[0]+" && taskset -p 6 "+w.pids[1])
	ok(t, m, "chrt -b -p 0 "+w.pids[3]+" && chrt -f -p 1 "+w.pids[2]+" && chrt -o -p 0 "+w.pids[2])
	w.goOn(t, m)
	w.inTurn(t, m)
	told(agent, map[string]int{"NEW": 4, "DEPARTED": 2, "DEAD": 2, "AFFINITY": 1, "PRIORITY": 1, "YIELD": 0})

	pid := ok(t, m, "sh -c 'kill -STOP $$; exec yield' > /dev/null 2>&1 & echo $!")
	ok(t, m, "until grep -q '^State:.T' /proc/"+pid+"/status; do sleep 0.1; done")
	agent = joined(t, m, []string{pid}, "-cpus 0,1,2 -central")
	ok(t, m, "kill -CONT "+pid+"; while [ -d /proc/"+pid+" ]; do sleep 0.1; done")
	told(agent, map[string]int{"NEW": 1, "YIELD": 300, "AFFINITY": 3, "DEAD": 1, "DEPARTED": 0})
}
