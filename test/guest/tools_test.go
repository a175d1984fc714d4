// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched/test/oldcode"
)

// TestTools proves on the stock kernel that the tools with which other tests
// judge an update can fail.
func TestTools(t *testing.T) {
	t.Run("trap", testTrap)
}

// testTrap: the stock scheduler runs into the traps at once, is named, and goes on
// running.
func testTrap(t *testing.T) {
	m := boot(t, addSchedtest(t))
	ok(t, m, "insmod /schedtest.ko && schedload start --spec light")
	for list, why := range map[string]string{
		"x ffff888000000000 10":   "is outside of the kernel's text",
		"x 1000":                  "is not NAME START LEN",
		"x $stext 10\ny $stext 1": "is below the end of the range before it",
	} {
		out, code := sh(t, m, "stext=$(awk '$3 == \"_stext\" { print $1 }' /proc/kallsyms); dmesg -c > /dev/null; echo \""+list+"\" > "+schedtest+"/trap; err=$?; dmesg; exit $err")
		if code == 0 || !strings.Contains(out, why) {
			t.Errorf("%q: %d, expected that it %s:\n%s", list, code, why, out)
		}
	}
	list := oldCode(t)
	for range 3 {
		trap(t, m, list)
		time.Sleep(3 * time.Second)
		n, report := hits(t, m)
		if n < 50 || strings.Count(report, "\nhit ") != 32 || !strings.Contains(report, "hit try_to_wake_up at ") {
			t.Errorf("the scheduler ran into %d traps:\n%s", n, report)
		}
		ok(t, m, "schedload check --seconds 3")
		ok(t, m, "echo 1 > "+schedtest+"/untrap")
	}
	trap(t, m, slices.DeleteFunc(slices.Clone(list), func(r oldcode.Range) bool { return r.Name != "__schedule" }))
	time.Sleep(time.Second)
	if n, report := hits(t, m); n != 1 || !strings.Contains(report, "hit __schedule at __schedule+") || !strings.Contains(report, "\n\tschedule") {
		t.Errorf("__schedule alone:\n%s", report)
	}
	ok(t, m, "echo 1 > "+schedtest+"/untrap")
	// What was not hit must be as it was, too: the module checks nothing itself.
	trap(t, m, list)
	ok(t, m, "rmmod schedtest && schedload check --seconds 3 && schedload stop")
}
