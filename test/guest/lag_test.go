// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
)

// gathered are many tasks of several weights that are queued on one CPU and not run any more, so that
// their places in the queue do not change by themselves: a realtime task has the CPU, and nobody
// makes it share, but for the kernel's own threads there, which an update waits for (SRCU). They are in
// their loops by then: who is still on the way there could be preempted, by the realtime task, where the
// kernel reads what RCU guards, and would hold up all that waits for it. What a task has run while it had
// a turn, and with it its lag, is less than the limit on lag: both follow from the slice.
const gathered = `
cd /sys/kernel/debug/sched
slice=$(cat base_slice_ns) && echo 20000000 > base_slice_ns
autogroup=$(cat /proc/sys/kernel/sched_autogroup_enabled) && echo 0 > /proc/sys/kernel/sched_autogroup_enabled
server=$(cat fair_server/cpu2/runtime)
mkdir /run/loops
i=0; pids=; while [ $i -lt 100 ]; do
	taskset 4 sh -c '> /run/loops/$$; while :; do :; done' > /dev/null 2>&1 & pids="$pids $!"
	renice -n $((i % 5)) -p $! > /dev/null || exit 1
	i=$((i+1))
done
until [ $(ls /run/loops | wc -l) = 100 ]; do sleep 0.5; done
sleep 5
for p in /proc/[0-9]*; do
	case $(cat $p/comm 2> /dev/null) in kworker/2:*|ksoftirqd/2|rcu*) chrt -f -p 60 ${p##*/};; esac
done
echo 0 > fair_server/cpu2/runtime
chrt -f 50 taskset 4 sh -c 'while :; do :; done' > /dev/null 2>&1 & hog=$!
until grep -q "^>R  *sh  *$hog " debug; do sleep 0.1; done
`

const dispersed = `
kill $hog; echo $server > fair_server/cpu2/runtime
kill $pids; wait; rm -r /run/loops
echo $slice > base_slice_ns; echo $autogroup > /proc/sys/kernel/sched_autogroup_enabled
`

// queued is a task's place, in ns of virtual time, of which only differences say something.
type queued struct {
	pid             int
	vruntime, until int64 // when it comes, and when its request is due
}

// placed finds tasks in a text that print_task() of kernel/sched/debug.c has made.
var placed = regexp.MustCompile(`(?m)^ R +\S+ +(\d+) +(?:\d+ +)?(-?\d+)\.(\d{6}) +[EN] +(-?\d+)\.(\d{6}) `)

// places are those of the crowd, from the first to the last.
func places(t *testing.T, text string, pids []string) (list []queued) {
	t.Helper()
	number := func(digits string) int64 {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, m := range placed.FindAllStringSubmatch(text, -1) {
		if slices.Contains(pids, m[1]) {
			list = append(list, queued{int(number(m[1])), number(m[2] + m[3]), number(m[4] + m[5])})
		}
	}
	slices.SortStableFunc(list, func(a, b queued) int { return int(a.vruntime - b.vruntime) })
	return list
}

// TestLag: with EEVDF a task's place is its lag and its deadline. Of a hundred that are queued
// on one CPU both are the same before and after an update of each kind, but for what dividing
// rounds: so is the order in which they come.
func TestLag(t *testing.T) {
	t.Parallel()
	// Nobody else comes to that CPU, where he would be kept from running too.
	m := boot(t, both(other(t), func(c *vm.Config) { addChrt(t, c); c.Append = append(c.Append, "isolcpus=2") }),
		// 6.12 says so when a fair server is changed that is not active (sched_fair_server_write()).
		complaint{kind: vm.Warning, text: "sched_fair_server_write", may: true})
	if !strings.Contains(ok(t, m, "cat "+features), "PLACE_LAG") {
		t.Skip("the kernel has no EEVDF")
	}
	a, b := moduleName(t, shared.project.Module()), moduleName(t, variant(t, otherPatch))
	enable := func(name, value string) string {
		return "echo " + value + " > /sys/module/" + name + "/plugsched/enable"
	}
	steps := []string{
		"true", // control: they do stand still
		enable(a, "1"),
		"echo " + a + " > /sys/module/" + b + "/plugsched/replace",
		enable(b, "0"),
		"echo 0 > /sys/module/" + b + "/plugsched/try && " + enable(b, "1"),
	}
	// Who is inside of what is replaced may be in the way once.
	insist := func(step string) string {
		return "for i in $(seq 50); do { " + step + "; } 2> /dev/null && break; sleep 0.1; done\n"
	}
	script := "insmod /scheduler.ko && insmod /other.ko || exit 1" + gathered
	// A guest that its host did not run for a while has tasks with more lag than one may take along: that
	// is cut off when they leave the queue for the first time (entity_lag()).
	script += insist(enable(a, "1")) + insist(enable(a, "0")) + "echo $pids > /run/pids; cat debug > /run/places\n"
	for i, step := range steps {
		script += insist(step) + fmt.Sprintf("cat debug > /run/places.%d\n", i)
	}
	ok(t, m, script+dispersed)
	want := len(steps) - 1 + 2
	if got := updates(t, m); len(got) != want {
		t.Fatalf("the kernel made the updates %q, expected %d", got, want)
	}
	pids := strings.Fields(ok(t, m, "cat /run/pids"))
	text := ok(t, m, "cat /run/places")
	before := places(t, text, pids)
	if len(before) != len(pids) {
		t.Fatalf("%d of %d tasks are queued: %v in\n%s", len(before), len(pids), pids, text)
	}
	for i, step := range steps {
		sameOrder(t, step, before, places(t, ok(t, m, fmt.Sprintf("cat /run/places.%d", i)), pids))
	}
	ok(t, m, "plugsched uninstall")
}

// sameOrder checks that tasks are at the distances from each other at which they were, and that
// each is due as long after its place as it was.
func sameOrder(t *testing.T, when string, before, after []queued) {
	t.Helper()
	const rounding = 1000 // ns of virtual time
	if len(after) != len(before) {
		t.Errorf("%s: %d tasks were queued, and %d are", when, len(before), len(after))
		return
	}
	now := map[int]queued{}
	for _, q := range after {
		now[q.pid] = q
	}
	shift := now[before[0].pid].vruntime - before[0].vruntime
	var far, late int64
	for _, was := range before {
		is := now[was.pid]
		far = max(far, abs(is.vruntime-was.vruntime-shift))
		late = max(late, abs((is.until-is.vruntime)-(was.until-was.vruntime)))
	}
	t.Logf("%s: %d tasks within %d ns, moved by %d ns; places differ by %d ns at most, deadlines by %d ns", when, len(after),
		after[len(after)-1].vruntime-after[0].vruntime, shift, far, late)
	if far > rounding || late > rounding {
		t.Errorf("%s: tasks were at\n%v\nand are at\n%v", when, before, after)
	}
	for i := 1; i < len(after); i++ {
		if before[i].vruntime-before[i-1].vruntime > 2*rounding && now[before[i].pid].vruntime <= now[before[i-1].pid].vruntime {
			t.Errorf("%s: task %d comes before task %d now", when, before[i].pid, before[i-1].pid)
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }
