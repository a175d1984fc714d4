// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

const scxState = "/sys/kernel/sched_ext/state"

// bpfScheduler lets a BPF scheduler begin, and returns what ends it.
func bpfScheduler(t *testing.T, m *vm.Machine, kind string) (end func()) {
	t.Helper()
	pid := ok(t, m, "living "+kind+" tiny > /run/scx 2>&1 & p=$!; for i in $(seq 600); do [ \"$(cat "+scxState+
		")\" = enabled ] && echo $p && exit; kill -0 $p || break; sleep 0.1; done; cat /run/scx; exit 1")
	return func() {
		t.Helper()
		ok(t, m, "kill "+pid+" && for i in $(seq 600); do [ $(cat "+scxState+") = disabled ] && exit; sleep 0.1; done; cat /run/scx; exit 1")
	}
}

// TestBPFScheduler: while a BPF scheduler runs, no process changes the scheduler below
// it; it begins, runs all tasks and ends while a module is in; and a rollback does not
// wait for it.
func TestBPFScheduler(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/bin/living", shared.root+"/bin/living"))
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		t.Skip("the kernel has no sched_ext")
	}
	ok(t, m, "schedload start --spec light")
	progress := func() { t.Helper(); ok(t, m, "schedload check --within 60") }
	refused := func(what, command, want string) {
		t.Helper()
		if out, code := sh(t, m, command); code == 0 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d:\n%s", what, code, out)
		}
	}
	const named = "sched_ext: tiny"
	for _, kind := range []string{"scx", "scx-partial"} {
		end := bpfScheduler(t, m, kind)
		progress()
		refused("install", "plugsched install /scheduler.ko", named)
		name := moduleName(t, shared.project.Module())
		// What the kernel's half says, as somebody could begin between two looks.
		refused("enable", "insmod /scheduler.ko && echo 1 > /sys/module/"+name+"/plugsched/enable", "Too many users")
		ok(t, m, "plugsched uninstall") // which only unloads it
		end()
		progress()

		ok(t, m, "plugsched install /scheduler.ko")
		end = bpfScheduler(t, m, kind)
		progress()
		refused("uninstall", "plugsched uninstall", named)
		progress()
		end()
		progress()
		ok(t, m, "plugsched uninstall")

		name = installs(t, m, "plugsched install /scheduler.ko")
		end = bpfScheduler(t, m, kind)
		ok(t, m, "echo a test > /sys/kernel/plugsched/rollback")
		rolledBack(t, m, name, 30*time.Second)
		progress()
		if state := ok(t, m, "cat "+scxState); state != "enabled" {
			t.Errorf("after a rollback the BPF scheduler is %s", state)
		}
		end()
		progress()
		ok(t, m, "plugsched uninstall")
		stock(t, m)
	}
	ok(t, m, "schedload stop")
}
