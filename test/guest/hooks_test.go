// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"strconv"
	"strings"
	"testing"
)

const (
	statePatch   = "examples/state.patch"
	stateFile    = "/sys/kernel/debug/plugsched_example"
	stateSysctl  = "/proc/sys/kernel/plugsched_example_ms"
	countedTasks = "ls -d /proc/[0-9]*/task/[0-9]* | wc -l"
)

// figures reads lines "NAME NUMBER".
func figures(t *testing.T, text string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, l := range strings.Split(text, "\n") {
		name, number, _ := strings.Cut(l, " ")
		number, _, _ = strings.Cut(number, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		out[name] = n
	}
	return out
}

// TestState: what hooks make is there while the scheduler runs, and gone afterwards;
// every task has its data, from its first switch to its end.
func TestState(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/state.ko", variant(t, statePatch)))
	gone := "[ ! -e " + stateFile + " ] && [ ! -e " + stateSysctl + " ]"
	ok(t, m, gone)
	ok(t, m, "schedload start --spec light,fork=4,hotplug=1")
	ok(t, m, "plugsched install /state.ko")
	before := figures(t, ok(t, m, "cat "+stateFile))
	ok(t, m, "echo 20 > "+stateSysctl+" && schedload check --within 60")
	after := figures(t, ok(t, m, "cat "+stateFile))
	for _, name := range []string{"switches", "ticks", "rounds"} {
		if after[name] <= before[name] {
			t.Errorf("%s: %d, then %d", name, before[name], after[name])
		}
	}
	if after["without"]+after["unseen"] > 0 || after["rebuilt"] == 0 || after["tasks"] == 0 {
		t.Errorf("not every task has data, or no queue was rebuilt: %v", after)
	}
	// A trial of it over itself is refused; replaced by another, it ends what it made.
	ok(t, m, "schedload stop && sleep 2")
	const idle = 4 // tasks, one for each CPU
	pieces := figures(t, ok(t, m, "cat /sys/kernel/plugsched/data"))["seen"] - idle
	tasks, err := strconv.Atoi(ok(t, m, countedTasks))
	if err != nil {
		t.Fatal(err)
	}
	if pieces < tasks-10 || pieces > tasks+10 {
		t.Errorf("data of %d tasks, and there are %d", pieces, tasks)
	}
	ok(t, m, "plugsched install --replace /scheduler.ko && "+gone)
	ok(t, m, "plugsched try --for 1h --replace /state.ko && plugsched uninstall && "+gone)
	ok(t, m, "lsmod | grep -c plugsched_ | grep -x 0")
}

// TestForgotten: a module whose hooks leave something behind is not unloaded, and what
// it is is said. The kernel's own scheduler runs nevertheless.
func TestForgotten(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/forget.ko", variant(t, statePatch, "test/guest/testdata/forget.patch")))
	name := installs(t, m, "plugsched install /forget.ko")
	out, code := sh(t, m, "plugsched uninstall")
	if code != 5 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"the kernel runs its own scheduler, but", "timer tick", "delayed work round",
		"sysctl plugsched_example_ms", "debugfs file /plugsched_example"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, code := sh(t, m, "rmmod "+name); code == 0 {
		t.Errorf("rmmod unloads it:\n%s", out)
	}
	if out := ok(t, m, "plugsched status"); !strings.Contains(out, "the kernel's own") || !strings.Contains(out, name+", inactive") {
		t.Errorf("status:\n%s", out)
	}
	// It goes on working, and so does what was left.
	ok(t, m, "cat "+stateFile+" "+stateSysctl)
	ok(t, m, "schedload start --spec light && schedload check --within 60 && schedload stop")
	if out, code := sh(t, m, "plugsched install /scheduler.ko"); code != 5 || !strings.Contains(out, "stays loaded") {
		t.Errorf("install beside it: %d\n%s", code, out)
	}
}

// TestDevice: a module is not unloaded as long as somebody has one of its files open, with
// its owner and without, or mapped and closed, and who that is is said.
func TestDevice(t *testing.T) {
	t.Parallel()
	m := borrow(t, both(with("/device.ko", variant(t, "test/guest/testdata/device.patch")), addLiving))
	for _, c := range []struct{ device, hold, want string }{
		{"plugsched_owned", "sleep 1000 < ", "file /plugsched_owned is open in task "},
		{"plugsched_ownerless", "sleep 1000 < ", "file /plugsched_ownerless is open in task "},
		{"plugsched_ownerless", "living map ", "a file is mapped by task "},
	} {
		t.Run(c.hold+c.device, func(t *testing.T) {
			name := installs(t, m, "plugsched install /device.ko")
			file := "/dev/" + c.device
			pid := ok(t, m, c.hold+file+" > /run/held 2>&1 & sleep 2; echo $!")
			out, code := sh(t, m, "plugsched uninstall")
			if code != 5 || !strings.Contains(out, c.want) || !strings.Contains(out, " task "+pid+" (") {
				t.Errorf("uninstall with %s held by %s: exit code %d:\n%s", file, pid, code, out)
			}
			if out := ok(t, m, "plugsched status"); !strings.Contains(out, "the kernel's own") || !strings.Contains(out, name+", inactive") {
				t.Errorf("status:\n%s", out)
			}
			ok(t, m, "kill "+pid+"; sleep 1; plugsched uninstall")
		})
	}
}

// TestRemains: everything that leads into a module is found before it is unloaded.
func TestRemains(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/remains.ko", variant(t, "test/guest/testdata/remains.patch")))
	installs(t, m, "plugsched install /remains.ko")
	out, code := sh(t, m, "plugsched uninstall")
	if code != 5 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"device plugsched_misc", "character device ", "plugsched_proc in /proc",
		"file plugsched_attribute in kernel in /sys",
		"cgroup files cpu.plugsched_files", "probe remains_event [", " on trace event sched_process_exit", "kprobe on ksys_sync+0x0",
		"kprobe on ksys_sync_helper+0x0",
		"function tracer remains_trace", "(plugsched_never) is to run remains_thread"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// TestStranded: a module is not unloaded as long as tasks have a scheduling class that the
// kernel does not have, zombies among them.
func TestStranded(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/stranded.ko", variant(t, "test/guest/testdata/stranded.patch")))
	installs(t, m, "plugsched install /stranded.ko")
	ok(t, m, "mkfifo /run/never && printf '#!/bin/sh\\nread x < /run/never\\n' > /run/stranded && chmod +x /run/stranded")
	sleeper := ok(t, m, "/run/stranded > /dev/null 2>&1 & echo $!; sleep 1")
	zombie := ok(t, m, "sh -c '/run/stranded & echo $!; exec sleep 100000 > /dev/null 2>&1' > /run/zombie & sleep 1; cat /run/zombie; kill -9 $(cat /run/zombie)")
	ok(t, m, "until grep -q '^State:.*Z' /proc/"+zombie+"/status; do sleep 1; done")
	out, code := sh(t, m, "plugsched uninstall")
	for _, pid := range []string{sleeper, zombie} {
		if want := "task " + pid + " (stranded) has the class stranding"; code != 5 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, and %q is not in\n%s", code, want, out)
		}
	}
}

// TestStrandedFork: a task that is being made has its class too, and only its parent's stack
// knows it; but not every word on such a stack is a task.
func TestStrandedFork(t *testing.T) {
	t.Parallel()
	m := borrow(t, addSchedtest(t))
	ok(t, m, "insmod /schedtest.ko")
	const asleep = "until grep -q 'State:.*S' /proc/$!/status && grep -q fork_write /proc/$!/stack; do sleep 0.1; done; echo $!"
	for _, c := range []struct {
		kind string
		code int
	}{{"word", 0}, {"task", 5}} {
		name := installs(t, m, "plugsched install /scheduler.ko")
		pid := ok(t, m, inBackground("exec /bin/busybox sh -c 'echo "+c.kind+" plugsched_retire > "+schedtest+"/fork'")+asleep)
		out, code := sh(t, m, "plugsched uninstall")
		if found := strings.Contains(out, "makes a task with a class of the module's"); code != c.code || found != (code != 0) {
			t.Errorf("%s: exit code %d, expected %d:\n%s", c.kind, code, c.code, out)
		}
		ok(t, m, "kill -9 "+pid+"; while [ -d /proc/"+pid+" ]; do sleep 0.1; done")
		if code != 0 {
			ok(t, m, "plugsched uninstall || rmmod "+name)
		}
		stock(t, m)
	}
	ok(t, m, "rmmod schedtest")
}
