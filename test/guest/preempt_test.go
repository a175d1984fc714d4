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
	busy := regexp.MustCompile(`(?m)^.*\bbusy, trying again in .*$`)
	ok(t, m, "schedload start --timeout 600 --spec default")
	for range rounds(2, 10) {
		for _, command := range []string{"install /scheduler.ko", "install --replace /other.ko", "uninstall --verify=false"} {
			code := -1
			for try := 0; code != 0 && try < 5; try++ {
				var out string
				own := m.Stopwatch()
				out, code = sh(t, m, "plugsched "+command)
				took := own()
				tries := busy.FindAllString(out, -1)
				t.Logf("%s: exit code %d after %v, %d times busy\n%s", command, code, took.Round(time.Millisecond), len(tries),
					strings.Join(tries, "\n"))
				if code != 0 && code != 4 {
					t.Fatalf("%s: exit code %d\n%s", command, code, out)
				}
				for _, line := range tries {
					if !busyWith.MatchString(line) {
						t.Errorf("%s is busy, and does not say with whom: %s", command, line)
					}
				}
				if code == 4 && (len(tries) != 9 || !strings.Contains(out, "task ")) {
					t.Errorf("%s gave up after %d busy tries:\n%s", command, len(tries)+1, out)
				}
			}
			if code != 0 {
				t.Fatalf("%s was busy in each of five commands", command)
			}
		}
	}
	goesOn(t, m)
	stock(t, m)
	ok(t, m, "schedload stop")
}
