// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A patience measures for how long a guest could have done something. What its process
// spent waiting for a CPU of a host that is busy with others does not count: a guest is
// judged by what it does with its time, whatever the host's load.
type patience struct {
	pid    int
	last   time.Time
	waited map[string]time.Duration // by thread
}

func newPatience(pid int) *patience {
	p := &patience{pid: pid, last: time.Now()}
	p.waited = p.waits()
	return p
}

// spend returns the guest's time since the call before.
func (p *patience) spend() time.Duration {
	now, waits := time.Now(), p.waits()
	// The threads wait for each other: the one that waited longest held up all.
	var longest time.Duration
	for thread, waited := range waits {
		longest = max(longest, waited-p.waited[thread])
	}
	own := max(0, now.Sub(p.last)-longest)
	p.last, p.waited = now, waits
	return own
}

// waits is how long each thread has waited on a run queue of the host, so far (sched.h,
// sched_info.run_delay). Where the host's kernel does not say, nobody has.
func (p *patience) waits() map[string]time.Duration {
	waits := map[string]time.Duration{}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		var ran, waited time.Duration
		if n, _ := fmt.Sscanf(string(text), "%d %d", &ran, &waited); n == 2 {
			waits[file] = waited
		}
	}
	return waits
}
