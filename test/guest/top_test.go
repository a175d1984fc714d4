// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/top"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// watch is one report of plugsched top, for programs.
func watch(t *testing.T, m *vm.Machine) (f top.Frame) {
	t.Helper()
	out := ok(t, m, "plugsched top --json --interval 3s")
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return f
}

// TestTop: top sees tasks that want CPUs, and for how long they wait, whichever way the scheduler came; on a terminal, too, which it
// leaves as it was.
func TestTop(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	_, code := sh(t, m, "test -e "+scxState)
	bpf := code == 0
	cpus := len(watch(t, m).CPUs)
	// They leave CPUs to whoever looks, and wait for each other: what a slice is, is the scheduler's affair.
	busy := hogs(t, m, 3*cpus, "renice -n 19 -p $$;")
	check := func(when string) top.Frame {
		t.Helper()
		f := watch(t, m)
		if f.All.Runnable < 3*cpus || f.All.Busy < 0.9 || f.All.Wait == nil || *f.All.Wait < 100*time.Microsecond || f.All.Began == 0 ||
			f.Pressure == nil || *f.Pressure < 0.5 || len(f.Notes) > 0 {
			t.Errorf("%s: %+v, wait %v, pressure %v", when, f, f.All.Wait, f.Pressure)
		} else {
			t.Logf("%s: %d runnable, %v until one runs, %d began", when, f.All.Runnable, *f.All.Wait, f.All.Began)
		}
		return f
	}
	if f := check("the kernel's own"); len(f.Schedulers) > 0 || len(f.Counters) > 0 || len(f.Queues) > 0 {
		t.Errorf("the kernel's own: %+v", f)
	}
	ok(t, m, "plugsched install /scheduler.ko")
	name := moduleName(t, shared.project.Module())
	f := check("a module's")
	if len(f.Schedulers) != 1 || f.Schedulers[0].Way != view.Module || len(f.Counters) == 0 || f.Counters[0].Of != name ||
		f.Counters[0].Total == 0 {
		t.Errorf("a module's: %+v", f)
	}
	expects(t, m, "plugsched top --once --interval 100ms", 0, "scheduler  "+name+" (module)")
	onTerminal(t, m)
	ok(t, m, "plugsched uninstall")
	if bpf {
		watchBPF(t, m, check)
	}
	kill(t, m, busy)
	stock(t, m)
}

// watchBPF: of a scheduler in BPF, what is in its queue, and the kernel's counters.
func watchBPF(t *testing.T, m *vm.Machine, check func(string) top.Frame) {
	t.Helper()
	ok(t, m, "plugsched scx load simple")
	f := check("one in BPF")
	waiting := 0
	for _, q := range f.Queues {
		if waiting += q.Tasks; q.Name == "queue 0" && q.Tasks < len(f.CPUs) {
			t.Errorf("in its queue wait %d tasks", q.Tasks)
		}
	}
	// Some have gone on since, others have come.
	if n := f.All.Runnable - len(f.CPUs); waiting < n/2 || waiting > 2*n {
		t.Errorf("in queues wait %d tasks, and %d are runnable: %+v", waiting, f.All.Runnable, f.Queues)
	}
	if len(f.Schedulers) != 1 || f.Schedulers[0].Way != view.BPF || len(f.Counters) == 0 || f.Counters[0].Of != "simple" {
		t.Errorf("one in BPF: %+v", f)
	}
	t.Logf("queues: %+v", f.Queues)
	ok(t, m, "plugsched scx stop && rm -rf "+scx.Pins)
}

// onTerminal: top has the terminal until Ctrl-C, and the shell goes on afterwards as before.
func onTerminal(t *testing.T, m *vm.Machine) {
	t.Helper()
	in, keys := io.Pipe()
	var out record
	ended := make(chan error, 1)
	go func() {
		_, err := m.Shell(t.Context(), in, &out)
		ended <- err
	}()
	say := func(text, answer string) {
		t.Helper()
		before := len(out.String())
		fmt.Fprint(keys, text)
		if !await(m, func() bool { return strings.Contains(out.String()[before:], answer) }) {
			t.Fatalf("%q is not answered with %q:\n%q", text, answer, out.String()[before:])
		}
	}
	say("stty -a > /run/before; echo be''gin\n", "begin")
	say("TERM=xterm plugsched top --interval 500ms\n", "BEGAN/s")
	say("\x03", "\x1b[?1049l") // it leaves the other screen
	say("echo ex''it $?\n", "exit 0")
	say("stty -a | diff - /run/before && echo sa''me\n", "same")
	fmt.Fprint(keys, "exit\n")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ok(t, m, "rm /run/before")
}

// record is what a terminal shows, from its beginning.
type record struct {
	mu   sync.Mutex
	text []byte
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, b...)
	return len(b), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}
