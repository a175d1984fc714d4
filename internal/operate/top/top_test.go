// SPDX-License-Identifier: BSD-3-Clause

package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"

	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// made is a machine that a test makes up; each look of it is numbered from 0.
type made struct {
	Machine
	looks int
}

func (m *made) put(t *testing.T, name, format string, a ...any) {
	t.Helper()
	path := filepath.Join(m.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, format, a...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// thread is a line of /proc/PID/stat.
func thread(pid int, name string, state byte, ticks, threads, cpu int) string {
	return fmt.Sprintf("%d (%s) %c 1 1 1 0 -1 4194304 0 0 0 0 %d 0 0 0 20 0 %d 0 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 %d 0 0 0 0 0\n",
		pid, name, state, ticks, threads, cpu)
}

// makeUp is a machine of two CPUs with a scheduler in BPF, a module that is in besides, and an agent.
func makeUp(t *testing.T) *made {
	m := &made{}
	m.Root = t.TempDir()
	m.Ask = func() (Schedulers, error) {
		n := int64(m.looks)
		m.looks++
		m.put(t, "/proc/stat", "cpu  1 2 3\ncpu0 %d 0 0 100 0 0 0 0 0 0\ncpu1 0 0 0 %d 50 0 0 0 0 0\nintr 5\nctxt %d\nprocs_running 3\n",
			100+150*n, 100+150*n, 1000+300*n)
		m.put(t, "/proc/schedstat", "version 17\ntimestamp 5\ncpu0 0 0 0 0 0 0 7 %d %d\ndomain0 MC 3 0 0\ncpu1 0 0 0 0 0 0 7 50 5\n",
			1e9+6e6*n, 100+3*n)
		m.put(t, "/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 total=0\n", 1000+750000*n)
		m.put(t, "/proc/7/stat", "%s", thread(7, "agent", 'R', int(10+20*n), 2, 1))
		for tid, state := range map[int]byte{7: 'R', 8: 'S'} {
			m.put(t, fmt.Sprintf("/proc/7/task/%d/stat", tid), "%s", thread(tid, "agent", state, 0, 2, 1))
			m.put(t, fmt.Sprintf("/proc/7/task/%d/status", tid),
				"Name:\tagent\nvoluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t5\n", 10*n)
		}
		return Schedulers{
			Status:  &live.Status{Active: true, Name: "plugsched_aa", Release: "7.3.4", Functions: []string{"f", "g"}},
			Running: []view.Scheduler{{Way: view.BPF, Name: "simple", Scope: view.AllTasks, Health: view.OK}},
			BPF:     &scx.Snapshot{State: "enabled", Name: "simple", Loads: 5, Events: map[string]int64{"SCX_EV_A": 10 + 30*n, "SCX_EV_NONE": 0}},
		}, nil
	}
	m.Lengths = func() ([]scx.Queue, error) {
		return []scx.Queue{{Name: "queue 0", CPU: -1, Tasks: 1}, {Name: "queue 1", CPU: -1, Tasks: 4}}, nil
	}
	// Of names in brackets that are anybody's choice, one that has ended, and what is no process.
	m.put(t, "/proc/5/stat", "%s", thread(5, "a) R 1 (b", 'R', 0, 1, 0))
	m.put(t, "/proc/6/stat", "%s", thread(6, "sleeps", 'S', 0, 1, 0))
	m.put(t, "/proc/8/comm", "gone\n")
	m.put(t, "/proc/uptime", "5 5\n")
	m.put(t, "/proc/7/comm", "agent\n")
	if err := os.MkdirAll(filepath.Join(m.Root, "/proc/7/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/ghost", filepath.Join(m.Root, "/proc/7/fd/3")); err != nil {
		t.Fatal(err)
	}
	return m
}

// frame is what two looks at a machine come to, three seconds apart.
func (m *made) frame(t *testing.T) *Frame {
	t.Helper()
	a, err := m.Sample()
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Sample()
	if err != nil {
		t.Fatal(err)
	}
	a.At = time.Date(2026, 12, 1, 12, 0, 0, 0, time.Local)
	b.At = a.At.Add(3 * time.Second)
	return Between(a, b)
}

const shown = `2026-12-01 12:00:03  7.3.4  of the last 3s
scheduler  simple (bpf), in order
tasks      2 runnable, 2ms until one runs, somebody waits for 25.0% of the time, 100 switches/s

  CPU    BUSY  RUNNABLE      WAIT   BEGAN/s
  all   50.0%         2       2ms         1
    0  100.0%         1       2ms         1
    1    0.0%         1        0s         0

QUEUE                              WAITING
queue 1                                  4
queue 0                                  1

module plugsched_aa                             TOTAL        /s
functions redirected                                2
taken over by livepatches                           0
kprobes in the kernel's own                         0

bpf simple                                      TOTAL        /s
SCX_EV_A                                           40        10

agent agent[7]                                  TOTAL        /s
CPU time, ms                                      300        67
switches                                           30         7
`

// TestFrame: what is shown is what came between two looks.
func TestFrame(t *testing.T) {
	var out bytes.Buffer
	if err := makeUp(t).frame(t).Write(&out); err != nil {
		t.Fatal(err)
	}
	if out.String() != shown {
		t.Errorf("%s\nwant\n%s", &out, shown)
	}
}

// TestOtherScheduler: what the kernel had counted of one before is not taken off the next one's counts.
func TestOtherScheduler(t *testing.T) {
	m := makeUp(t)
	a, err := m.Sample()
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Sample()
	if err != nil {
		t.Fatal(err)
	}
	a.BPF.Loads--
	for _, c := range Between(a, b).Counters {
		if c.Name == "SCX_EV_A" && (c.Total != 40 || *c.More != 40) {
			t.Errorf("%+v, %d", c, *c.More)
		}
	}
}

// TestLacks: what a kernel does not tell is left out, and said.
func TestLacks(t *testing.T) {
	m := makeUp(t)
	a, err := m.Sample()
	if err != nil {
		t.Fatal(err)
	}
	ask := m.Ask
	m.Ask = func() (Schedulers, error) {
		s, err := ask()
		return s, errors.Join(err, os.Remove(filepath.Join(m.Root, "/proc/schedstat")), os.RemoveAll(filepath.Join(m.Root, "/proc/pressure")))
	}
	m.Lengths = func() ([]scx.Queue, error) { return nil, errors.New("no rights") }
	b, err := m.Sample()
	if err != nil {
		t.Fatal(err)
	}
	f := Between(a, b)
	if f.All.Wait != nil || f.Pressure != nil || len(f.Notes) != 2 || !strings.Contains(f.Notes[0], "no rights") {
		t.Errorf("%+v", f)
	}
	m.Ask = ask
	m.put(t, "/proc/stat", "cpu0 1 2 x\n")
	m.Ask = func() (Schedulers, error) { return Schedulers{}, nil }
	if _, err := m.Sample(); err == nil || !strings.Contains(err.Error(), "/proc/stat") {
		t.Errorf("a file that is something else: %v", err)
	}
}

// text is what a screen shows, without white space at the ends of lines.
func text(s tcell.SimulationScreen) string {
	cells, width, height := s.GetContents()
	var out strings.Builder
	for y := range height {
		var line strings.Builder
		for _, c := range cells[y*width : (y+1)*width] {
			line.WriteString(string(c.Runes))
		}
		out.WriteString(strings.TrimRight(line.String(), " \x00") + "\n")
	}
	return out.String()
}

// TestWatch: a terminal shows the same lines, as many as it has room for, until somebody ends it.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := makeUp(t)
		s := tcell.NewSimulationScreen("")
		ended := make(chan error, 1)
		go func() { ended <- m.Watch(t.Context(), s, time.Second) }()
		synctest.Wait()
		s.SetSize(100, 8)
		if err := s.PostEvent(tcell.NewEventResize(100, 8)); err != nil {
			t.Fatal(err)
		}
		shows := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			got := text(s)
			for _, w := range want {
				if !strings.Contains(got, w) {
					t.Errorf("%s:\n%swant %q", when, got, w)
				}
			}
		}
		press := func(k tcell.Key, r rune) { s.InjectKey(k, r, tcell.ModNone); synctest.Wait() }
		shows("at first", "the first figures come in 1s", "q: end")
		time.Sleep(1100 * time.Millisecond)
		shows("a second later", "scheduler  simple (bpf), in order\n", "  all   50.0%         2")
		press(tcell.KeyPgDn, 0)
		shows("scrolled", "QUEUE")
		press(tcell.KeyEnd, 0)
		shows("at the end", "switches                                           30        20\n")
		press(tcell.KeyHome, 0)
		press(tcell.KeyRune, ' ')
		shows("held", "scheduler  simple", "held  q: end")
		before := text(s)
		time.Sleep(5 * time.Second)
		shows("five seconds later", before)
		press(tcell.KeyCtrlC, 0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWatchEnds: whatever ends it says so, and gives the terminal back.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := makeUp(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Watch(ctx, tcell.NewSimulationScreen(""), time.Second) }()
		time.Sleep(1500 * time.Millisecond)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		bad := errors.New("the kernel is gone")
		m.Ask = func() (Schedulers, error) { return Schedulers{}, bad }
		if err := m.Watch(t.Context(), tcell.NewSimulationScreen(""), time.Second); !errors.Is(err, bad) {
			t.Errorf("%v", err)
		}
	})
}
