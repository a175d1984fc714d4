// SPDX-License-Identifier: BSD-3-Clause

package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// machine is one whose kernel runs its own scheduler, and its log.
func machine(t *testing.T) Log {
	root := t.TempDir()
	put(t, root, "proc/self/status", "CapEff:\tffffffff\n")
	put(t, root, "proc/sys/kernel/osrelease", "6.1.0-1\n")
	put(t, root, "proc/sys/kernel/random/boot_id", "boot-1\n")
	put(t, root, "sys/kernel/notes", "\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00\xab\xcd\x00\x00")
	return Log{live.Host{Root: root}}
}

// loaded makes the machine's kernel have a module, whose last update ended just now.
func (l Log) loaded(t *testing.T, name, state string, finished time.Duration) {
	t.Helper()
	dir := "sys/module/" + name + "/plugsched/"
	put(t, l.Host.Root, dir+"state", state)
	put(t, l.Host.Root, dir+"functions", "f\n")
	put(t, l.Host.Root, dir+"report", "task 5 (sh) was not run for 2500 ms\nmore\n")
	put(t, l.Host.Root, dir+"timings", fmt.Sprintf("direction install\ncpus 2\nstop_machine_ns 1234567\nfinished_boottime_ns %d\n", finished))
}

func read(t *testing.T, l Log) []Entry {
	t.Helper()
	list, damaged, err := l.Read()
	if err != nil || damaged > 0 {
		t.Fatalf("%d damaged lines, %v", damaged, err)
	}
	return list
}

func noWarning(t *testing.T) func(string) {
	return func(s string) { t.Error(s) }
}

func TestRecord(t *testing.T) {
	l := machine(t)
	if list, damaged, err := l.Read(); len(list) != 0 || damaged != 0 || err != nil {
		t.Fatalf("no log: %v, %d, %v", list, damaged, err)
	}
	put(t, l.Host.Root, installed.Dir+"/6.1.0-1/s/package.json",
		`{"name": "s", "scheduler": "s", "version": "3", "release": "6.1.0-1", "module": "plugsched_aa"}`)
	s, err := l.Record(Update{Action: "install", Module: "plugsched_aa"}, noWarning(t), func() (*live.Status, error) {
		if list := read(t, l); len(list) != 1 || list[0].Result != Begun || list[0].Module != "plugsched_aa" {
			t.Errorf("meanwhile: %+v", list)
		}
		time.Sleep(time.Millisecond)
		l.loaded(t, "plugsched_aa", "active", live.Boottime())
		return l.Host.Read()
	})
	if err != nil || s.Name != "plugsched_aa" {
		t.Fatalf("%+v, %v", s, err)
	}
	want := Entry{BootID: "boot-1", Action: "install", Result: outcome.Done.String(), After: "plugsched_aa", Module: "plugsched_aa",
		Package: "s", Version: "3", Direction: "install", Downtime: 1234567}
	list := read(t, l)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	got := list[0]
	if got.Begun <= 0 || got.Boottime <= got.Begun || time.Since(got.Time) > time.Minute {
		t.Errorf("times of %+v", got)
	}
	got.Time, got.Begun, got.Boottime = time.Time{}, 0, 0
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// What changes no scheduler has no downtime.
	l.Record(Update{Action: "confirm", Module: ""}, noWarning(t), l.Host.Read)
	list = read(t, l)
	if got := list[1]; got.Action != "confirm" || got.Downtime != 0 || got.Direction != "" || got.Module != "plugsched_aa" ||
		got.Version != "3" {
		t.Errorf("%+v", got)
	}
}

