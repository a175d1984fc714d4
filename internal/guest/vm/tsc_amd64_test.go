// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"math"
	"strings"
	"testing"
	"time"
)

// TestTSC: the frequency holds for a longer time than it was measured in.
func TestTSC(t *testing.T) {
	t1, c1 := tscAt()
	time.Sleep(200 * time.Millisecond)
	t2, c2 := tscAt()
	want := float64(c2-c1) / float64(t2.Sub(t1)) * float64(time.Millisecond)
	if got := float64(tscKHz()); math.Abs(got-want) > want/1000 {
		t.Errorf("%v kHz, expected about %v", got, want)
	}
	has := func(c *Config) bool {
		return strings.Contains(strings.Join(c.commandLine(&arches[0]), " "), "tsc_early_khz=")
	}
	if !has(&Config{Accel: "tcg"}) || has(&Config{Accel: "tcg", ICount: true}) || has(&Config{Accel: "kvm"}) {
		t.Error("a kernel is told the host's frequency exactly if it sees the host's counter")
	}
}
