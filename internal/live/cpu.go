// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// onEveryCPU runs f on each CPU that this process may use, in turn, and puts the
// thread's affinity back.
func onEveryCPU(f func(cpu int)) error {
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
		f(cpu)
	}
	return nil
}
