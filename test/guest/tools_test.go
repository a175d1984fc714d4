// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/test/oldcode"
)

// TestTools proves on the stock kernel that the tools with which other tests
// judge an update see what they should.
func TestTools(t *testing.T) {
	t.Parallel()
	t.Run("trap", testTrap)
	t.Run("others", func(t *testing.T) {
		withModule := addSchedtest(t)
		livepatch := buildKmod(t, filepath.Join(shared.root, "test/kmod/livepatch"))
		m := boot(t, func(c *vm.Config) {
			withModule(c)
			c.Files = append(c.Files,
				vm.File{GuestPath: "/schedtest_livepatch.ko", HostPath: livepatch},
				vm.File{GuestPath: "/bin/living", HostPath: filepath.Join(shared.root, "bin/living")},
				vm.File{GuestPath: "/bin/killat", HostPath: filepath.Join(shared.root, "test/killat/killat")})
		})
		t.Run("fail", func(t *testing.T) { testFail(t, m) })
		t.Run("killat", func(t *testing.T) { testKillat(t, m) })
		t.Run("quota", func(t *testing.T) { testQuota(t, m) })
		t.Run("fentry", func(t *testing.T) { testFentry(t, m) })
		t.Run("perf", func(t *testing.T) { testPerf(t, m) })
		t.Run("livepatch", func(t *testing.T) { testLivepatch(t, m) })
	})
}

// testTrap: the stock scheduler runs into the traps at once, is named, and goes on
// running.
func testTrap(t *testing.T) {
	m := boot(t, addSchedtest(t))
	ok(t, m, "insmod /schedtest.ko && schedload start --spec light")
	for list, why := range map[string]string{
		"x ffff888000000000 10":   "is outside of the kernel's text",
		"x 1000":                  "is not NAME START LEN",
		"x $stext 10\ny $stext 1": "is below the end of the range before it",
	} {
		out, code := sh(t, m, "stext=$(awk '$3 == \"_stext\" { print $1 }' /proc/kallsyms); dmesg -c > /dev/null; echo \""+list+"\" > "+schedtest+"/trap; err=$?; dmesg; exit $err")
		if code == 0 || !strings.Contains(out, why) {
			t.Errorf("%q: %d, expected that it %s:\n%s", list, code, why, out)
		}
	}
	list := oldCode(t)
	for range rounds(1, 2) {
		trap(t, m, list)
		n, report := runsInto(t, m, 50)
		if n < 50 || strings.Count(report, "\nhit ") != 32 || !strings.Contains(report, "hit try_to_wake_up at ") {
			t.Errorf("the scheduler ran into %d traps:\n%s", n, report)
		}
		ok(t, m, "schedload check --within 60")
		ok(t, m, "echo 1 > "+schedtest+"/untrap")
	}
	schedule := only(list, "__schedule")
	trap(t, m, schedule)
	if n, report := runsInto(t, m, 1); n != 1 || !strings.Contains(report, "hit __schedule at __schedule+") ||
		!strings.Contains(report, "\n\tschedule") {
		t.Errorf("__schedule alone:\n%s", report)
	}
	if err := tryTrap(t, m, schedule); err == nil {
		t.Error("trapped twice")
	}
	ok(t, m, "echo 1 > "+schedtest+"/untrap")

	probed := only(list, "nr_iowait")
	const events = "/sys/kernel/tracing/kprobe_events"
	ok(t, m, fmt.Sprintf("echo p:there nr_iowait+%d > %s", probed[0].Addr-address(t, "nr_iowait"), events))
	if err := tryTrap(t, m, probed); err == nil || !strings.Contains(ok(t, m, "dmesg"), "a kprobe is at nr_iowait+") {
		t.Errorf("trapped over a kprobe: %v", err)
	}
	ok(t, m, "echo > "+events)
	// rmmod restores as well.
	trap(t, m, list)
	ok(t, m, "rmmod schedtest && schedload check --within 60 && schedload stop")
}

func only(list []oldcode.Range, name string) []oldcode.Range {
	return slices.DeleteFunc(slices.Clone(list), func(r oldcode.Range) bool { return r.Name != name })
}

// address is where a function of the scheduler was linked.
func address(t *testing.T, name string) uint64 {
	t.Helper()
	b, err := shared.project.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	list := b.Find(name)
	if len(list) != 1 {
		t.Fatalf("%d functions are named %s", len(list), name)
	}
	return list[0].Addr
}

// testFail: allocations of others neither count nor fail; the scheduler module's
// first one does both, and install says so and leaves nothing behind.
func testFail(t *testing.T, m *vm.Machine) {
	const fail = schedtest + "/fail"
	ok(t, m, "insmod /schedtest.ko")
	ok(t, m, "echo '1 *' > "+fail+" && ls -R /sys/module > /dev/null && cat /proc/kallsyms > /dev/null")
	if out := ok(t, m, "cat "+fail); !strings.HasPrefix(out, "seen 0\nfailed none\nwatching ") || !strings.Contains(out, " __kmalloc") {
		t.Errorf("without a module:\n%s", out)
	}
	for _, bad := range []string{"x *", "1", "1 a-name-longer-than-any", ""} {
		if out, code := sh(t, m, "echo '"+bad+"' > "+fail); code == 0 {
			t.Errorf("%q is accepted: %s", bad, out)
		}
	}
	ok(t, m, "echo '1 somebody' > "+fail+" && plugsched install /scheduler.ko && plugsched uninstall")
	if out := ok(t, m, "cat "+fail); !strings.HasPrefix(out, "seen 0\nfailed none\n") {
		t.Errorf("by another task:\n%s", out)
	}
	ok(t, m, "echo '1 plugsched' > "+fail)
	if out, code := sh(t, m, "plugsched install /scheduler.ko"); code == 0 {
		t.Errorf("installed without its first allocation:\n%s", out)
	}
	if out := ok(t, m, "cat "+fail); strings.HasPrefix(out, "seen 0\n") || !strings.Contains(out, "\nfailed ") ||
		strings.Contains(out, "failed none") || !strings.Contains(out, "[plugsched_") {
		t.Errorf("no allocation failed:\n%s", out)
	}
	stock(t, m)
	ok(t, m, "echo off > "+fail+" && plugsched install /scheduler.ko && plugsched uninstall && rmmod schedtest")
}

