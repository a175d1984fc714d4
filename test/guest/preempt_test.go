// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// TestFullPreemption: where tasks are preempted inside of the scheduler's own functions too, they are
// in the way of an update until they run again. Under the demo's load each is made all the same, by a
// command whose pauses between tries are three seconds together; each try says who is in the way. How long
// the command itself takes is the host's affair, and only shown.
func TestFullPreemption(t *testing.T) {
	t.Parallel()
	m := boot(t, both(other(t), func(c *vm.Config) { c.Append = append(c.Append, "preempt=full") }))
	if mode, code := sh(t, m, "cat /sys/kernel/debug/sched/preempt"); code != 0 || !strings.Contains(mode, "(full)") {
		t.Skipf("how the kernel preempts was settled when it was built: %s", mode)
	}
	ok(t, m, "schedload start --timeout 600 --spec default")
	for range rounds(2, 10) {
		for _, command := range []string{"install /scheduler.ko", "install --replace /other.ko", "uninstall --verify=false"} {
			insist(t, m, "plugsched "+command)
		}
	}
	goesOn(t, m)
	stock(t, m)
	ok(t, m, "schedload stop")
}

var busyTry = regexp.MustCompile(`(?m)^.*\bbusy, trying again in .*$`)

// insist gives a command five times, as long as it finds the scheduler busy. It says with whom at each of its tries.
func insist(t *testing.T, m *vm.Machine, command string) {
	t.Helper()
	for range 5 {
		own := m.Stopwatch()
		out, code := sh(t, m, command)
		took := own()
		tries := busyTry.FindAllString(out, -1)
		t.Logf("%s: exit code %d after %v, %d times busy\n%s", command, code, took.Round(time.Millisecond), len(tries),
			strings.Join(tries, "\n"))
		for _, line := range tries {
			if !busyWith.MatchString(line) {
				t.Errorf("%s is busy, and does not say with whom: %s", command, line)
			}
		}
		switch {
		case code == 0:
			return
		case code != 4:
			t.Fatalf("%s: exit code %d\n%s", command, code, out)
		case len(tries) != 9 || !strings.Contains(out, "task "):
			t.Errorf("%s gave up after %d busy tries:\n%s", command, len(tries)+1, out)
		}
	}
	t.Fatalf("%s was busy in each of five commands", command)
}
