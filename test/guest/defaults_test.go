// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"testing"
)

// TestDefaults: what a project wants of features and variables is so when its scheduler takes over, and not
// when another does; in between, what the administrator sets counts.
func TestDefaults(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/defaults.ko", variant(t, "test/guest/testdata/defaults.patch")))
	const slice = "/proc/sys/kernel/sched_cfs_bandwidth_slice_us"
	has := func(when string, set bool, us int) {
		t.Helper()
		want := fmt.Sprintf("NEXT_BUDDY %d", us)
		if !set {
			want = "NO_" + want
		}
		if got := ok(t, m, "echo $(tr ' ' '\\n' <"+features+" | grep -x -e NEXT_BUDDY -e NO_NEXT_BUDDY) $(cat "+slice+")"); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	has("before", false, 5000)
	ok(t, m, "plugsched install /defaults.ko")
	has("installed", true, 3000)
	ok(t, m, "plugsched uninstall")
	has("removed", false, 5000)

	// What is set before is taken over from, and comes back.
	ok(t, m, "echo NEXT_BUDDY >"+features+" && echo 4000 >"+slice+" && plugsched install /defaults.ko")
	has("installed over other settings", true, 3000)
	ok(t, m, "plugsched uninstall")
	has("removed over other settings", true, 4000)
	ok(t, m, "echo NO_NEXT_BUDDY >"+features+" && echo 5000 >"+slice)

	// From one module to the other and back.
	ok(t, m, "plugsched install /scheduler.ko && plugsched try --for 1h --replace /defaults.ko")
	has("tried", true, 3000)
	ok(t, m, "plugsched confirm && plugsched install --replace /scheduler.ko")
	has("replaced", false, 5000)
	ok(t, m, "plugsched install --replace /defaults.ko")
	has("replaced again", true, 3000)

	// What is set while it runs stays.
	ok(t, m, "echo NO_NEXT_BUDDY >"+features+" && echo 4000 >"+slice+" && plugsched install --replace /scheduler.ko")
	has("set and replaced", false, 4000)
	ok(t, m, "plugsched uninstall")
	has("set, replaced and removed", false, 4000)
	ok(t, m, "echo 5000 >"+slice)
}
