// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"sync"
	"time"
)

// readTSC reads this CPU's time stamp counter.
func readTSC() uint64

// tscKHz is the frequency of the host's time stamp counters. QEMU's tcg shows them to the
// guest as they are, whose kernel measures them against emulated timers: on a busy host
// it is wrong by a factor, and so is all its time.
var tscKHz = sync.OnceValue(func() int {
	const interval = 20 * time.Millisecond
	t1, c1 := tscAt()
	time.Sleep(interval)
	t2, c2 := tscAt()
	return int((c2 - c1) * uint64(time.Second/1000) / uint64(t2.Sub(t1)))
})

// tscAt reads both clocks at the same moment: the closest of some pairs, as this
// thread may lose its CPU in between.
func tscAt() (at time.Time, count uint64) {
	closest := time.Hour
	for range 50 {
		before := time.Now()
		c := readTSC()
		if d := time.Since(before); d < closest {
			closest, at, count = d, before.Add(d/2), c
		}
	}
	return at, count
}
