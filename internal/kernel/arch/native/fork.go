// SPDX-License-Identifier: BSD-3-Clause

package native

import "syscall"

// lightFork returns what clone(2) does.
//
//go:noescape
func lightFork(session, spin uintptr) (pid uintptr)

// Fork makes a process that spins or sleeps until it is killed, or until the thread that made it ends; in a session of
// its own if that is wanted. It has this one's memory, as copying that would take longer than all else.
func Fork(session, spin bool) (pid uintptr, err syscall.Errno) {
	number := func(b bool) uintptr {
		if b {
			return 1
		}
		return 0
	}
	pid = lightFork(number(session), number(spin))
	// The kernel's errors are the last 4095 numbers.
	if pid > ^uintptr(4095) {
		return 0, syscall.Errno(-pid)
	}
	return pid, 0
}