func TestResults(t *testing.T) {
	l := machine(t)
	long := &live.BusyError{Tries: 1, Report: strings.Repeat("ü", 5000)}
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, outcome.Done.String()},
		{&live.PreconditionError{Err: errors.New("x")}, outcome.Precondition.String()},
		{long, outcome.Busy.String()},
		{fmt.Errorf("installed, but: %w", &live.KernelFault{Lines: []string{"BUG"}}), outcome.Fault.String()},
		{&live.HeldError{Name: "m"}, outcome.Fault.String()},
		{&live.LeftoverError{Leftovers: &live.Leftovers{}}, outcome.Fault.String()},
		{errors.New("x"), outcome.Failed.String()},
		{fmt.Errorf("s 2 is not loaded: %w", &boot.GuardError{Reason: "x"}), "refused"},
		{&live.RolledBackError{Name: "m"}, "rolled back"},
		{fmt.Errorf("busy: %w", context.Canceled), "interrupted"},
	} {
		_, err := l.Record(Update{Action: "install", Module: "m"}, noWarning(t), func() (*live.Status, error) { return nil, c.err })
		if !errors.Is(err, c.err) {
			t.Errorf("%v became %v", c.err, err)
		}
		list := read(t, l)
		if e := list[len(list)-1]; e.Result != c.want || (e.Error == "") != (c.err == nil) || len(e.Error) > maxError+10 {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
}

// TestRolledBack: what the kernel did by itself is noted once, when it was.
func TestRolledBack(t *testing.T) {
	l := machine(t)
	finished := live.Boottime() - 100*time.Millisecond
	l.loaded(t, "plugsched_aa", "rolled back", finished)
	if all, _, err := l.All(); err != nil || len(all) != 1 || all[0].Action != RolledBack {
		t.Errorf("before it is noted: %+v, %v", all, err)
	}
	for range 2 {
		l.Record(Update{Action: "install", Module: "plugsched_bb"}, noWarning(t), func() (*live.Status, error) { return nil, errors.New("x") })
	}
	list, _, err := l.All()
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	e := list[0]
	if e.Action != RolledBack || e.Module != "plugsched_aa" || e.Before != "plugsched_aa" || e.After != "" ||
		e.Error != "task 5 (sh) was not run for 2500 ms" ||
		e.Boottime != int64(finished) || e.Downtime != 1234567 || time.Since(e.Time) < 100*time.Millisecond {
		t.Errorf("%+v", e)
	}
	// The same after the next one: another event.
	l.loaded(t, "plugsched_aa", "rolled back", finished+time.Millisecond)
	if all, _, _ := l.All(); len(all) != 4 {
		t.Errorf("%+v", all)
	}
}

// TestUnended: a beginning whose end never came stays.
func TestUnended(t *testing.T) {
	l := machine(t)
	if err := l.append(Entry{BootID: "boot-0", Action: "install", Result: Begun, Begun: 7}); err != nil {
		t.Fatal(err)
	}
	put(t, l.Host.Root, "proc/sys/kernel/random/boot_id", "boot-1\n")
	if err := l.append(Entry{BootID: "boot-1", Action: "install", Result: outcome.Done.String(), Begun: 7}); err != nil {
		t.Fatal(err)
	}
	if list := read(t, l); len(list) != 2 || list[0].Result != Begun {
		t.Errorf("%+v", list)
	}
}

// TestDamaged: half a line, and worse, cost only themselves.
func TestDamaged(t *testing.T) {
	l := machine(t)
	put(t, l.Host.Root, installed.StateDir+"/"+file, "{\"action\":\"install\",\"result\":\"done\"}\n\x00\x00\x00\n\n{}\n{\"action\":\"unins")
	if err := l.append(Entry{Action: "confirm", Result: outcome.Done.String()}); err != nil {
		t.Fatal(err)
	}
	list, damaged, err := l.Read()
	if err != nil || damaged != 3 || len(list) != 2 || list[1].Action != "confirm" {
		t.Errorf("%+v, %d damaged, %v", list, damaged, err)
	}
}

func TestModesAndRotation(t *testing.T) {
	l := machine(t)
	e := Entry{Action: "install", Result: outcome.Failed.String(), Error: strings.Repeat("x", maxError)}
	n := 2*maxSize/maxError + 200
	var some []Entry
	for i := range n {
		e.Begun = int64(i)
		if some = append(some, e); len(some) < 20 && i < n-1 {
			continue
		}
		if err := l.append(some...); err != nil {
			t.Fatal(err)
		}
		some = nil
	}
	for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o700, file: 0o600, old: 0o600} {
		st, err := os.Stat(l.path(name))
		if err != nil || st.Mode() != mode || st.Size() > maxSize+20*2*maxError {
			t.Errorf("%q: %v, %v", name, st, err)
		}
	}
	list := read(t, l)
	if last := list[len(list)-1]; last.Begun != int64(n-1) || len(list) < maxSize/(maxError+300) {
		t.Errorf("%d entries, the last %d", len(list), last.Begun)
	}
	for i := 1; i < len(list); i++ {
		if list[i].Begun != list[i-1].Begun+1 {
			t.Fatalf("%d follows %d", list[i].Begun, list[i-1].Begun)
		}
	}
}

