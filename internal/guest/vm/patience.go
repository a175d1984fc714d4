// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// spend returns the guest's time since the call before. It is negative if a thread has
// waited for longer: a wait is known when it is over.
func (p *patience) spend() time.Duration {
	now, waits := time.Now(), p.waits()
	// The threads wait for each other: the one that waited longest held up all.
	var longest time.Duration
	for thread, waited := range waits {
		longest = max(longest, waited-p.waited[thread])
	}
	own := now.Sub(p.last) - longest
	p.last, p.waited = now, waits
	return own
}

// Stopwatch measures the time in which the guest could do something: what QEMU spends
// waiting for a CPU of a busy host does not count. Bounds on what a guest does are held
// against it, not against the host's clock.
func (m *Machine) Stopwatch() (own func() time.Duration) {
	const step = time.Second // in less, the threads' waits do not overlap, and count twice
	p := newPatience(m.qemu.cmd.Process.Pid)
	var sum time.Duration
	return func() time.Duration {
		if time.Since(p.last) >= step {
			sum += p.spend()
		}
		return sum
	}
}

// CPUTime is what the emulator has used of the host's CPUs so far (utime and stime of
// proc(5)): unlike the time that passes, it does not depend on what else the host does.
// It is 0 where the host does not say.
func (m *Machine) CPUTime() time.Duration {
	select {
	case <-m.qemu.done:
		return m.qemu.cmd.ProcessState.UserTime() + m.qemu.cmd.ProcessState.SystemTime()
	default:
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.qemu.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The second field, the name, is in parentheses; utime and stime are the 14th and 15th.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks
}

// clockTicks is USER_HZ, in which proc(5) counts (sysconf(_SC_CLK_TCK)): 100 on all
// architectures but alpha.
const clockTicks = 100

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
