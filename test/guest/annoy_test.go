// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
)

// addAnnoy puts the annoying user into a guest, and the kernel's FUSE for it, unless that is
// built in.
func addAnnoy(t *testing.T) func(*vm.Config) {
	t.Helper()
	add := func(c *vm.Config) {
		c.Files = append(c.Files, vm.File{GuestPath: "/bin/annoy", HostPath: filepath.Join(shared.root, "test/annoy/annoy")})
	}
	if fuse := fuseModule(t); fuse != "" {
		return both(with(fuseFile, fuse), add)
	}
	return add
}

const fuseFile = "/fuse.ko"

// fuseModule is the path of the kernel's FUSE, "" when it is built in.
func fuseModule(t *testing.T) string {
	t.Helper()
	modules, err := fetch.Modules(t.Context(),
		fetch.Options{Release: shared.release, Version: shared.target.Version, Suite: shared.target.Suite})
	if err != nil {
		t.Fatal(err)
	}
	const file = "kernel/fs/fuse/fuse.ko"
	builtin, err := os.ReadFile(filepath.Join(modules, "modules.builtin"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(builtin), file+"\n") {
		return ""
	}
	return filepath.Join(modules, file)
}

// slowCalls are functions of the kernel in which the way "slow" sits.
var slowCalls = []string{"sched_rr_get_interval", "sched_setattr", "sched_getattr", "sched_getaffinity", "sched_setaffinity",
	"sched_setscheduler", "sched_setparam", "sched_getparam", "schedule_tail"}

// TestUser: a user without rights can make an update try again, but not more often than
// the tool does by itself, and cannot make it stay loaded, whatever it does for how long.
func TestUser(t *testing.T) {
	t.Parallel()
	m := boot(t, both(addAnnoy(t), other(t)))
	ok(t, m, "[ ! -e "+fuseFile+" ] || insmod "+fuseFile+"; echo 2 > /proc/sys/kernel/perf_event_paranoid")
	for _, way := range []string{"psi", "slow", "read", "policy", "affinity", "prctl", "perf"} {
		t.Run(way, func(t *testing.T) {
			rarely(t, way != "psi" && way != "slow" && way != "read") // those that once blocked an update
			testUser(t, m, way)
		})
	}
	stock(t, m)
}

func testUser(t *testing.T, m *vm.Machine, way string) {
	ok(t, m, "setsid sh -c 'echo $$ > /run/annoy.pid; exec annoy "+way+" 4' > /run/annoy.log 2>&1 &")
	defer func() {
		ok(t, m, `kill -9 -$(cat /run/annoy.pid); i=0
			while pidof annoy > /dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
			umount /run/slow 2> /dev/null; ! pidof annoy`)
	}()
	there := func() int {
		t.Helper()
		out := ok(t, m, "for i in $(seq 600); do [ -s /run/annoy.log ] && break; sleep 0.1; done; tail -n 1 /run/annoy.log")
		n, err := strconv.Atoi(out)
		if err != nil {
			t.Fatalf("annoy: %s", ok(t, m, "cat /run/annoy.log"))
		}
		return n
	}
	before := there()
	var tries []int
	change := func(command string) {
		t.Helper()
		out, code := sh(t, m, "plugsched "+command)
		tries = append(tries, 1+strings.Count(out, "busy, trying again"))
		if code != 0 {
			t.Fatalf("%s: exit code %d\n%s", command, code, out)
		}
	}
	if way == "slow" {
		allSit(t, m)
	}
	long := 1
	if full {
		long = int(time.Minute / time.Second)
	}
	for start := time.Now(); len(tries) == 0 || time.Since(start) < time.Duration(long)*time.Second; {
		change("install /scheduler.ko")
		change("install --replace /other.ko")
		change("uninstall")
		change("try --for 2s /scheduler.ko")
		name := moduleName(t, shared.project.Module())
		report := rolledBack(t, m, name, time.Minute)
		if !strings.HasPrefix(report, "it was not confirmed in time") || strings.Contains(report, "ignored") {
			t.Errorf("report:\n%s", report)
		}
		change("uninstall")
	}
	t.Logf("tries: %v", tries)
	if way == "slow" {
		t.Logf("in the end: %s", ok(t, m, "cat /run/annoy.log"))
	} else if after := there(); after <= before {
		t.Errorf("the user was stopped: there %d times before, %d after", before, after)
	}
}

// allSit waits until somebody sits in each of the slow calls.
func allSit(t *testing.T, m *vm.Machine) {
	t.Helper()
	var missing []string
	sit := func() bool {
		stacks := ok(t, m, "cat /proc/[0-9]*/stack; sleep 0.5")
		missing = nil
		for _, f := range slowCalls {
			if !strings.Contains(stacks, f+"+") {
				missing = append(missing, f)
			}
		}
		return missing == nil
	}
	if !await(m, sit) {
		t.Errorf("nobody sits in %v:\n%s", missing, ok(t, m, "cat /run/annoy.log; ps"))
	}
}