// TestTogether: two commands that write at the same time lose nothing, over a rotation
// too.
func TestTogether(t *testing.T) {
	l := machine(t)
	put(t, l.Host.Root, installed.StateDir+"/"+file, strings.Repeat("{\"action\":\"a\",\"result\":\"done\"}\n", maxSize/31-40))
	before := len(read(t, l))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if err := l.append(Entry{Action: "b", Result: outcome.Done.String()}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := os.Stat(l.path(old)); err != nil {
		t.Error(err)
	}
	if n := len(read(t, l)) - before; n != 80 {
		t.Errorf("%d of 80 entries", n)
	}
}

// TestUnwritable: what cannot be written costs one line, and not the update.
func TestUnwritable(t *testing.T) {
	l := machine(t)
	put(t, l.Host.Root, "var/lib", "a file")
	var said []string
	s, err := l.Record(Update{Action: "install", Module: "m"}, func(s string) { said = append(said, s) }, l.Host.Read)
	if s == nil || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "the history ("+l.path(file)+") is not written") {
		t.Errorf("%q", said)
	}
	if err := l.Writable(); err == nil {
		t.Error("said to be writable")
	}
	if err := machine(t).Writable(); err != nil {
		t.Error(err)
	}
	// A link that leads elsewhere is not followed.
	l = machine(t)
	put(t, l.Host.Root, "etc/precious", "x")
	os.MkdirAll(l.path(""), 0o700)
	if err := os.Symlink(filepath.Join(l.Host.Root, "etc/precious"), l.path(file)); err != nil {
		t.Fatal(err)
	}
	if err := l.append(Entry{Action: "install"}); err == nil {
		t.Error("wrote through a symbolic link")
	}
	// Whoever may not load modules writes nothing.
	l = machine(t)
	put(t, l.Host.Root, "proc/self/status", "CapEff:\t0\n")
	l.Record(Update{Action: "install", Module: "m"}, noWarning(t), l.Host.Read)
	if _, err := os.Stat(l.path("")); err == nil {
		t.Error("a plain user left a directory")
	}
}

