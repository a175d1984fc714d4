// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// Those that are broken on purpose, in the guest.
const (
	stallObject   = "/broken_stall.bpf.o"
	initObject    = "/broken_init.bpf.o"
	refusedObject = "/broken_refused.bpf.o"
)

// snapshot is what plugsched says of BPF schedulers, which must be what the kernel says.
func snapshot(t *testing.T, m *vm.Machine) (s scx.Snapshot) {
	t.Helper()
	out := ok(t, m, "plugsched scx status --json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// bpfRuns checks which BPF scheduler runs, "" for none, by what the kernel says and by what plugsched says.
func bpfRuns(t *testing.T, m *vm.Machine, when, name string, owner scx.Owner) scx.Snapshot {
	t.Helper()
	s := snapshot(t, m)
	ops, _ := sh(t, m, "cat /sys/kernel/sched_ext/root/ops 2> /dev/null")
	state := ok(t, m, "cat "+scxState)
	want := map[bool]string{true: "disabled", false: "enabled"}[name == ""]
	if strings.TrimSpace(ops) != name || state != want || s.Name != name || s.State != want || s.Owner != owner {
		t.Errorf("%s: %q is %s, and plugsched says that %q of %q is %s; want %q of %q",
			when, ops, state, s.Name, s.Owner, s.State, name, owner)
	}
	return s
}

// pins are all files below the directory of pins.
func pins(t *testing.T, m *vm.Machine) string {
	t.Helper()
	return strings.Join(strings.Fields(ok(t, m, "find "+scx.Pins+" -type f 2> /dev/null | sort")), " ")
}

// TestSCX: a BPF scheduler is loaded and stays without a process, with the load going on; it is in a module's way;
// it is stopped, and the reason is kept. One that others have loaded is shown and left alone.
func TestSCX(t *testing.T) {
	t.Parallel()
	object := func(name string) func(*vm.Config) { return with(name, filepath.Join(shared.root, "scx/bpf"+name)) }
	m := boot(t, both(addLiving, object(stallObject), object(initObject), object(refusedObject)))
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		expects(t, m, "plugsched scx status", 3, "no schedulers in BPF")
		expects(t, m, "plugsched scx load simple", 3, "no schedulers in BPF")
		t.Skip("the kernel has no sched_ext")
	}
	ok(t, m, "schedload start --spec light")
	progress := func() { t.Helper(); ok(t, m, "schedload check --within 60") }
	expects(t, m, "plugsched scx stop", 3, "no BPF scheduler runs")
	for _, flags := range []string{"", "--set fifo=1", "--partial --timeout 20s"} {
		ok(t, m, "plugsched scx load "+flags+" simple")
		progress()
		when := "load " + flags
		s := bpfRuns(t, m, when, "simple", scx.Ours)
		if s.All == strings.Contains(flags, "partial") || s.Link == 0 || len(s.Holders) > 0 || len(s.Events) == 0 {
			t.Errorf("%s: %+v", when, s)
		}
		if flags == "" {
			expects(t, m, "plugsched install /scheduler.ko", 3, "sched_ext: simple")
			expects(t, m, "plugsched status", 0, "scheduler:  simple, in BPF, for all tasks")
			expects(t, m, "plugsched metrics", 0, `plugsched_scheduler_running{way="bpf",name="simple",scope="all",owner="plugsched"} 1`)
			expects(t, m, "plugsched doctor", 3, "a BPF scheduler runs (sched_ext: simple)")
			expects(t, m, "plugsched scx load "+stallObject, 3, "the BPF scheduler simple runs")
		}
		expects(t, m, "plugsched scx stop", 0, "simple has ended: unregistered from user space")
		s = bpfRuns(t, m, "stop", "", "")
		if n := len(s.Ends); n != 1 || s.Ends[0].Name != "simple" || s.Ends[0].Error {
			t.Errorf("stop: %+v", s.Ends)
		}
		if got := pins(t, m); got != scx.Pins+"/simple/end" {
			t.Errorf("after stop there are %s", got)
		}
		progress()
	}
	ok(t, m, "schedload stop")
	testNotBegun(t, m)
	testStall(t, m)
	testForeign(t, m)
	ok(t, m, "plugsched install /scheduler.ko")
	expects(t, m, "plugsched scx load simple", 3, "a module's scheduler runs ("+moduleName(t, shared.project.Module())+")")
	ok(t, m, "plugsched uninstall")
	stock(t, m)
}

// oneView: what runs, and what has ended, is in status and history as of a module.
func oneView(t *testing.T, m *vm.Machine) {
	t.Helper()
	var s struct {
		Schedulers []view.Scheduler
		LastEnd    *view.Ended `json:"last_end"`
	}
	var h struct{ Entries []history.Entry }
	for command, into := range map[string]any{"status": &s, "history": &h} {
		out := ok(t, m, "plugsched "+command+" --json")
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if len(s.Schedulers) != 0 || s.LastEnd == nil || s.LastEnd.Name != "stall" || s.LastEnd.Way != view.BPF {
		t.Errorf("status: %+v, %+v", s.Schedulers, s.LastEnd)
	}
	n := len(h.Entries)
	last := h.Entries[n-1]
	if last.Action != history.RolledBack || last.BPF != "stall" || !strings.HasPrefix(last.Error, "runnable task stall") || last.After != "" {
		t.Errorf("the last entry is %+v", last)
	}
	if load := h.Entries[n-2]; load.Action != "scx load" || load.BPF != "stall" || load.Before != "" || load.After != "stall" ||
		load.Direction != "install" || load.Boottime >= last.Boottime {
		t.Errorf("the one before is %+v", load)
	}
	expects(t, m, "plugsched doctor", 0, "the kernel has ended the BPF scheduler stall: runnable task stall")
}

// testNotBegun: of one that the verifier does not take, or that gives up, nothing stays.
func testNotBegun(t *testing.T, m *vm.Machine) {
	t.Helper()
	before := pins(t, m)
	out, code := sh(t, m, "plugsched scx load "+refusedObject)
	if code != 3 || !strings.Contains(out, "refuses the program refused_enqueue:\n  ; p->scx.weight = 1;") {
		t.Errorf("one that the verifier refuses: exit code %d\n%s", code, out)
	}
	t.Log(out)
	out, code = sh(t, m, "plugsched scx load "+initObject)
	if code != 3 || !strings.Contains(out, "gives_up did not begin") || !strings.Contains(out, "ops.init() failed (-28)") {
		t.Errorf("one that gives up: exit code %d\n%s", code, out)
	}
	t.Log(out)
	bpfRuns(t, m, "after two that did not begin", "", "")
	if after := pins(t, m); after != before {
		t.Errorf("there were %s, and are %s", before, after)
	}
}

// testStall: the kernel ends a scheduler that forgets a task, and what it says is kept.
func testStall(t *testing.T, m *vm.Machine) {
	t.Helper()
	ok(t, m, "plugsched scx load --timeout 10s "+stallObject)
	bpfRuns(t, m, "load", "stall", scx.Ours)
	// The shell takes the name while it runs, and is not served again once it is off its CPU.
	pid := ok(t, m, "sh -c 'printf victim > /proc/self/comm; echo $$; while :; do :; done' > /run/victim 2>&1 & "+
		"until [ -s /run/victim ]; do sleep 0.1; done; cat /run/victim")
	if !await(m, func() bool { return ok(t, m, "cat "+scxState) == "disabled" }) {
		t.Fatal("the kernel does not end it")
	}
	s := bpfRuns(t, m, "stall", "", "")
	if len(s.Ends) != 2 {
		t.Fatalf("%+v", s.Ends)
	}
	e := s.Ends[1]
	// Where the host keeps the guest's kernel from looking in time, it says so instead of naming a task.
	victim := strings.Contains(e.Message, "victim["+pid+"] failed to run") || strings.Contains(e.Message, "watchdog failed to check in")
	if e.Name != "stall" || !e.Error || e.Reason != "runnable task stall" || !victim || e.Dump == "" {
		t.Errorf("%s %v %s", e.Name, e.Error, &e)
	}
	ok(t, m, "kill -9 "+pid) // it lives, and the kernel's own class serves it
	expects(t, m, "plugsched scx status", 0, "runnable task stall: "+e.Message)
	oneView(t, m)
	expects(t, m, "plugsched scx stop", 0, "the kernel had ended stall before: runnable task stall: "+e.Message)
	expects(t, m, "plugsched scx stop", 3, "no BPF scheduler runs")
}

// testForeign: one that another program has loaded.
func testForeign(t *testing.T, m *vm.Machine) {
	t.Helper()
	for _, flag := range []string{"", " --foreign"} {
		end := bpfScheduler(t, m, "scx")
		s := bpfRuns(t, m, "another's", "tiny", scx.Others)
		if len(s.Holders) != 1 || s.Holders[0].Command != "living" {
			t.Errorf("it is held by %v", s.Holders)
		}
		expects(t, m, "plugsched scx load simple", 3, "the BPF scheduler tiny (held by living[")
		if flag == "" {
			expects(t, m, "plugsched scx stop", 3, "was not loaded by plugsched")
			bpfRuns(t, m, "stop", "tiny", scx.Others)
			end()
			continue
		}
		expects(t, m, "plugsched scx stop --foreign", 0, "tiny has ended")
		bpfRuns(t, m, "stop --foreign", "", "")
		ok(t, m, "pkill living; true")
	}
}
