// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"testing"
	"time"
)

// TestLive: a Debian boots, is updated, rebooted and crashed; what was written to
// the disk stays, what was loaded does not.
func TestLive(t *testing.T) {
	t.Parallel()
	a := shared.a
	m := newMachine(t, program(shared.tool), a.file(t, "*.ko", "scheduler.ko"))
	if state := m.up(); state != "running" {
		t.Errorf("the system is %s:\n%s", state, m.ok("systemctl list-units --failed; systemctl list-jobs"))
	}
	if r := m.ok("uname -r; . /etc/os-release; echo $ID $VERSION_ID; systemctl is-active multi-user.target"); r != shared.release+"\ndebian 12\nactive" {
		t.Errorf("this is no Debian as expected: %q", r)
	}
	m.runs("")
	m.ok("plugsched install /run/test/scheduler.ko")
	m.runs(a.module)
	m.ok("systemd-run --wait --quiet true")
	m.ok("plugsched uninstall")
	m.runs("")
	m.ok("plugsched install /run/test/scheduler.ko && echo kept > /root/file")
	m.down()

	m.up()
	m.runs("")
	if text := m.ok("cat /root/file"); text != "kept" {
		t.Errorf("the file holds %q", text)
	}
	m.ok("plugsched install /run/test/scheduler.ko && echo again > /root/file && sync")
	m.sh("echo 1 > /proc/sys/kernel/sysrq; (sleep 1; echo c > /proc/sysrq-trigger) &")
	m.crashes(time.Minute)

	m.up()
	m.runs("")
	if text := m.ok("cat /root/file; journalctl --boot=-1 --quiet | tail -n 1 > /root/file"); text != "again" {
		t.Errorf("the file holds %q", text)
	}
	m.off()
}