// TestRecent: the end of a long log, whole lines only.
func TestRecent(t *testing.T) {
	l := machine(t)
	if list, err := l.Recent(); len(list) != 0 || err != nil {
		t.Errorf("no log: %v, %v", list, err)
	}
	var some []Entry
	for i := range 500 {
		some = append(some, Entry{Action: "install", Result: outcome.Done.String(), Begun: int64(i)})
	}
	if err := l.append(some...); err != nil {
		t.Fatal(err)
	}
	list, err := l.Recent()
	if err != nil || len(list) < 50 || len(list) > 499 || list[len(list)-1].Begun != 499 || list[0].Begun != int64(500-len(list)) {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

// TestBPF: what commands do to schedulers in BPF is in the log, with the one that runs before and after.
func TestBPF(t *testing.T) {
	l := machine(t)
	put(t, l.Host.Root, "sys/kernel/sched_ext/state", "disabled\n")
	runs := func(name string) {
		put(t, l.Host.Root, "sys/kernel/sched_ext/state", "enabled\n")
		put(t, l.Host.Root, "sys/kernel/sched_ext/root/ops", name+"\n")
	}
	err := l.RecordBPF("scx load", "simple", nil, noWarning(t), func() (BPFUpdate, error) {
		if list := read(t, l); len(list) != 1 || list[0].Result != Begun || list[0].BPF != "simple" || list[0].Before != "" {
			t.Errorf("meanwhile: %+v", list)
		}
		runs("simple")
		return BPFUpdate{Direction: "install"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = l.RecordBPF("scx replace", "qmap", nil, noWarning(t), func() (BPFUpdate, error) {
		runs("qmap")
		return BPFUpdate{Direction: "replace", Gap: time.Second}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	refused := &live.PreconditionError{Err: errors.New("it runs")}
	// What is about modules says which scheduler ran, too.
	_, err = l.Record(Update{Action: "install", Module: "m"}, noWarning(t), func() (*live.Status, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	err = l.RecordBPF("scx load", "simple", nil, noWarning(t), func() (BPFUpdate, error) { return BPFUpdate{}, refused })
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	err = l.RecordBPF("scx stop", "", nil, noWarning(t), func() (BPFUpdate, error) {
		put(t, l.Host.Root, "sys/kernel/sched_ext/state", "disabled\n")
		return BPFUpdate{Name: "qmap", Direction: "remove", Reason: "it was asked to"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Action: "scx load", Result: "done", After: "simple", BPF: "simple", Direction: "install"},
		{Action: "scx replace", Result: "done", Before: "simple", After: "qmap", BPF: "qmap", Direction: "replace", Gap: time.Second},
		{Action: "install", Result: "refused", Before: "qmap", After: "qmap", Module: "m", Error: "it runs"},
		{Action: "scx load", Result: "refused", Before: "qmap", After: "qmap", BPF: "simple", Error: "it runs"},
		{Action: "scx stop", Result: "done", Before: "qmap", BPF: "qmap", Direction: "remove", Error: "it was asked to"},
	}
	for i, e := range read(t, l) {
		if e.Boottime < e.Begun || e.Begun == 0 || e.BootID != "boot-1" {
			t.Errorf("%+v", e)
		}
		e.Time, e.BootID, e.Begun, e.Boottime = time.Time{}, "", 0, 0
		if i >= len(want) || e != want[i] {
			t.Errorf("%d: %+v", i, e)
		}
	}
}

// TestEnds: of schedulers in BPF, what no command has ended is noted, once.
func TestEnds(t *testing.T) {
	list := []scx.End{
		{Name: "stopped", Kind: 64, At: 15, Reason: "unregistered"},
		{Name: "unpinned", Kind: 64, At: 25, Reason: "unregistered"},
		{Name: "stall", Kind: 1026, Error: true, At: 35, Reason: "runnable task stall", Message: "a[1]"},
		{Name: "replaced", Kind: 64, At: 45},
	}
	known := []Entry{
		{BootID: "b", BPF: "stopped", Action: "scx stop", Begun: 10, Boottime: 20, Result: "done", Direction: "remove"},
		{BootID: "a", BPF: "unpinned", Action: "scx stop", Begun: 20, Boottime: 30, Result: "done", Direction: "remove"}, // of another boot
		{BootID: "b", BPF: "stall", Action: "scx load", Begun: 20, Boottime: 30, Result: "done", Direction: "install"},
		{BootID: "b", BPF: "unpinned", Action: "scx stop", Begun: 20, Boottime: 20, Result: Begun}, // was killed
		{BootID: "b", BPF: "qmap", Before: "replaced", Action: "scx replace", Begun: 40, Boottime: 50, Result: "done", Direction: "replace"},
		{BootID: "b", Before: "stall", Action: "install", Begun: 30, Boottime: 40, Result: "refused"},
	}
	got := ends(known, "b", list)
	if len(got) != 2 || got[0].Action != Ended || got[0].BPF != "unpinned" || got[1].Action != RolledBack || got[1].Boottime != 35 ||
		got[1].Error != "runnable task stall: a[1]" || got[1].Before != "stall" || got[1].Direction != "remove" {
		t.Errorf("%+v", got)
	}
	if again := ends(append(known, got...), "b", list); len(again) != 0 {
		t.Errorf("again: %+v", again)
	}
}
