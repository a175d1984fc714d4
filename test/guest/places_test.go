// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// placesPatch notes where tasks are on their queues before and after an update.
const placesPatch = "test/guest/testdata/eevdf/places.patch"

// keepsLag reports that the kernel's fair class keeps a dequeued task's place as its lag.
func keepsLag(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shared.work, "include/linux/sched.h"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(text, []byte("vlag;"))
}

// seat is a task's place: how far it is behind the mean of its queue, how far its deadline is
// from there, and how much lag it may take along when it leaves, in ns of virtual time.
type seat struct{ lag, deadline, limit int64 }

// seats reads what a module has noted on one CPU, of tasks in its queue or in groups.
func seats(text, when string, cpu, group int) map[int]seat {
	out := map[int]seat{}
	for line := range strings.Lines(text) {
		var w string
		var c, g, pid int
		var s seat
		n, _ := fmt.Sscanf(line, "%s %d %d %d %d %d %d", &w, &c, &g, &pid, &s.lag, &s.deadline, &s.limit)
		if n == 7 && w == when && c == cpu && g == group {
			out[pid] = s
		}
	}
	return out
}

// moved says how far a task is from its place at most. fair is false if somebody had more lag
// than a task may keep, by the scheduler's own rule: all are shifted by what that one loses.
func moved(t *testing.T, was, is map[int]seat) (worst int64, fair bool) {
	t.Helper()
	fair = true
	for pid, w := range was {
		n, ok := is[pid]
		if !ok {
			t.Errorf("task %d is not queued after the update", pid)
		}
		fair = fair && abs(w.lag) <= w.limit
		worst = max(worst, abs(n.lag-w.lag), abs(n.deadline-w.deadline))
	}
	return worst, fair
}

// TestPlaces: an update leaves all tasks at their places, of their lag and of their deadline, on
// a CPU with many of different weights, and in a group.
func TestPlaces(t *testing.T) {
	t.Parallel()
	if !keepsLag(t) {
		t.Skip("this kernel's fair class keeps no lag")
	}
	m := boot(t, both(with("/a.ko", variant(t, placesPatch)), with("/b.ko", variant(t, placesPatch, otherPatch))))
	const each = 50
	ok(t, m, "mkdir /sys/fs/cgroup/places; echo 0 > /proc/sys/kernel/sched_autogroup_enabled")
	for i := range each {
		nice := fmt.Sprintf("renice -n %d -p $$ > /dev/null; ", i%20-10)
		ok(t, m, inBackground("taskset 1 sh -c '"+nice+"while :; do :; done'"))
		ok(t, m, inBackground("taskset 2 sh -c 'echo $$ > /sys/fs/cgroup/places/cgroup.procs; "+nice+"while :; do :; done'"))
	}
	ok(t, m, fmt.Sprintf("until [ $(wc -l < /sys/fs/cgroup/places/cgroup.procs) = %d ]; do sleep 0.1; done", each))
	a := installs(t, m, "plugsched install /a.ko")
	const rounds = 10
	held := [2]int{}
	for round := 0; round < rounds && min(held[0], held[1]) == 0; round++ {
		b := installs(t, m, "plugsched try --replace --for 1h /b.ko")
		before := ok(t, m, "cat /sys/kernel/debug/"+a)
		after := ok(t, m, "cat /sys/kernel/debug/"+b)
		for cpu, group := range []int{0, 1} {
			was, is := seats(before, "before", cpu, group), seats(after, "after", cpu, group)
			if len(was) < each {
				t.Errorf("round %d, CPU %d: %d tasks were queued before, at least %d expected", round, cpu, len(was), each)
			}
			worst, fair := moved(t, was, is)
			t.Logf("round %d, CPU %d: %d tasks, none further than %d ns from its place; all within the limit: %v",
				round, cpu, len(was), worst, fair)
			if !fair {
				continue
			}
			// Each placing rounds to a nanosecond, in the mean of all.
			if held[cpu]++; worst > int64(time.Microsecond) {
				t.Errorf("round %d, CPU %d: a task is %d ns from its place", round, cpu, worst)
			}
		}
		ok(t, m, "plugsched reject")
	}
	if min(held[0], held[1]) == 0 {
		t.Errorf("in %d rounds somebody always had too much lag: %v", rounds, held)
	}
	ok(t, m, "plugsched uninstall && killall sh")
	stock(t, m)
}

func abs(n int64) int64 { return max(n, -n) }
