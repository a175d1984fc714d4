// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"strings"
	"testing"
)

// TestPerCPU: new per-CPU variables of all kinds are there once for each CPU, aligned
// and with their initial values, whatever section their macros put them in.
func TestPerCPU(t *testing.T) {
	t.Parallel()
	const firstMostly = 1000000 // what yields_mostly begins with
	m := borrow(t, both(with("/percpu.ko", variant(t, "test/guest/testdata/percpu.patch")), with("/bin/yield", compileC(t, "yield.c"))))
	installs(t, m, "plugsched install /percpu.ko")
	counts := func() (out [][4]int) {
		t.Helper()
		for line := range strings.Lines(ok(t, m, "grep '^yields ' /proc/schedstat")) {
			var cpu, aligned int
			var n [4]int
			if _, err := fmt.Sscanf(line, "yields %d %d %d %d %d %d", &cpu, &n[0], &n[1], &n[2], &n[3], &aligned); err != nil || cpu != len(out) {
				t.Fatalf("%q: %v", line, err)
			}
			if n[2] -= firstMostly; aligned != 1 || n[2] < 0 {
				t.Errorf("%q: not aligned, or not initialised", line)
			}
			out = append(out, n)
		}
		return out
	}
	before := counts()
	ok(t, m, "yield")
	after := counts()
	if len(after) != 4 || len(before) != len(after) {
		t.Fatalf("counts of %d CPUs, then of %d", len(before), len(after))
	}
	for cpu := range after {
		for i := range after[cpu] {
			// The kernel yields too, now and then.
			if n := after[cpu][i] - before[cpu][i]; n < 100 || n > 10000 {
				t.Errorf("CPU %d: variable %d counts %d yields", cpu, i, n)
			}
		}
	}
	ok(t, m, "plugsched uninstall")
}
