// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/history"
	"plugsched/scx"
)

// lastEntry is the last of the history.
func lastEntry(t *testing.T, m *vm.Machine) history.Entry {
	t.Helper()
	var h struct{ Entries []history.Entry }
	out := ok(t, m, "plugsched history --json")
	if err := json.Unmarshal([]byte(out), &h); err != nil || len(h.Entries) == 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	return h.Entries[len(h.Entries)-1]
}

// TestSCXTrial: a trial lapses without any process, is confirmed, is rejected; one scheduler replaces another, and runs again if the
// next does not begin.
func TestSCXTrial(t *testing.T) {
	t.Parallel()
	m := boot(t, both(with(initObject, filepath.Join(shared.root, "scx/bpf"+initObject)),
		with(stallObject, filepath.Join(shared.root, "scx/bpf"+stallObject))))
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		t.Skip("the kernel has no sched_ext")
	}
	ok(t, m, "schedload start --spec light")
	progress := func() { t.Helper(); ok(t, m, "schedload check --within 60") }
	expects(t, m, "plugsched confirm", 3, "")

	// It lapses: nobody is there who could end it.
	ok(t, m, "plugsched scx try --for 20s simple")
	if !await(m, func() bool { return ok(t, m, "cat "+scxState) == "disabled" }) {
		t.Fatal("the trial does not lapse")
	}
	s := bpfRuns(t, m, "lapsed", "", "")
	if len(s.Ends) != 1 || !s.Ends[0].Lapsed() || s.Ends[0].Message != "the trial was not confirmed in time" {
		t.Errorf("%+v", s.Ends)
	}
	if e := lastEntry(t, m); e.Action != history.RolledBack || e.BPF != "simple" || !strings.Contains(e.Error, "not confirmed in time") {
		t.Errorf("%+v", e)
	}
	expects(t, m, "plugsched confirm", 5, "lapsed before it was confirmed")
	progress()

	// It is confirmed, and stays; the command for modules takes it, too.
	expects(t, m, "plugsched try --for 1h simple", 0, "SCHED_EXT; it ends in 1h0m0s unless")
	if e := lastEntry(t, m); e.Action != "try" || e.BPF != "simple" || e.Direction != "install" {
		t.Errorf("%+v", e)
	}
	expects(t, m, "plugsched list | grep simple | tr -s ' '", 0, "any simple bpf (built in) - - yes no")
	if s := bpfRuns(t, m, "try", "simple", scx.Ours); s.TrialLeft <= 0 || s.TrialLeft > time.Hour {
		t.Errorf("the trial has %v left", s.TrialLeft)
	}
	if got := pins(t, m); got != strings.ReplaceAll("DIR/confirm DIR/end DIR/link DIR/trial", "DIR", scx.Pins+"/simple") {
		t.Errorf("pinned are %s", got)
	}
	expects(t, m, "plugsched status", 0, "on trial:   ends in ")
	expects(t, m, "plugsched scx replace simple", 3, "is on trial")
	progress()
	expects(t, m, "plugsched confirm", 0, "scheduler:  simple, in BPF")
	if s := bpfRuns(t, m, "confirm", "simple", scx.Ours); s.TrialLeft != 0 {
		t.Errorf("the trial has %v left", s.TrialLeft)
	}
	expects(t, m, "plugsched confirm", 3, "")
	progress()

	testReplace(t, m)
	progress()

	expects(t, m, "plugsched scx stop", 0, "simple has ended")
	testRejected(t, m)
	ok(t, m, "schedload stop")
}

// testRejected: one that is rejected ends at once, and its timer does not end the next one.
func testRejected(t *testing.T, m *vm.Machine) {
	t.Helper()
	for seconds := 15; ; seconds *= 2 {
		ok(t, m, fmt.Sprintf("plugsched scx try --for %ds simple", seconds))
		out, code := sh(t, m, "plugsched reject --reason 'too slow'")
		if code == 0 {
			ok(t, m, fmt.Sprintf("plugsched scx load simple && sleep %d", seconds))
			break
		}
		// On a slow host it may have lapsed before.
		if e := lastEntry(t, m); seconds > 600 || e.Action != history.RolledBack {
			t.Fatalf("exit code %d: %s\n%+v", code, out, e)
		}
	}
	bpfRuns(t, m, "after another's trial", "simple", scx.Ours)
	expects(t, m, "plugsched history", 0, "too slow")
	ok(t, m, "plugsched scx stop")
}

var gap = regexp.MustCompile(`ran for at most (\S+)\n`)

// testReplace begins, and ends, with simple.
func testReplace(t *testing.T, m *vm.Machine) {
	t.Helper()
	loads := snapshot(t, m).Loads
	out, code := sh(t, m, "plugsched scx replace --set fifo=1 simple")
	if code != 0 || !gap.MatchString(out) {
		t.Fatalf("exit code %d: %s", code, out)
	}
	t.Log(out)
	if s := bpfRuns(t, m, "replace", "simple", scx.Ours); s.Loads != loads+1 || len(s.Ends) != 0 {
		t.Errorf("%+v", s)
	}
	e := lastEntry(t, m)
	if e.Action != "scx replace" || e.Direction != "replace" || e.Gap <= 0 || e.Before != "simple" || e.After != "simple" {
		t.Errorf("%+v", e)
	}
	expects(t, m, "plugsched scx replace "+stallObject, 0, "simple has ended")
	bpfRuns(t, m, "replace", "stall", scx.Ours)
	ok(t, m, "plugsched scx replace simple")
	// The next does not begin: the one before does, as nobody had ended it.
	out, code = sh(t, m, "plugsched scx replace "+initObject)
	if code != 3 || !strings.Contains(out, "ops.init() failed (-28)") || !strings.Contains(out, "simple has begun again") {
		t.Errorf("exit code %d: %s", code, out)
	}
	t.Log(out)
	s := bpfRuns(t, m, "one that gives up", "simple", scx.Ours)
	for _, e := range s.Ends {
		if e.Name != "stall" {
			t.Errorf("it has ended: %+v", e)
		}
	}
	if e = lastEntry(t, m); e.Result != "refused" || e.BPF != "gives_up" || e.Before != "simple" || e.After != "simple" {
		t.Errorf("%+v", e)
	}
}
