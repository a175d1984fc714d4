// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/guest/vm"
)

// selects checks what everybody is told of the packages for the running kernel.
func (m *machine) selects(want string) {
	m.t.Helper()
	m.says("plugsched status", m.ok("setpriv --reuid=nobody --clear-groups plugsched status"), want)
}

// TestSwitch: two schedulers for one kernel are installed side by side, one is selected, and what
// fails leaves that one running and selected, whatever comes in between.
func TestSwitch(t *testing.T) {
	t.Parallel()
	a := shared.a
	b := build(t, "fast", "package:\n  name: fast\n  version: \"0.2\"\n", "examples/hello.patch", "test/debian/testdata/wait.patch")
	m := newMachine(t, program(shared.tool), a.file(t, "*.deb", "a.deb"), b.file(t, "*.deb", "b.deb"),
		a.file(t, "*.rpm", "a.rpm"), b.file(t, "*.rpm", "b.rpm"))
	unit := installed.Unit(shared.release)
	m.up()
	before := m.files()
	if out := m.install("/run/test/a.deb"); strings.Contains(out, "warning:") {
		t.Errorf("the first package:\n%s", out)
	}
	m.runs(a.module)
	m.ok("test -x /usr/sbin/plugsched")

	// The second one changes nothing until it is selected, in one step.
	m.says("the second package", m.install("/run/test/b.deb"), "is installed beside scheduler, which is selected: `plugsched switch fast`")
	m.runs(a.module)
	m.selects("installed:  fast 0.2, scheduler 0.1 (selected)")
	m.fails("plugsched switch nosuch", "no scheduler nosuch is installed", "there are fast, scheduler")
	m.says("switch", m.ok("plugsched switch fast"), "fast-"+shared.release+" 0.2 is the running scheduler ("+b.module)
	m.runs(b.module)
	m.selects("installed:  fast 0.2 (selected), scheduler 0.1")
	m.says("the kernel", m.ok("dmesg"), b.module+" took over from "+a.module)
	m.ok("while systemctl list-jobs --plain --no-legend | grep -q plugsched; do sleep 0.2; done")
	m.says("systemctl status", m.unit(), "active (exited)", "fast-"+shared.release+" 0.2 is the running scheduler")

	// A task is in the way; a switch is killed, and the kernel goes back by itself.
	m.begin("exec python3 -c 'import os; os.sched_get_priority_max(4242)'")
	m.ok("until grep -q sched_get_priority_max /proc/$(pidof python3)/stack; do sleep 0.1; done")
	m.fails("plugsched switch scheduler", "python3", "fast stays selected")
	m.runs(b.module)
	m.selects("fast 0.2 (selected)")
	m.ok("pkill python3")
	onTrial := "until test $(cat /sys/module/" + a.module + "/plugsched/try 2> /dev/null || echo 0) != 0; do sleep 0.1; done"
	m.begin("exec plugsched switch --trial 20s --settle 19s scheduler")
	m.ok(onTrial + "; pkill -KILL -f 'plugsched switc[h]'")
	m.ok("until grep -q 'rolled back' /sys/module/" + a.module + "/plugsched/state; do sleep 0.1; done")
	m.selects("fast 0.2 (selected)")
	if s := m.running(); s.Name != b.module {
		t.Fatalf("%q runs after a switch that was killed", s.Name)
	}

	// The machine goes down in the trial: the next boot has what was selected, and the other is kept back.
	m.ok("plugsched uninstall; systemctl restart " + unit)
	m.runs(b.module)
	m.begin("exec plugsched switch --trial 10m --settle 9m scheduler")
	m.ok(onTrial)
	m.sh("echo 1 > /proc/sys/kernel/sysrq; (sleep 1; echo b > /proc/sysrq-trigger) &")
	m.ended(vm.ErrRebooted)
	m.up()
	m.runs(b.module)
	m.fails("plugsched switch scheduler", "was loaded and not confirmed before the machine went down", "`plugsched guard --reset scheduler`",
		"fast stays selected")
	m.says("guard", m.ok("plugsched guard && plugsched guard scheduler"), "not tripped", "tripped:    in an earlier boot scheduler-")
	m.ok("plugsched guard --reset scheduler && plugsched switch scheduler")
	m.runs(a.module)

	// The selected one goes: the kernel's own runs, also after a boot, until one is selected.
	m.says("removal", m.ok("apt-get remove -y -q scheduler-"+shared.release), "the kernel's own scheduler runs",
		"no scheduler is selected any more, of fast: `plugsched switch NAME` does that")
	m.runs("")
	m.selects("installed:  fast 0.2\n")
	m.down()
	if state := m.up(); state != "running" {
		t.Errorf("the system is %s:\n%s", state, m.ok("systemctl list-units --failed"))
	}
	m.runs("")
	m.ok("plugsched switch fast && systemctl is-enabled " + unit)
	m.runs(b.module)

	// The one that is not selected goes: nothing changes.
	m.says("reinstall", m.install("/run/test/a.deb"), "is installed beside fast")
	m.ok("apt-get purge -y -q scheduler-" + shared.release)
	m.runs(b.module)
	m.says("systemctl status", m.unit(), "active (exited)")

	// Until the next boot, and for good.
	m.ok("plugsched uninstall && plugsched list | grep -q 'no  *yes$'")
	m.ok("plugsched switch fast")
	m.says("none", m.ok("plugsched switch --none"), "the kernel's own scheduler runs", "no scheduler is selected")
	m.runs("")
	if out, code := m.sh("systemctl is-enabled " + unit); code == 0 || strings.TrimSpace(out) != "disabled" {
		t.Errorf("the unit is %s", out)
	}
	m.fails("systemctl start " + unit)
	m.ok("plugsched switch --none; apt-get purge -y -q fast-" + shared.release)
	m.same(before)

	const rpm = "rpm --force-debian --nodeps "
	m.says("rpm -i", m.ok(rpm+"-i /run/test/a.rpm"), "is the running scheduler")
	m.says("rpm -i", m.ok(rpm+"-i /run/test/b.rpm"), "is installed beside scheduler")
	m.runs(a.module)
	m.ok("plugsched switch fast")
	m.ok(rpm + "-e scheduler-" + shared.release)
	m.runs(b.module)
	m.says("rpm -e", m.ok(rpm+"-e fast-"+shared.release), "the kernel's own scheduler runs")
	m.runs("")
	m.same(before)
	m.off()
}
