// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/live"
)

// other puts a second scheduler into a guest, as /other.ko.
func other(t *testing.T) func(*vm.Config) {
	return with("/other.ko", variant(t, otherPatch))
}

// both are changes of a guest's configuration, in order.
func both(changes ...func(*vm.Config)) func(*vm.Config) {
	return func(c *vm.Config) {
		for _, change := range changes {
			change(c)
		}
	}
}

// moduleName is the name of a module's file in the kernel.
func moduleName(t *testing.T, ko string) string {
	t.Helper()
	m, err := live.Open(ko)
	if err != nil {
		t.Fatal(err)
	}
	return m.Desc.Name
}

// parseStatus reads what a command says in JSON.
func parseStatus(t *testing.T, text string) *live.Status {
	t.Helper()
	s := &live.Status{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return s
}

// TestOldCode: while a scheduler is installed, no byte of what it replaced runs.
func TestOldCode(t *testing.T) {
	t.Parallel()
	m := boot(t, both(addSchedtest(t), other(t)))
	list := oldCode(t)
	untouched := func(when string) {
		t.Helper()
		trap(t, m, list)
		ok(t, m, fmt.Sprintf("sleep %d; schedload check --within 60", rounds(4, 20)))
		if n, report := hits(t, m); n != 0 {
			t.Errorf("%s: %d functions of the old scheduler ran:\n%s", when, n, report)
		}
	}
	const untrap = "echo 1 > " + schedtest + "/untrap"
	ok(t, m, "insmod /schedtest.ko && schedload start --spec default,cgchurn=1,cpuset=1,hotplug=1")
	ok(t, m, "plugsched install /scheduler.ko")
	untouched("installed")
	ok(t, m, untrap)
	ok(t, m, "plugsched install --replace /other.ko")
	untouched("replaced")

	// The control: the kernel's own scheduler runs into all the traps.
	ok(t, m, "plugsched uninstall --verify=false")
	if n, report := runsInto(t, m, 50); n < 50 {
		t.Errorf("removed, the kernel's own scheduler ran into %d traps:\n%s", n, report)
	}
	ok(t, m, untrap+"; schedload check --within 60 && schedload stop")
}

// TestNothingStays: after a removal nothing in the kernel leads to the module, as
// the tool says with what it looked at, and nothing has its name.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	m := boot(t, func(c *vm.Config) {
		other(t)(c)
		c.Append = append(c.Append, "log_buf_len=8M")
	})
	ok(t, m, "schedload start --spec light")
	ok(t, m, "plugsched install /scheduler.ko && plugsched install --replace /other.ko")
	functions := len(status(t, m).Functions)
	s := parseStatus(t, ok(t, m, "plugsched uninstall --json 2> /dev/null"))
	l := s.Leftovers
	if l == nil {
		t.Fatal("the tool did not look")
	}
	if len(l.Heads)+len(l.Pointers)+len(l.Stacks)+l.Timers != 0 {
		t.Errorf("something leads to the module: %+v", l)
	}
	if functions < 100 || l.Functions < functions || l.Words < 100000 || l.Tasks < 100 {
		t.Errorf("%d functions were redirected, but looked at were %d function heads, %d words, %d tasks", functions, l.Functions,
			l.Words, l.Tasks)
	}
	if s.Active || len(s.Modules) != 0 || s.Timings == nil || s.Timings.Direction != "remove" {
		t.Errorf("after the removal: %+v", s)
	}
	ok(t, m, "dmesg -n 1; dmesg -c > /dev/null; echo t > /proc/sysrq-trigger; sleep 2")
	tasks := ok(t, m, "dmesg")
	if n := strings.Count(tasks, "task:"); n < 50 || !strings.Contains(tasks, "workqueue") {
		t.Errorf("SysRq-T shows %d tasks:\n%.2000s", n, tasks)
	}
	for what, text := range map[string]string{
		"a stack or a work item": tasks,
		"a symbol":               ok(t, m, "grep plugsched /proc/kallsyms || true"),
		"a directory":            ok(t, m, "ls /sys/module /sys/kernel | grep plugsched || true"),
		"a timer":                ok(t, m, "grep plugsched /proc/timer_list || true"),
	} {
		for line := range strings.Lines(text) {
			// The load's own directory and the tool's command names are no symbols.
			if strings.Contains(line, "plugsched_") {
				t.Errorf("%s has a module's name: %s", what, line)
			}
		}
	}
	ok(t, m, "schedload check --within 60 && schedload stop")
}
