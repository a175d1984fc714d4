// SPDX-License-Identifier: BSD-3-Clause

// Command boost is boosted: its first thread holds a lock that a realtime thread waits for, and lets go of it when
// a file appears, again and again.
//
//	boost FILE
//
// It says "boosted" when the realtime thread waits, and "free" when that had the lock and the
// first thread runs on.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lock is a PI futex: 0, or the number of the thread that has it.
var lock uint32

// Of linux/futex.h; private ones.
const (
	futexLockPI   = 6 | 128
	futexUnlockPI = 7 | 128
	waiters       = 1 << 31
)

func futex(op uintptr) {
	if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&lock)), op, 0, 0, 0, 0); errno != 0 {
		fmt.Println("futex:", errno)
		os.Exit(1)
	}
}

// The first thread is the one whose number is the process's.
func init() { runtime.LockOSThread() }

func main() {
	wanted, had := make(chan bool), make(chan bool)
	go func() {
		runtime.LockOSThread()
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 50}
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for range wanted {
			futex(futexLockPI)
			futex(futexUnlockPI)
			had <- true
		}
	}()
	for {
		futex(futexLockPI)
		wanted <- true
		for atomic.LoadUint32(&lock)&waiters == 0 {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("boosted")
		for os.Remove(os.Args[1]) != nil {
			time.Sleep(10 * time.Millisecond)
		}
		futex(futexUnlockPI)
		<-had
		fmt.Println("free")
	}
}
