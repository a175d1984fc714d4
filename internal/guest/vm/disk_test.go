// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"slices"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch"
)

// TestRebooted: a kernel that was asked to restart says so with its last words.
func TestRebooted(t *testing.T) {
	for console, want := range map[string]bool{
		"[   21.7] reboot: Restarting system\r\n[   21.8] reboot: machine restart\r\n": true,
		"[    8.4] sysrq: Resetting\r\n":                                               true,
		"[    1.0] reboot: Restarting system\r\n[    2.0] Kernel panic - not syncing: x\r\n[    2.0] ---[ end Kernel panic - not syncing": false,
		"[   21.7] reboot: Power down\r\n": false,
		"":                                 false,
	} {
		if got := rebooted(arch.X86, []byte(console)); got != want {
			t.Errorf("%q: %v, expected %v", console, got, want)
		}
	}
}

// TestDiskArgs: a guest without a disk is as it was; with one, paths with commas are
// one value, and a port is only open when asked for.
func TestDiskArgs(t *testing.T) {
	a := arch.X86
	if args := diskArgs(&Config{}, a); args != nil {
		t.Errorf("without a disk: %q", args)
	}
	c := &Config{Disk: "/a,b.qcow2", JournalLog: "/c,d.log"}
	args := diskArgs(c, a)
	for _, w := range []string{"if=none,id=disk,format=qcow2,file=/a,,b.qcow2", "file,id=journal,path=/c,,d.log"} {
		if !slices.Contains(args, w) {
			t.Errorf("%q is not in %q", w, args)
		}
	}
	if line := strings.Join(args, " "); strings.Contains(line, "hostfwd") {
		t.Errorf("a port was not asked for: %s", line)
	}
	c.SSHPort = 2222
	if line := strings.Join(diskArgs(c, a), " "); !strings.Contains(line, "restrict=on,hostfwd=tcp:127.0.0.1:2222-:22") {
		t.Errorf("no port: %s", line)
	}
	if words := c.commandLine(a); !slices.Contains(words, "PLUGSCHED_DISK=/dev/vda") || !slices.Contains(words, "PLUGSCHED_JOURNAL=ttyS2") {
		t.Errorf("the init does not learn of the disk: %q", words)
	}
}
