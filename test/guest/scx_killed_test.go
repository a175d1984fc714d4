// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/scx"
)

// TestSCXKilled: commands about schedulers in BPF are killed at every system call that has an effect. The scheduler runs and is
// pinned, or does not and is not, and the next command works. One that was to be tried is on trial if it runs, or has the kernel's own
// in its place: it is never one that nobody ends.
func TestSCXKilled(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/bin/killat", filepath.Join(shared.root, "test/killat/killat")))
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		t.Skip("the kernel has no sched_ext")
	}
	const stopped, loaded = "plugsched scx stop 2> /dev/null; true", "plugsched scx load simple 2> /dev/null; true"
	for _, c := range []killed{
		{stopped, "scx load simple", false},
		{stopped, "scx try --for 1h simple", true},
		{loaded, "scx stop", false},
		{loaded, "scx replace --set fifo=1 simple", false},
	} {
		c.run(t, m)
	}
	sh(t, m, "plugsched scx stop")
	bpfRuns(t, m, "at the end", "", "")
	ok(t, m, "rm -rf "+scx.Pins)
}

// killed is a command that is killed, behind another.
type killed struct {
	before, command string
	trial           bool // what it leaves running has to be on trial
}

func (c *killed) run(t *testing.T, m *vm.Machine) {
	t.Helper()
	samples := map[bool]int{false: 6, true: 12}[c.trial]
	ok(t, m, c.before)
	out := ok(t, m, "killat -e plugsched "+c.command)
	found := stops.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("%s: killat says:\n%s", c.command, out)
	}
	total, _ := strconv.Atoi(found[1])
	step := 1
	if !full {
		step = (total + samples - 1) / samples
	}
	times, left := 0, map[string]int{}
	for n := 1; n <= total; n += step {
		ok(t, m, c.before)
		out, code := sh(t, m, fmt.Sprintf("killat -e -k %d plugsched %s", n, c.command))
		if code == 0 {
			continue // a run may make fewer calls
		}
		times++
		left[c.judge(t, m, lastLine(out))]++
	}
	if times == 0 {
		t.Errorf("%s was never killed", c.command)
	}
	t.Logf("%s: killed at %d of %d stops, and left %v", c.command, times, total, left)
}

// judge looks at what was left, and says what the kernel's state is.
func (c *killed) judge(t *testing.T, m *vm.Machine, where string) (state string) {
	t.Helper()
	where = c.command + ", " + where
	// The kernel ends a scheduler whose link is gone when it comes to it.
	link := strings.Contains(pins(t, m), scx.Pins+"/simple/link")
	if !await(m, func() bool {
		state = ok(t, m, "cat "+scxState)
		return state == "disabled" || state == "enabled" && link
	}) {
		t.Errorf("%s: the link is pinned: %t, and the scheduler is %s", where, link, state)
	}
	if s := snapshot(t, m); c.trial && s.State == "enabled" && (s.Owner != scx.Ours || s.TrialLeft <= 0) {
		t.Errorf("%s: nobody ends what runs: %+v", where, s)
	}
	next := "plugsched scx load simple"
	switch {
	case state == "enabled" && c.trial:
		next = "plugsched reject" // which only ends what is on trial
	case state == "enabled":
		next = "plugsched scx stop" // which only ends plugsched's own
	}
	if out, code := sh(t, m, next); code != 0 {
		t.Errorf("%s: then %s: exit code %d:\n%s", where, next, code, out)
	}
	return state
}
