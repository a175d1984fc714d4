// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// everyCPU makes the scheduler run this thread on each CPU that it may use, and puts the
// thread's affinity back.
func everyCPU() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	defer unix.SchedSetaffinity(0, &may)
	for cpu := 0; cpu < len(may)*64; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err == unix.EINVAL {
			continue // went offline
		} else if err != nil {
			return fmt.Errorf("CPU %d does not schedule: sched_setaffinity: %w", cpu, err)
		}
	}
	return nil
}

// raisePriority raises the priority of the calling goroutine's thread until the returned
// function is called: on a machine whose CPUs are all taken, an update should not
// have to queue behind what it is to cure. It does nothing without the right.
func raisePriority() (relax func()) {
	runtime.LockOSThread()
	was, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return runtime.UnlockOSThread
	}
	unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	return func() {
		unix.Setpriority(unix.PRIO_PROCESS, 0, 20-was) // the system call returns 20 - nice
		runtime.UnlockOSThread()
	}
}
