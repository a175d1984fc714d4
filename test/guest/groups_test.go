// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// countsPatch makes a scheduler that counts what is in the fair class's queues, whichever
// scheduler runs, as long as it is loaded.
const (
	countsPatch = "test/guest/testdata/counts.patch"
	countsFile  = "/sys/kernel/debug/plugsched_counts"
)

// counted is what it says.
type counted struct {
	groups, tasks, throttled, held, wrong int
	hooks                                 []hookSeen // by CPU
}

// hookSeen is what plugsched_rebuild() saw on one run queue.
type hookSeen struct{ entered, left, queued, unlocked, stale, throttled int }

// counts reads it, and the numbers that are kept must be those of what is there.
func counts(t *testing.T, m *vm.Machine, when string) (c counted) {
	t.Helper()
	text := ok(t, m, "cat "+countsFile)
	for line := range strings.Lines(text) {
		var cpu int
		var h hookSeen
		if n, _ := fmt.Sscanf(line, "hook %d: entered %d, left %d, queued %d, unlocked %d, stale %d, throttled %d",
			&cpu, &h.entered, &h.left, &h.queued, &h.unlocked, &h.stale, &h.throttled); n == 7 {
			c.hooks = append(c.hooks, h)
			if cpu != len(c.hooks)-1 || h.queued+h.unlocked+h.stale > 0 {
				t.Errorf("%s: %s", when, line)
			}
		}
		fmt.Sscanf(line, "groups %d, tasks %d, throttled %d, held %d, wrong %d", &c.groups, &c.tasks, &c.throttled, &c.held, &c.wrong)
	}
	if c.wrong > 0 || c.groups == 0 || len(c.hooks) == 0 {
		t.Errorf("%s:\n%s", when, text)
	}
	return c
}

// limited makes groups in groups, with quotas on two levels, and busy loops on all four
// CPUs that are held back nearly all the time.
const limited = `
cd /sys/fs/cgroup && echo +cpu > cgroup.subtree_control
mkdir limited && echo +cpu > limited/cgroup.subtree_control
mkdir limited/inner limited/free && echo +cpu > limited/free/cgroup.subtree_control && mkdir limited/free/leaf
echo 20000 50000 > limited/cpu.max
echo 10000 50000 > limited/inner/cpu.max
mkdir alone && echo 5000 100000 > alone/cpu.max
`

// limits are the groups' quotas, in percent of a CPU.
var limits = []struct {
	group   string
	percent int
}{{"limited", 40}, {"limited/inner", 20}, {"alone", 5}}

func limitedHogs(t *testing.T, m *vm.Machine) {
	t.Helper()
	ok(t, m, limited)
	for _, g := range []string{"limited/inner", "limited/free/leaf", "alone"} {
		for cpu := range 4 {
			ok(t, m, inBackground(fmt.Sprintf("taskset %x sh -c 'echo $$ > /sys/fs/cgroup/%s/cgroup.procs; while :; do :; done'", 1<<cpu, g)))
		}
		ok(t, m, "until [ $(wc -l < /sys/fs/cgroup/"+g+"/cgroup.procs) = 4 ]; do sleep 0.1; done")
	}
}

// holds checks that groups are run, and from now on not more than they may. A host that
// stalls lets a group run beyond its quota, which it has to pay back: there is time for that.
func holds(t *testing.T, m *vm.Machine, when string) {
	t.Helper()
	for _, l := range limits {
		out, code := sh(t, m, fmt.Sprintf(`
usage() { sed -n 's/^usage_usec //p' /sys/fs/cgroup/%s/cpu.stat; }
now() { cut -d' ' -f1 /proc/uptime | tr -d .; } # 10 ms
u=$(usage); t=$(now); sleep 1
for i in $(seq 240); do
	sleep 0.5; p=$(( ($(usage) - u) / (($(now) - t) * 10) ))
	[ $p -gt 0 ] && [ $p -le %d ] && break
done
echo "$p after $(( $(now) - t ))0 ms"; [ $p -gt 0 ] && [ $p -le %d ]`, l.group, 11*l.percent, 11*l.percent))
		if code != 0 {
			t.Errorf("%s: group %s with a quota of %d %% uses ‰: %s", when, l.group, l.percent, out)
		}
	}
}

