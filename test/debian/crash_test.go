// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"plugsched/internal/artefact/installed"
)

// batch is a service of the machine whose tasks the crashing scheduler cannot stand.
const batch = `[Unit]
Description=Work that never ends
[Service]
CPUSchedulingPolicy=batch
ExecStart=/bin/sh -c 'while :; do sleep 1; done'
[Install]
WantedBy=multi-user.target
`

// TestCrash: a scheduler that crashes the machine does so once: the next boot stays
// with the kernel's own, and says why, until something has changed. An installation
// that the crash has interrupted can be taken back.
func TestCrash(t *testing.T) {
	t.Parallel()
	good := build(t, "b", "", "examples/hello.patch", "test/debian/testdata/wait.patch")
	bad := build(t, "crash", "", "examples/broken/crash.patch")
	m := newMachine(t, program(shared.tool), good.file(t, "*.deb", "good.deb"), bad.file(t, "*.deb", "bad.deb"))
	name, unit := "scheduler-"+shared.release, installed.Unit(shared.release)
	why := fmt.Sprintf("in an earlier boot %s 0.1 (%s) was loaded and not confirmed before the machine went down", name, bad.module)

	// It crashes while it is installed.
	m.up()
	m.ok("cat > /etc/systemd/system/batch.service <<'END'\n" + batch + "END\nsystemctl daemon-reload; systemctl start batch; sync")
	m.begin("apt-get install -y -q /run/test/bad.deb")
	m.crashes(3 * time.Minute)
	m.up()
	m.runs("")
	if s := m.ok("dpkg-query --show --showformat '${db:Status-Status}' " + name); s == "installed" {
		t.Errorf("the package is %s", s)
	}
	m.ok("systemctl start batch")
	m.fails("dpkg --configure -a", why, "plugsched guard --reset")
	m.runs("")
	m.ok("apt-get purge -y -q " + name)
	m.ok("systemctl stop batch")

	// It goes well when it is installed, and crashes at the next boot.
	m.install("/run/test/bad.deb")
	m.runs(bad.module)
	m.ok("systemctl enable batch")
	m.down()
	m.boot()
	m.crashes(5 * time.Minute)
	for tripped := range 2 {
		if tripped > 0 {
			m.down()
		}
		if state := m.up(); state != "degraded" {
			t.Errorf("the system is %s", state)
		}
		m.runs("")
		m.says("systemctl --failed", m.ok("systemctl --failed"), unit)
		m.says("systemctl status", m.unit(), "not loaded: "+why)
		m.says("the journal", m.ok("journalctl --boot --unit "+unit), why, "plugsched guard --reset")
		m.says("plugsched guard", m.ok("plugsched guard"), "tripped:    "+why)
	}

	// Another version is another chance.
	m.install("/run/test/good.deb")
	m.runs(good.module)
	if left := m.ok("systemctl --failed --plain --no-legend"); left != "" {
		t.Errorf("still failed: %s", left)
	}
	m.down()
	if state := m.up(); state != "running" {
		t.Errorf("the system is %s", state)
	}
	m.runs(good.module)
	if text := m.ok("plugsched guard"); !strings.Contains(text, "not tripped") {
		t.Errorf("the guard says\n%s", text)
	}
	m.off()
}
