// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import "testing"

// TestDomain: what is said of an edit of what builds scheduling domains (refusals.md#builder), and
// the way that it names, are true: domains are those of the code that built them last, and
// taking a CPU off and on has them built anew, after the install and after the removal.
func TestDomain(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/domain.ko", variant(t, "test/guest/testdata/domain.patch")))
	expect := func(when, want string) {
		t.Helper()
		if is := ok(t, m, "cat /sys/kernel/debug/sched/domains/cpu0/domain0/busy_factor"); is != want {
			t.Errorf("%s: busy_factor is %s, expected %s", when, is, want)
		}
	}
	again := func() {
		t.Helper()
		ok(t, m, "cd /sys/devices/system/cpu/cpu1 && echo 0 > online && echo 1 > online")
	}
	expect("before", "16")
	installs(t, m, "plugsched install /domain.ko")
	expect("installed", "16")
	again()
	expect("after a CPU went and came", "48")
	ok(t, m, "plugsched uninstall")
	expect("removed", "48")
	again()
	expect("removed, and after a CPU went and came", "16")
}
