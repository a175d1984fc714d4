// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package foreign

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// TestUpdates is what there is besides installation and removal, one after the other in one guest.
func TestUpdates(t *testing.T) {
	g := boot(t, func(*vm.Config) {})
	for _, tt := range []struct {
		name string
		test func(*guest, *testing.T)
	}{{"replace", (*guest).replace}, {"trial", (*guest).trial}, {"watchdog", (*guest).watchdog}, {"graph", (*guest).graph},
		{"probe", (*guest).probe}, {"fault", (*guest).fault}, {"hotplug", (*guest).hotplug}} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if t.Failed() { // for those that follow
					g.try(t, "plugsched uninstall; echo nop >"+tracing+"/current_tracer; echo >"+tracing+"/kprobe_events; echo 1 >"+cpu1)
				}
			}()
			tt.test(g, t)
			if out, code := g.try(t, "ls -d /sys/module/plugsched_*"); code == 0 {
				t.Fatalf("is left: %s", out)
			}
		})
	}
}

// replace: from one to the other and back, without the kernel's own in between.
func (g *guest) replace(t *testing.T) {
	a := g.installs(t, "dmesg -c >/dev/null; plugsched install /hello.ko")
	g.speaks(t)
	b := g.installs(t, "plugsched install --replace /starve.ko")
	if a == b {
		t.Fatal("it is the same")
	}
	g.run(t, "! grep PLUGSCHED_TEST "+features)
	if again := g.installs(t, "plugsched install --replace /hello.ko"); again != a {
		t.Errorf("%s runs, expected %s", again, a)
	}
	g.speaks(t)
	g.uninstalls(t)
}

// trial: one that nobody confirms ends by itself, to the kernel's own and to another module's.
func (g *guest) trial(t *testing.T) {
	a := g.installs(t, "plugsched try --for 20s /hello.ko")
	if why := g.left(t, a, time.Minute); !strings.HasPrefix(why, "it was not confirmed in time") {
		t.Errorf("it left because %s", why)
	}
	g.run(t, "test ! -e /sys/kernel/plugsched && ! grep PLUGSCHED_TEST "+features)
	a = g.installs(t, "plugsched try --for 1h /hello.ko")
	g.speaks(t)
	g.run(t, "plugsched confirm && plugsched status")
	g.uninstalls(t)
	g.run(t, "plugsched try --for 1h /hello.ko && plugsched reject --reason 'not good'; ! test -e /sys/module/"+a)
}

// watchdog: who starves is noticed, and gets to run again.
func (g *guest) watchdog(t *testing.T) {
	name := g.installs(t, "plugsched install --watchdog 2s /starve.ko")
	g.run(t, "(taskset 2 sh -c 'while [ ! -e /run/enough ]; do :; done' >/dev/null 2>&1 &); "+
		"(batch taskset 2 sh -c 'sleep 0.1; touch /run/lives' >/dev/null 2>&1 &)")
	why := g.left(t, name, 2*time.Minute)
	if !regexp.MustCompile(`^task \d+ \(\S+\) was not run for \d+ ms`).MatchString(why) {
		t.Errorf("it left because %s", why)
	}
	g.run(t, "for i in $(seq 60); do [ -e /run/lives ] && break; sleep 1; done; ls /run/lives; touch /run/enough")
	g.installs(t, "plugsched install /hello.ko")
	g.uninstalls(t)
}

const tracing = "/sys/kernel/tracing"

// traced are functions that are redirected, some of which the kernel calls, and some that tasks sleep in.
const traced = "scheduler_tick wake_up_new_task try_to_wake_up enqueue_task_fair pipe_read do_nanosleep do_wait"

// graph: while the function graph tracer keeps return addresses, those of sleepers too, and calls of redirected
// functions go by way of it.
func (g *guest) graph(t *testing.T) {
	g.run(t, "mkdir -p "+tracing+" && { test -e "+tracing+"/trace || mount -t tracefs tracefs "+tracing+"; }")
	g.run(t, "cd "+tracing+" && echo "+traced+" >set_ftrace_filter && echo function_graph >current_tracer && sleep 2")
	calls := func(functions string) {
		t.Helper()
		g.run(t, "cd "+tracing+" && echo >trace && sleep 2 && for f in "+functions+"; do "+
			"grep -m 1 -E \" $f( \\[plugsched_.*\\])?\\(\\)\" trace || { echo no $f; head -n 40 trace; exit 1; }; done")
	}
	calls(traced)
	g.installs(t, "plugsched install /hello.ko")
	g.speaks(t)
	const called = "scheduler_tick wake_up_new_task pipe_read do_wait"
	calls(called)
	g.run(t, "cd "+tracing+" && echo "+traced+" >set_ftrace_filter") // the module's functions of these names, too
	calls(traced)
	g.installs(t, "plugsched install --replace /starve.ko")
	calls(called)
	g.uninstalls(t)
	calls(traced)
	g.run(t, "cd "+tracing+" && echo nop >current_tracer && echo >set_ftrace_filter")
}

// probe: while a return probe keeps the return address of somebody who sleeps.
func (g *guest) probe(t *testing.T) {
	g.run(t, "cd "+tracing+" && echo r:sleeper pipe_read >kprobe_events && echo 1 >events/kprobes/sleeper/enable && echo >trace && "+
		"mkfifo /run/fifo && (cat /run/fifo >/run/read 2>/dev/null &); (exec 3>/run/fifo; sleep 1000 >/dev/null 2>&1 &) && sleep 1")
	g.installs(t, "plugsched install /hello.ko")
	g.speaks(t)
	g.installs(t, "plugsched install --replace /starve.ko")
	g.uninstalls(t)
	g.run(t, "echo all is well >/run/fifo && sleep 1 && grep 'all is well' /run/read && grep -m 1 sleeper "+tracing+"/trace")
	g.run(t, "cd "+tracing+" && echo 0 >events/kprobes/sleeper/enable && echo >kprobe_events")
}

// fault: while somebody sleeps in the handling of a fault of the kernel's own, whose stack has an exception in it.
func (g *guest) fault(t *testing.T) {
	g.run(t, "rm -f /run/provide; fault /run/provide >/run/fault 2>&1 & sleep 2; grep -qx sleeps /run/fault")
	g.run(t, "for s in /proc/$(pidof fault)/task/*/stack; do "+
		"grep -q handle_userfault $s && cat $s && grep -q pipe_write $s && exit; done; exit 1")
	g.installs(t, "plugsched install /hello.ko")
	g.speaks(t)
	g.installs(t, "plugsched install --replace /starve.ko")
	g.uninstalls(t)
	g.run(t, "touch /run/provide; sleep 2; grep -x 'goes on' /run/fault")
}

const cpu1 = "/sys/devices/system/cpu/cpu1/online"

// hotplug: a CPU goes and comes back under a module, and updates are made while one is away.
func (g *guest) hotplug(t *testing.T) {
	const works = "grep -qx 1 " + cpu1 + " && taskset 2 sh -c 'for i in $(seq 100); do ls / >/dev/null; done; echo works'"
	g.installs(t, "plugsched install /hello.ko")
	g.run(t, "echo 0 >"+cpu1+" && sleep 1 && echo 1 >"+cpu1+" && "+works)
	g.run(t, "echo 0 >"+cpu1+" && sleep 1")
	g.installs(t, "plugsched install --replace /starve.ko")
	g.run(t, "echo 1 >"+cpu1+" && "+works)
	g.run(t, "echo 0 >"+cpu1+" && sleep 1")
	g.uninstalls(t)
	g.run(t, "echo 1 >"+cpu1+" && "+works)
}
