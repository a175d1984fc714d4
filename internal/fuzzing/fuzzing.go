// SPDX-License-Identifier: BSD-3-Clause

// Package fuzzing bounds what a parser may use on one input of a fuzz test.
package fuzzing

import (
	"runtime/metrics"
	"syscall"
	"testing"
	"time"
)

const (
	maxAlloc = 256 << 20        // bytes; inputs have up to 1 MiB
	maxCPU   = 10 * time.Second // generous: coverage counters cost a factor of ten
	maxWall  = 5 * time.Minute  // of something that does not end; other work runs beside
)

// Bounded runs f and fails the test if it allocates or computes far more than
// its small input can need. A call that does not end crashes the process, which
// is what makes the fuzzer keep its input.
func Bounded(t testing.TB, f func()) {
	t.Helper()
	watchdog := time.AfterFunc(maxWall, func() { panic("the parser does not end") })
	defer watchdog.Stop()
	alloc, cpu := allocated(), cpuTime()
	f()
	if n := allocated() - alloc; n > maxAlloc {
		t.Errorf("allocated %d MiB", n>>20)
	}
	if d := cpuTime() - cpu; d > maxCPU {
		t.Errorf("took %v", d)
	}
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
