// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestGroups: a host with thousands of containers and sessions. Every group has a run
// queue on each CPU, which an update has to leave as it was.
func TestGroups(t *testing.T) {
	t.Parallel()
	rarely(t, true) // TestManyGroups has as many, and tells what was called
	m := borrow(t, nil)
	const groups, sessions = 4000, 2000
	figures := func(when string) {
		t.Helper()
		x := status(t, m).Timings
		t.Logf("%s: clear %v, rebuild %v", when, time.Duration(x.Clear), time.Duration(x.Rebuild))
	}
	ok(t, m, "plugsched install /scheduler.ko")
	figures("without groups")
	ok(t, m, "plugsched uninstall")
	ok(t, m, fmt.Sprintf("schedload start --timeout 300 --spec light,cgroups=%d,sessions=%d", groups, sessions))
	if n := ok(t, m, "ls -d /sys/fs/cgroup/schedload-*/cgroups* | wc -l"); n != fmt.Sprint(groups) {
		t.Errorf("%s cgroups", n)
	}
	if n := ok(t, m, "cat /proc/[0-9]*/autogroup | cut -d ' ' -f 1 | sort -u | wc -l"); len(n) < 3 {
		t.Errorf("%s autogroups", n)
	}
	name := installs(t, m, "plugsched install /scheduler.ko")
	figures("with groups")
	goesOn(t, m)
	ok(t, m, "echo test > /sys/kernel/plugsched/"+rollback)
	if report := rolledBack(t, m, name, 5*time.Second); !strings.HasPrefix(report, "asked for: test\n") {
		t.Errorf("report:\n%s", report)
	}
	figures("rolled back")
	goesOn(t, m)
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
	goesOn(t, m)
	ok(t, m, "schedload stop")
	stock(t, m)
}
