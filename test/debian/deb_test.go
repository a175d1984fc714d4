// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
)

// install installs a package as the documentation says, and lets systemd learn of it.
func (m *machine) install(deb string) string {
	m.t.Helper()
	out := m.ok("apt-get install -y -q " + deb)
	m.ok("while systemctl list-jobs --plain --no-legend | grep -q plugsched; do sleep 0.2; done")
	return out
}

// unit is what systemd says about the package's service, which may have failed.
func (m *machine) unit() string {
	m.t.Helper()
	out, _ := m.sh("systemctl status --full --no-pager " + installed.Unit(shared.release))
	return out
}

// files lists what is on the disk and does not change by itself.
func (m *machine) files() map[string]bool {
	m.t.Helper()
	set := map[string]bool{}
	for name := range strings.Lines(m.ok(`find / -xdev \( -path /var/log -o -path /var/cache/apt -o -path '/var/lib/dpkg/*-old' \
		-o -path /var/lib/apt -o -path /var/lib/rpm -o -path /var/lib/systemd -o -path /tmp -o -path /var/tmp -o -path /root \) -prune -o -print`)) {
		set[strings.TrimSpace(name)] = true
	}
	return set
}

// same checks that the disk holds the files that it held before.
func (m *machine) same(before map[string]bool) {
	m.t.Helper()
	after := m.files()
	for f := range after {
		if !before[f] {
			m.t.Errorf("%s is left behind", f)
		}
	}
	for f := range before {
		if !after[f] {
			m.t.Errorf("%s is gone", f)
		}
	}
}

// TestDeb: a package's life, from apt install to purge.
func TestDeb(t *testing.T) {
	t.Parallel()
	a := shared.a
	b := build(t, "b", "", "examples/hello.patch", "test/debian/testdata/wait.patch")
	m := newMachine(t, program(shared.tool), a.file(t, "*.deb", "a.deb"), b.file(t, "*.deb", "b.deb"))
	name := "scheduler-" + shared.release

	m.up()
	before := m.files()
	m.says("apt-get install", m.install("/run/test/a.deb"), name+" 0.1 is the running scheduler", a.module)
	m.runs(a.module)
	m.says("systemctl status", m.unit(), "active (exited)", name+" 0.1 is the running scheduler")
	m.down()

	if state := m.up(); state != "running" {
		t.Errorf("the system is %s:\n%s", state, m.ok("systemctl list-units --failed"))
	}
	m.runs(a.module)
	m.says("systemctl status", m.unit(), "active (exited)", name+" 0.1 is the running scheduler")
	m.says("the journal", m.ok("journalctl --boot --unit "+installed.Unit(shared.release)), name+" 0.1 is the running scheduler",
		"all CPUs stood still for")
	m.down()

	if state := m.up("plugsched.enable=0"); state != "running" {
		t.Errorf("the system is %s:\n%s", state, m.ok("systemctl list-units --failed"))
	}
	m.runs("")
	m.says("systemctl status", m.unit(), "not loaded: plugsched.enable=0 is on the kernel command line")
	m.down()

	m.up()
	m.says("the upgrade", m.install("/run/test/b.deb"), name+" 0.2 is the running scheduler", b.module)
	m.runs(b.module)
	m.says("the kernel", m.ok("dmesg"), b.module+" took over from "+a.module)
	m.says("systemctl status", m.unit(), "active (exited)", name+" 0.2 is the running scheduler")
	m.ok("apt-get remove -y -q " + name)
	m.runs("")
	m.says("the kernel", m.ok("dmesg"), "the kernel's own scheduler took over from "+b.module)
	m.ok("apt-get purge -y -q " + name)
	m.same(before)
	m.off()
}
