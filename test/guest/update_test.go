// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/test/drive"
)

const (
	features = drive.Features
	message  = "I am the new scheduler"
)

// TestDemo runs the demo: the main job under load, with everything that it
// checks.
func TestDemo(t *testing.T) {
	t.Parallel() // its working directory is its own
	countBoot(t)
	cmd := exec.Command(shared.root+"/bin/demo", "-release", shared.release, "-cycles", strconv.Itoa(rounds(2, 5)))
	cmd.Dir = shared.root
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

// TestTakesEffect: fails before, passes while loaded, fails after.
func TestTakesEffect(t *testing.T) {
	t.Parallel()
	for _, cpus := range []int{1, 8} {
		t.Run(fmt.Sprintf("%d CPUs", cpus), func(t *testing.T) {
			m := boot(t, func(c *vm.Config) { c.CPUs = cpus })
			toggle := "echo PLUGSCHED_TEST > " + features
			if _, code := sh(t, m, toggle); code == 0 {
				t.Fatal("the stock kernel knows the new feature")
			}
			for range rounds(1, 3) {
				ok(t, m, "plugsched install /scheduler.ko")
				if x := status(t, m).Timings; x.Threads <= x.Stopped {
					t.Errorf("%d threads, %d of them inspected in the stop: are there no sleepers?", x.Threads, x.Stopped)
				}
				ok(t, m, "dmesg -c > /dev/null; "+toggle+"; for i in 1 2 3 4 5; do sleep 0.2; done")
				if log := ok(t, m, "dmesg"); !strings.Contains(log, message) {
					t.Fatalf("the new scheduler says nothing:\n%s", log)
				}
				out := ok(t, m, "plugsched uninstall")
				if !strings.Contains(out, "no function, no timer and no stack leads to the module") || !strings.Contains(out, "no pointer to it") {
					t.Fatalf("not verified:\n%s", out)
				}
				if _, code := sh(t, m, toggle); code == 0 {
					t.Fatal("the new feature is still known after removal")
				}
			}
		})
	}
}

// TestSettings: an update leaves all that an administrator can set as it is.
func TestSettings(t *testing.T) {
	t.Parallel()
	m := boot(t, other(t))
	const numbers = "cd /sys/kernel/debug/sched; n=$(find . -type f ! -path '*/domains/*' | sort | while read f; do v=$(cat $f 2>/dev/null); case $v in ''|*[!0-9]*) ;; *) echo $f;; esac; done)"
	// 6.12 warns of a change of a fair server that is not active (sched_fair_server_write()).
	ok(t, m, numbers+`; for f in $n; do case $f in */fair_server/*) continue;; esac; echo $(($(cat $f) + 1)) > $f 2> /dev/null; done
cd /proc/sys/kernel; echo 900000 > sched_rt_runtime_us; echo 50 > sched_rr_timeslice_ms; echo 4000 > sched_cfs_bandwidth_slice_us`)
	read := func() string {
		t.Helper()
		return ok(t, m, numbers+"; for f in $n; do echo $f $(cat $f); done; cd /proc/sys/kernel; for f in sched_*; do echo $f $(cat $f); done")
	}
	before := read()
	if n := strings.Count(before, "_ns "); n < 2 {
		t.Fatalf("%d settings in nanoseconds:\n%s", n, before)
	}
	for _, command := range []string{"install /scheduler.ko", "install --replace /other.ko", "uninstall"} {
		ok(t, m, "plugsched "+command)
		if now := read(); now != before {
			t.Errorf("%s: the settings were\n%s\nand are\n%s", command, before, now)
		}
	}
}

// TestTracingSurvives: ftrace on a function that others call goes on seeing it
// before, while and after; tracing that is set up while the module is live finds
// the new scheduler's own calls under the kernel's names.
func TestTracingSurvives(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	const dir = "/sys/kernel/tracing"
	trace := func(function string) {
		t.Helper()
		ok(t, m, "cd "+dir+" && echo nop > current_tracer && echo "+function+" > set_ftrace_filter && echo function > current_tracer && echo 1 > tracing_on")
	}
	seen := func(when, function string) {
		t.Helper()
		ok(t, m, "echo > "+dir+"/trace; sleep 0.5")
		if n := ok(t, m, "grep -c ': "+function+" <-' "+dir+"/trace || true"); n == "0" {
			t.Errorf("%s: ftrace sees no call of %s", when, function)
		}
	}
	trace("wake_up_process")
	seen("before", "wake_up_process")
	ok(t, m, "plugsched install /scheduler.ko")
	seen("while installed", "wake_up_process")
	trace("try_to_wake_up")
	seen("set up while installed", "try_to_wake_up")
	trace("wake_up_process")
	ok(t, m, "plugsched uninstall")
	seen("after removal", "wake_up_process")
	if e := ok(t, m, "cat /proc/sys/kernel/ftrace_enabled"); e != "1" {
		t.Errorf("ftrace was shut down: ftrace_enabled is %s", e)
	}
	ok(t, m, "cd "+dir+" && echo nop > current_tracer && echo > set_ftrace_filter")
}

// TestProbes: a kprobe where a jump would go is found before anything changes; a
// forced unload takes the way of a removal.
func TestProbes(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	const events = "/sys/kernel/tracing/kprobe_events"
	ok(t, m, "echo 'p:mine "+site(t, "wake_up_process")+"' > "+events)
	if out, code := sh(t, m, "plugsched install /scheduler.ko"); code != 3 || !strings.Contains(out, "hooked") {
		t.Errorf("a disabled kprobe: exit code %d, expected 3 and \"hooked\":\n%s", code, out)
	}
	stock(t, m)
	ok(t, m, "echo > "+events)
	ok(t, m, "rmmod -f "+installs(t, m, "plugsched install /scheduler.ko"))
	stock(t, m)
	ok(t, m, "schedload start --spec light")
	goesOn(t, m)
	ok(t, m, "schedload stop")
}

// TestHotplug: CPUs come and go while schedulers change.
func TestHotplug(t *testing.T) {
	t.Parallel()
	m := borrow(t, other(t))
	ok(t, m, "schedload start --spec light,hotplug=1")
	for range rounds(2, 5) {
		ok(t, m, "plugsched install /scheduler.ko")
		ok(t, m, "schedload check --within 60")
		ok(t, m, "plugsched install --replace /other.ko")
		ok(t, m, "plugsched uninstall --verify=false")
	}
	ok(t, m, "schedload check --within 60")
	ok(t, m, "schedload stop")
}