// TestThrottledGroups: groups that are held back by a quota, on several levels, are so
// through updates of every kind, and all numbers are true in between.
func TestThrottledGroups(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/counts.ko", variant(t, countsPatch)))
	limitedHogs(t, m)
	holds(t, m, "before")
	wait := func(file string) {
		t.Helper()
		ok(t, m, "for i in $(seq 600); do [ \"$(cat "+file+")\" = 'rolled back' ] && exit; sleep 0.1; done; exit 1")
	}
	var throttled, held int
	for round := range rounds(1, 2) {
		look := func(when string) {
			t.Helper()
			when = fmt.Sprintf("round %d, %s", round, when)
			for range 5 {
				c := counts(t, m, when)
				held += c.held
			}
			holds(t, m, when)
		}
		ok(t, m, "plugsched install /scheduler.ko")
		holds(t, m, "installed")
		name := installs(t, m, "plugsched install --replace /counts.ko")
		dir := "/sys/module/" + name + "/plugsched"
		look("replaced")
		ok(t, m, "echo 0 > "+dir+"/enable")
		look("removed")
		ok(t, m, "echo 0 > "+dir+"/try && echo 1 > "+dir+"/enable")
		look("installed again")
		for range 5 {
			ok(t, m, "echo 0 > "+dir+"/enable; sleep 0.0$(($$ % 9))3; echo 1 > "+dir+"/enable")
			counts(t, m, "and again")
		}
		ok(t, m, "echo 0 > "+dir+"/enable && echo 1000 > "+dir+"/try && echo 1 > "+dir+"/enable")
		wait(dir + "/state")
		look("after a trial")
		for _, h := range counts(t, m, "the end").hooks {
			throttled += h.throttled
		}
		ok(t, m, "plugsched uninstall")
		installs(t, m, "plugsched install /counts.ko")
		ok(t, m, "echo a test > "+dir+"/rollback")
		wait(dir + "/state")
		look("after a rollback")
		ok(t, m, "plugsched uninstall")
	}
	if throttled == 0 || held == 0 {
		t.Errorf("%d groups were throttled in the updates, %d tasks held back when they were counted", throttled, held)
	}
	stock(t, m)
	holds(t, m, "after")
}

// TestThrottledTasks: as users see it, on every kernel: groups that are held back are so
// through updates, and none of their tasks is lost in one: without its quota, and with a
// CPU for itself, each gets its time.
func TestThrottledTasks(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/other.ko", variant(t, otherPatch)))
	limitedHogs(t, m)
	holds(t, m, "before")
	for round := range rounds(2, 5) {
		for _, c := range []string{"plugsched install /scheduler.ko", "plugsched install --replace /other.ko", "plugsched uninstall",
			"plugsched install /scheduler.ko", "plugsched uninstall"} {
			ok(t, m, c)
			if round == 0 {
				holds(t, m, c)
			}
		}
	}
	stock(t, m)
	for _, g := range []string{"limited/inner", "limited", "alone"} {
		ok(t, m, "echo max > /sys/fs/cgroup/"+g+"/cpu.max")
	}
	// 14th field: ticks in user space.
	ok(t, m, `cd /sys/fs/cgroup; ticks() { cut -d' ' -f14 /proc/$1/stat; }
for p in $(cat limited/inner/cgroup.procs limited/free/leaf/cgroup.procs alone/cgroup.procs); do
	was=$(ticks $p)
	for i in $(seq 600); do [ $(ticks $p) -gt $((was + 5)) ] && continue 2; sleep 0.1; done
	echo "task $p: $was ticks, and $(ticks $p) a minute later"; exit 1
done`)
}

// TestUnreleasedGroups: a scheduler that never releases a group again, and left all
// believing that it will, is left by hand: the kernel's own releases it.
func TestUnreleasedGroups(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/broken.ko", variant(t, "test/guest/testdata/unreleased.patch")))
	limitedHogs(t, m)
	name := installs(t, m, "plugsched install /broken.ko")
	usage := "usage() { cat /sys/fs/cgroup/limited/cpu.stat /sys/fs/cgroup/alone/cpu.stat | sed -n 's/^usage_usec //p'; }\n"
	ok(t, m, usage+"for i in $(seq 120); do a=\"$(usage)\"; sleep 1; [ \"$a\" = \"$(usage)\" ] && exit; done; exit 1")
	ok(t, m, "echo groups stand still > /sys/kernel/plugsched/rollback")
	rolledBack(t, m, name, 30*time.Second)
	holds(t, m, "after the rollback")
	ok(t, m, "plugsched uninstall")
	stock(t, m)
}

// walks are the functions by which a run queue leaves or joins, and those of them that
// look at every task group.
const walks = "set_rq_o* rq_online_* rq_offline_* update_sysctl* update_runtime_enabled* unthrottle_offline_cfs_rqs*"

