// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// TestHookedRollback: a kprobe on one jump does not keep a machine in a scheduler that is
// to be left. All others are taken back; that one goes on leading into the module, which
// therefore stays loaded for good, and says so.
func TestHookedRollback(t *testing.T) {
	t.Parallel()
	m := boot(t, other(t))
	const function = "wake_up_process"
	hits := func() int {
		t.Helper()
		n, err := strconv.Atoi(ok(t, m, "awk '{ print $2 }' "+tracing+"/kprobe_profile"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ok(t, m, "schedload start --spec light")
	name := installs(t, m, "plugsched try --for 1h /scheduler.ko")
	kprobe(t, m, "mine", jumpOf(t, m, function))
	ok(t, m, "echo test > /sys/kernel/plugsched/"+rollback)
	tooLate(t, m, name)
	report := rolledBack(t, m, name, time.Minute)
	t.Logf("report:\n%s", report)
	for _, want := range []string{"^asked for: test\n", `(?m)^.*\b` + function + `\b.*$`, "stays loaded"} {
		if !regexp.MustCompile(want).MatchString(report) {
			t.Errorf("%q is not in the report", want)
		}
	}
	goesOn(t, m)
	before := hits()
	ok(t, m, "sleep 1")
	if after := hits(); after <= before {
		t.Errorf("the kprobe does not work any more: %d hits, then %d", before, after)
	}
	left := func(when string) {
		t.Helper()
		if s := status(t, m); s.Active || len(s.Modules) != 1 || s.Modules[0].State != "rolled back" {
			t.Errorf("%s: %+v", when, s)
		}
		if out, code := sh(t, m, "plugsched uninstall"); code != 0 || !strings.Contains(out, "stays loaded") {
			t.Errorf("%s: uninstall: exit code %d\n%s", when, code, out)
		}
		if out, code := sh(t, m, "rmmod "+name+" 2>&1"); code == 0 {
			t.Errorf("%s: rmmod unloads it:\n%s", when, out)
		}
	}
	left("with the kprobe")
	ok(t, m, "echo 0 > "+tracing+"/events/kprobes/mine/enable; echo > "+kprobeEvents)
	left("without it")
	if out, code := sh(t, m, "plugsched install /other.ko"); code == 0 {
		t.Errorf("install beside what stays:\n%s", out)
	}
	goesOn(t, m)
	ok(t, m, "schedload stop")
}

// tooLate waits until a module is to be left and something is in the way, and wants it to
// be refused that it stays.
func tooLate(t *testing.T, m *vm.Machine, name string) {
	t.Helper()
	ok(t, m, "for i in $(seq 600); do grep -q 'has to wait' /sys/module/"+name+"/plugsched/report && exit; sleep 0.05; done; exit 1")
	for _, late := range []step{{name, "try", "0", syscall.EBUSY}, {name, rollback, "test", syscall.EALREADY}} {
		got := write(t, m, late.module, late.file, late.value)
		if state := ok(t, m, "cat /sys/module/"+name+"/plugsched/state"); got != late.want && state == "active" {
			t.Errorf("%s to %s while it has to roll back: error %d (%v), expected %v", late.value, late.file, got, got, late.want)
		}
	}
}

// TestUnreliableSleeper: tasks sleep in a module of somebody's that has no unwind
// information. An update is busy and names them. A rollback comes all the same: over them
// only, and to stay loaded, when what earlier calls left on their stacks looks like the
// scheduler.
func TestUnreliableSleeper(t *testing.T) {
	t.Parallel()
	shipped := fuseModule(t)
	if shipped == "" {
		t.Skip("FUSE is part of this kernel, and has unwind information")
	}
	fuse := filepath.Join(t.TempDir(), "fuse.ko")
	out, err := exec.CommandContext(t.Context(), "objcopy", "--remove-section=.orc_unwind", "--remove-section=.orc_unwind_ip",
		shipped, fuse).CombinedOutput()
	if err != nil {
		t.Fatalf("objcopy: %v\n%s", err, out)
	}
	m := boot(t, both(addAnnoy(t), with("/mine.ko", fuse)))
	ok(t, m, "insmod /mine.ko")
	sleep := func() {
		t.Helper()
		ok(t, m, "setsid sh -c 'echo $$ > /run/annoy.pid; exec annoy slow 1' > /run/annoy.log 2>&1 &")
		if !await(m, func() bool { _, code := sh(t, m, "grep -l fuse_dev_do_read /proc/[0-9]*/stack"); return code == 0 }) {
			t.Fatalf("nobody waits in the module:\n%s", ok(t, m, "cat /run/annoy.log"))
		}
	}
	sleep()
	if out, code := sh(t, m, "plugsched install /scheduler.ko"); code != 4 || !strings.Contains(out, "(annoy): stack cannot be unwound") {
		t.Errorf("install: exit code %d\n%s", code, out)
	}
	ok(t, m, "kill -9 -$(cat /run/annoy.pid); while pidof annoy > /dev/null; do sleep 0.1; done; umount /run/slow 2> /dev/null; true")
	name := installs(t, m, "plugsched try --for 1h /scheduler.ko")
	sleep()
	ok(t, m, "echo test > /sys/kernel/plugsched/"+rollback)
	report := rolledBack(t, m, name, time.Minute)
	if !strings.HasPrefix(report, "asked for: test\n") {
		t.Errorf("report:\n%s", report)
	}
	removed := ok(t, m, "plugsched uninstall")
	over := strings.Contains(report, "ignored")
	if over != strings.Contains(removed, "stays loaded") || over != (len(status(t, m).Modules) == 1) {
		t.Errorf("report:\n%s\nuninstall:\n%s", report, removed)
	}
}
