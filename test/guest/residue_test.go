// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"strings"
	"testing"
)

// TestResidue: what a module put into a hole of task_struct is not there any more when the next
// one begins, neither in tasks that lived through it nor in the children that they have all the
// time. Where both have something in one place, the one cannot take over from the other.
func TestResidue(t *testing.T) {
	t.Parallel()
	m := borrow(t, both(with("/marks.ko", variant(t, "test/guest/testdata/marks.patch")),
		with("/marked.ko", variant(t, "test/guest/testdata/marked.patch")),
		with("/bin/forks", compileC(t, "forks.c"))))
	ok(t, m, "for i in 1 2; do forks > /dev/null 2>&1 & done; pidof forks")
	// One that never leaves its CPU is asked there.
	spinner := ok(t, m, "taskset 2 sh -c 'while :; do :; done' > /dev/null 2>&1 & echo $!")
	installs(t, m, "plugsched install /marks.ko")
	ok(t, m, "sleep 2") // all yield
	if out, code := sh(t, m, "plugsched install --replace /marked.ko"); code != 3 ||
		!strings.Contains(out, "another member in the same hole") {
		t.Errorf("replaced: exit code %d\n%s", code, out)
	}
	ok(t, m, "plugsched uninstall")
	for range rounds(1, 3) {
		ok(t, m, "dmesg -c > /dev/null")
		installs(t, m, "plugsched install /marked.ko")
		says(t, m, "yields are seen")
		ok(t, m, "sleep 2; plugsched uninstall")
		if out, _ := sh(t, m, "dmesg | grep 'before anybody wrote it'"); out != "" {
			t.Errorf("a new scheduler reads what another one wrote: %s", out)
		}
		installs(t, m, "plugsched install /marks.ko")
		ok(t, m, "sleep 1; plugsched uninstall")
	}
	ok(t, m, "kill "+spinner+" $(pidof forks); while pidof forks; do sleep 0.1; done")
}
