// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && own

package guest

import (
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// TestChecked: a kernel that looks after its locks, objects, lists and memory (test/own/debug.config) has nothing to
// say about updates of any kind, under the load. That it still looked in the end, it says too: the first splat of
// lockdep's is its last.
func TestChecked(t *testing.T) {
	ownTree(t)
	starve := variant(t, "examples/broken/starve.patch")
	m := boot(t, func(c *vm.Config) {
		other(t)(c)
		with("/broken.ko", starve)(c)
		addChrt(t, c)
		// Shadow and quarantine of KASAN's take a quarter of it; such a kernel boots slowly.
		c.MemoryMiB, c.BootTimeout, c.HangTimeout = 3072, 10*time.Minute, 5*time.Minute
		// So many checks in an emulator on a busy host are ten times as slow as a kernel that stalls is.
		c.Append = []string{"rcupdate.rcu_cpu_stall_timeout=300", "watchdog_thresh=60"}
	})
	config := ok(t, m, "zcat /proc/config.gz")
	for _, line := range []string{"CONFIG_PROVE_LOCKING=y", "CONFIG_PROVE_RCU=y", "CONFIG_DEBUG_ATOMIC_SLEEP=y", "CONFIG_DEBUG_LIST=y",
		"CONFIG_DEBUG_OBJECTS_WORK=y", "CONFIG_DEBUG_OBJECTS_TIMERS=y", "CONFIG_DEBUG_OBJECTS_RCU_HEAD=y", "CONFIG_KASAN=y"} {
		if !strings.Contains(config, line) {
			t.Errorf("the kernel is not configured with %s", line)
		}
	}
	// Without short quotas: the kernel says with a lock held that it is too slow for them, of which lockdep has its own opinion.
	ok(t, m, "schedload start --spec light,cgchurn=0")
	for range rounds(2, 10) {
		name := insists(t, m, "plugsched install /scheduler.ko")
		goesOn(t, m)
		insists(t, m, "plugsched install --replace /other.ko")
		goesOn(t, m)
		insist(t, m, "plugsched uninstall")
		goesOn(t, m)

		insist(t, m, "plugsched try --for 5s /scheduler.ko") // which may be over before anybody asks
		if report := rolledBack(t, m, name, 5*time.Second); !strings.HasPrefix(report, "it was not confirmed in time") {
			t.Errorf("report:\n%s", report)
		}
		goesOn(t, m)
		insists(t, m, "plugsched try --for 1h /scheduler.ko")
		ok(t, m, "plugsched reject")
		insists(t, m, "plugsched install /scheduler.ko")
		ok(t, m, "echo x > /proc/sysrq-trigger")
		if report := rolledBack(t, m, name, time.Second); !strings.HasPrefix(report, "SysRq\n") {
			t.Errorf("report:\n%s", report)
		}
		insist(t, m, "plugsched uninstall")
		goesOn(t, m)
	}

	// CPUs come and go while a scheduler is installed and while it is not.
	insists(t, m, "plugsched install /scheduler.ko")
	ok(t, m, "for i in 3 2 3; do cd /sys/devices/system/cpu/cpu$i; echo 0 > online; sleep 0.5; echo 1 > online; done")
	goesOn(t, m)
	insist(t, m, "plugsched uninstall")
	goesOn(t, m)
	ok(t, m, "schedload stop")

	// The watchdog rolls back a scheduler that starves a task.
	ok(t, m, inBackground("taskset 4 sh -c 'while [ ! -e /run/enough ]; do :; done'"))
	ok(t, m, inBackground("chrt -b 0 taskset 4 sh -c 'while [ ! -e /run/enough ]; do sleep 0.1; done'"))
	name := insists(t, m, "plugsched install --watchdog 2s /broken.ko")
	if report := rolledBack(t, m, name, time.Minute); !strings.Contains(report, " was not run for ") {
		t.Errorf("report:\n%s", report)
	}
	ok(t, m, "touch /run/enough")
	insist(t, m, "plugsched uninstall")

	if locks := ok(t, m, "grep debug_locks: /proc/lockdep_stats"); strings.Fields(locks)[1] != "1" {
		t.Errorf("lockdep has given up: %s", locks)
	}
}

// insists is installs for a kernel that preempts tasks inside of its scheduler, too.
func insists(t *testing.T, m *vm.Machine, command string) (name string) {
	t.Helper()
	insist(t, m, command)
	return nowRuns(t, m, command)
}
