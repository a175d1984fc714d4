// SPDX-License-Identifier: BSD-3-Clause

package native

import (
	"math"
	"slices"
	"testing"
	"time"
)

// TestTSC: the frequency holds for a longer time than it was measured in.
func TestTSC(t *testing.T) {
	t1, c1 := tscAt()
	time.Sleep(200 * time.Millisecond)
	t2, c2 := tscAt()
	want := float64(c2-c1) / float64(t2.Sub(t1)) * float64(time.Millisecond)
	if got := float64(CounterKHz()); math.Abs(got-want) > want/1000 {
		t.Errorf("%v kHz, expected about %v", got, want)
	}
}

// TestJumps: every jump is found wherever it is, also one that is cut off by no more than
// its end, and yield ends it.
func TestJumps(t *testing.T) {
	code := []byte{0x90, 0xe9, 0x10, 0, 0, 0, 0xe9, 0xf0, 0xff, 0xff, 0xff, 0xe9, 1, 2, 3}
	var got []uint64
	Jumps(code, 0x1000, func(target uint64) bool {
		got = append(got, target)
		return true
	})
	if want := []uint64{0x1016, 0xffb}; !slices.Equal(got, want) {
		t.Errorf("%#x, expected %#x", got, want)
	}
	n := 0
	Jumps(code, 0x1000, func(uint64) bool { n++; return false })
	if n != 1 {
		t.Errorf("%d calls, expected 1", n)
	}
}