// testKillat: a command that is killed at the entry of a system call has not made
// it, one that is killed at its exit has.
func testKillat(t *testing.T, m *vm.Machine) {
	for _, c := range []struct {
		command, want string
		code          int
	}{
		{"killat -e -l plugsched status", "ended with status 0 after ", 0},
		{"killat -k 100 plugsched status", "killed at stop 100: ", 9},
		{"killat -e -k 1 mkdir /run/a; s=$?; test ! -e /run/a && exit $s", "stop 1: entry of mkdir(/run/a)", 9},
		{"killat -e -k 2 mkdir /run/a; s=$?; test -d /run/a && exit $s", "stop 2: exit of mkdir(/run/a)", 9},
		{"killat -e -k 3 sh -c 'echo 1 > /sys/kernel/profiling'", "stop 3: entry of write(/sys/kernel/profiling)", 9},
	} {
		if out, code := sh(t, m, c.command); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: status %d, expected %d and %q:\n%s", c.command, code, c.code, c.want, out)
		}
	}
}

// testQuota: a group that reaches its limit is fine; one that stands still while others run
// was starved.
func testQuota(t *testing.T, m *vm.Machine) {
	ok(t, m, "schedload start --spec none,quota=20:2,hog=4")
	const unclear = 4
	judged := func(code int, verdict string) {
		t.Helper()
		var out string
		for range 10 {
			var got int
			if out, got = sh(t, m, "schedload quota --seconds 5"); got != unclear {
				if got != code || !strings.Contains(out, ": "+verdict) {
					t.Errorf("exit code %d, expected %d and %q:\n%s", got, code, verdict, out)
				}
				t.Log(strings.TrimSpace(out))
				return
			}
		}
		t.Errorf("no verdict, expected %q:\n%s", verdict, out)
	}
	hogs := func(signal string) {
		t.Helper()
		ok(t, m, "kill -"+signal+" $(cat /sys/fs/cgroup/schedload-*/quota*/cgroup.procs)")
	}
	judged(0, "ok")
	hogs("STOP")
	judged(1, "starved")
	hogs("CONT")
	judged(0, "ok")
	ok(t, m, "schedload stop")
}

// living runs that tool for some seconds and returns what it counted in each.
func living(t *testing.T, m *vm.Machine, args string) map[string][]int {
	t.Helper()
	counts := map[string][]int{}
	out := ok(t, m, "living "+args)
	for line := range strings.Lines(out) {
		var name string
		var n int
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Fatalf("living %s: %v:\n%s", args, err, out)
		}
		counts[name] = append(counts[name], n)
	}
	return counts
}

// alive checks that each of the hooks was reached in each of the seconds.
func alive(t *testing.T, counts map[string][]int, seconds int, hooks ...string) {
	t.Helper()
	for _, h := range hooks {
		if len(counts[h]) != seconds || slices.Contains(counts[h], 0) {
			t.Errorf("%s: counts of %d seconds: %v", h, seconds, counts[h])
		}
	}
}

func testFentry(t *testing.T, m *vm.Machine) {
	alive(t, living(t, m, "fentry -n 3 wake_up_process schedule"), 3, "wake_up_process", "schedule")
	if c := living(t, m, "fentry -n 1 sched_show_task"); !slices.Equal(c["sched_show_task"], []int{0}) {
		t.Errorf("sched_show_task, which nobody calls: %v", c)
	}
	if out, code := sh(t, m, "living fentry -n 1 no_such_function"); code != 1 || !strings.Contains(out, "no_such_function") {
		t.Errorf("no_such_function: %d\n%s", code, out)
	}
}

func testPerf(t *testing.T, m *vm.Machine) {
	ok(t, m, "yes > /dev/null & echo $! > /run/yes")
	alive(t, living(t, m, "perf -n 3"), 3, "cpu-clock", "sched:sched_switch")
	ok(t, m, "kill $(cat /run/yes)")
}

func testLivepatch(t *testing.T, m *vm.Machine) {
	const patch = "/sys/kernel/livepatch/schedtest_livepatch"
	blocked := func() string { return ok(t, m, "grep procs_blocked /proc/stat") }
	if blocked() == "procs_blocked 4242" {
		t.Fatal("procs_blocked is what the patch would make it")
	}
	settled := "for i in $(seq 900); do [ $(cat " + patch + "/transition) = 0 ] && exit; sleep 0.1; done; exit 1"
	ok(t, m, "insmod /schedtest_livepatch.ko; "+settled)
	if got := blocked(); got != "procs_blocked 4242" {
		t.Errorf("patched: %s", got)
	}
	ok(t, m, "echo 0 > "+patch+"/enabled; for i in $(seq 900); do [ -e "+patch+" ] || exit 0; sleep 0.1; done; exit 1")
	ok(t, m, "rmmod schedtest_livepatch")
	if got := blocked(); got == "procs_blocked 4242" {
		t.Error("still patched")
	}
}
