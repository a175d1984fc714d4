// SPDX-License-Identifier: BSD-3-Clause

package native

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFork: such processes are children of ours, in our session or their own, and end when they are told.
func TestFork(t *testing.T) {
	// They end with the thread that made them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ours, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, alone := range []bool{false, true} {
		pid, errno := Fork(alone, false)
		if errno != 0 {
			t.Fatal(errno)
		}
		// It makes a session a moment after it is there.
		for sid := ours; alone && sid == ours; runtime.Gosched() {
			if sid, err = unix.Getsid(int(pid)); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Kill(int(pid), unix.SIGKILL); err != nil {
			t.Error(err)
		}
		var s syscall.WaitStatus
		if got, err := syscall.Wait4(int(pid), &s, 0, nil); err != nil || got != int(pid) || s.Signal() != syscall.SIGKILL {
			t.Errorf("session %v: %d %v %v", alone, got, s, err)
		}
	}
}