// TestManyGroups: no part of the stop looks at all task groups. What is left of them in
// its time is logged.
func TestManyGroups(t *testing.T) {
	t.Parallel()
	m := boot(t, both(other(t), func(c *vm.Config) { c.MemoryMiB = 2048 }))
	limitedHogs(t, m)
	const dir = "/sys/kernel/tracing"
	trace := func(module string) {
		t.Helper()
		ok(t, m, "cd "+dir+" && echo nop > current_tracer && echo > set_ftrace_filter && for f in "+walks+"; do echo $f >> set_ftrace_filter || true; done 2> /dev/null; grep -q "+
			module+" set_ftrace_filter && grep -v plugsched_ set_ftrace_filter | grep -q set_rq_offline && echo function > current_tracer && echo > trace && echo 1 > tracing_on")
	}
	seen := func() string { return ok(t, m, "grep -v ^# "+dir+"/trace || true") }
	timings := func(command string, groups int) {
		t.Helper()
		x := parseStatus(t, ok(t, m, "plugsched "+command+" --json 2> /dev/null")).Timings
		t.Logf("%d groups, %s: clear %v, rebuild %v", groups, x.Direction, time.Duration(x.Clear), time.Duration(x.Rebuild))
	}
	for _, groups := range []int{0, 4000} {
		if groups > 0 {
			ok(t, m, fmt.Sprintf("cd /sys/fs/cgroup && mkdir many && echo +cpu > many/cgroup.subtree_control && cd many && for i in $(seq %d); do mkdir $i || exit 1; [ $((i %% 4)) = 0 ] || continue; echo 50000 100000 > $i/cpu.max; done", groups))
			ok(t, m, "echo 1 > /proc/sys/kernel/sched_autogroup_enabled && for i in $(seq 100); do setsid sleep 100000 > /dev/null 2>&1 & done")
		}
		for range 3 {
			timings("install /scheduler.ko", groups)
			timings("install --replace /other.ko", groups)
			timings("uninstall --verify=false", groups)
		}
	}
	a, b := moduleName(t, shared.project.Module()), moduleName(t, variant(t, otherPatch))
	ok(t, m, "insmod /scheduler.ko && insmod /other.ko")
	trace(a)
	trace(b)
	write := func(module, file, text string) {
		t.Helper()
		ok(t, m, "for i in $(seq 600); do echo "+text+" > /sys/module/"+module+"/plugsched/"+file+" && exit; sleep 0.2; done; exit 1")
	}
	write(a, "enable", "1")
	write(b, "replace", a)
	write(b, "enable", "0")
	if calls := seen(); calls != "" {
		t.Errorf("called in the updates:\n%s", calls)
	}
	ok(t, m, "echo 0 > /sys/devices/system/cpu/cpu3/online && echo 1 > /sys/devices/system/cpu/cpu3/online")
	if calls := seen(); !strings.Contains(calls, "rq_offline_fair") || !strings.Contains(calls, "rq_online_fair") {
		t.Errorf("a CPU that went and came is not seen:\n%s", calls)
	}
	ok(t, m, "echo nop > "+dir+"/current_tracer")
}

// TestRebuildHook: the developer's hook is called for every run queue, also those of CPUs
// that are offline meanwhile, and once for each update.
func TestRebuildHook(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/counts.ko", variant(t, countsPatch)))
	online := func(cpu, on int) {
		t.Helper()
		ok(t, m, fmt.Sprintf("echo %d > /sys/devices/system/cpu/cpu%d/online", on, cpu))
	}
	online(1, 0)
	online(3, 0)
	name := installs(t, m, "plugsched install /counts.ko")
	check := func(when string, entered, left int) {
		t.Helper()
		c := counts(t, m, when)
		if len(c.hooks) < 4 {
			t.Errorf("%s: %d run queues", when, len(c.hooks))
		}
		for cpu, h := range c.hooks {
			if h.entered != entered || h.left != left {
				t.Errorf("%s: CPU %d: entered %d times, left %d, expected %d and %d", when, cpu, h.entered, h.left, entered, left)
			}
		}
	}
	check("installed, two CPUs offline", 1, 0)
	online(1, 1)
	online(3, 1)
	check("all CPUs are back", 1, 0)
	ok(t, m, "schedload start --spec light")
	online(2, 0)
	ok(t, m, "echo 0 > /sys/module/"+name+"/plugsched/enable")
	check("removed, one CPU offline", 1, 1)
	online(2, 1)
	ok(t, m, "echo 1 > /sys/module/"+name+"/plugsched/enable")
	check("installed, all CPUs online", 2, 1)
	ok(t, m, "schedload check --within 60 && schedload stop && plugsched uninstall")
	stock(t, m)
}

// TestOfflineLeavesNothing: a CPU that went offline under the module, with tasks that
// had to be pushed away, keeps no pointer to it.
func TestOfflineLeavesNothing(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	ok(t, m, inBackground("for i in 1 2; do taskset 8 sh -c 'while :; do :; done' & taskset c sh -c 'while :; do :; done' & done; wait"))
	ok(t, m, "plugsched install /scheduler.ko")
	for _, cpu := range []string{"2", "3"} {
		ok(t, m, "echo 0 > /sys/devices/system/cpu/cpu"+cpu+"/online")
	}
	ok(t, m, "echo 1 > /sys/devices/system/cpu/cpu2/online")
	out := ok(t, m, "plugsched uninstall")
	if !regexp.MustCompile(`no pointer to it in \d+ words`).MatchString(out) {
		t.Errorf("not verified:\n%s", out)
	}
	ok(t, m, "echo 1 > /sys/devices/system/cpu/cpu3/online")
	stock(t, m)
	ok(t, m, "for p in /proc/[0-9]*; do grep -q 'whil[e] :; do :; done' $p/cmdline && kill -9 ${p##*/}; done 2> /dev/null; true")
}
