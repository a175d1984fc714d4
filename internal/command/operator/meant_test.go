// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// TestMeaning: one word, whichever way the scheduler comes; where it is several, they are named in one line.
func TestMeaning(t *testing.T) {
	object, err := filepath.Abs("../../../scx/bpf/simple.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	m := stock(t)
	ko := m.module(t, "plugsched_01234567")
	t.Chdir(t.TempDir())
	m.install(t, "fast", "1", release, "plugsched_bb")
	m.install(t, "other", "1", "6.1.0-2", "plugsched_cc")
	fast := filepath.Join(m.Root, installed.PackageDir(release, "fast"), installed.Module)
	for from, to := range map[string]string{"a.ko": ko, "mine.bpf.o": object} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	for word, want := range map[string]meaning{
		"a.ko": {way: view.Module, path: "./a.ko"}, ko: {way: view.Module, path: ko}, "mine.bpf.o": {way: view.BPF, path: "./mine.bpf.o"},
		"./mine.bpf.o": {way: view.BPF, path: "./mine.bpf.o"}, "/none": {way: view.Module, path: "/none"},
		"simple": {way: view.BPF, path: "simple"}, "fast": {way: view.Module, path: fast}, "fast-" + release: {way: view.Module, path: fast},
	} {
		got, err := m.meaningOf(word)
		if err != nil || got.way != want.way || got.path != want.path {
			t.Errorf("%s: %+v, %v", word, got, err)
		}
	}
	m.install(t, "simple", "1", release, "plugsched_dd")
	if err := os.WriteFile("simple", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string][]string{
		"nothing": {"nothing is neither a file nor a scheduler: in BPF there are central, ", "of packages there are fast, simple"},
		"other":   {"other is neither"},
		"simple": {"simple is more than one scheduler: the file (./simple), or the one in BPF in this program (`plugsched scx try simple`), " +
			"or that of the package simple-" + release + " (" + m.Root},
	} {
		_, err := m.meaningOf(word)
		var p *live.PreconditionError
		if !errors.As(err, &p) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", word, err)
			continue
		}
		has(t, word, err.Error(), want...)
	}
}

// TestTryWays: a kernel without sched_ext, and flags of the other way, are one line each.
func TestTryWays(t *testing.T) {
	m := stock(t)
	_, err := run(newTry(m), "qmap")
	var none *scx.UnsupportedError
	if !errors.As(err, &none) || !strings.HasPrefix(err.Error(), "qmap is a scheduler in BPF: this kernel has no") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	ko := m.module(t, "plugsched_01234567")
	for _, words := range []string{"--replace qmap", "--watchdog 5s qmap", "--tries 3 qmap", "--partial " + ko, "--timeout 5s " + ko,
		"--set a=1 " + ko} {
		if _, err := run(newTry(m), strings.Fields(words)...); outcome.Of(err) != outcome.Usage {
			t.Errorf("%s: %v", words, err)
		}
	}
	m.load(t, name, "active", time.Minute)
	m.snapshot = &scx.Snapshot{State: "disabled"}
	if _, err := run(newTry(m), "qmap"); err == nil || !strings.Contains(err.Error(), "a module's scheduler runs (plugsched_aa)") {
		t.Errorf("%v", err)
	}
}

// TestListWays: what runs is listed whichever way it came.
func TestListWays(t *testing.T) {
	m := stock(t)
	m.put(t, "/proc/7/comm", "ghost-\x1bfifo\n")
	if err := errors.Join(os.MkdirAll(filepath.Join(m.Root, "proc/7/fd"), 0o755),
		os.Symlink("/dev/ghost", filepath.Join(m.Root, "proc/7/fd/3"))); err != nil {
		t.Fatal(err)
	}
	m.load(t, name, "active", time.Minute)
	m.snapshot = &scx.Snapshot{State: "enabled", Name: "tiny", Owner: scx.Others}
	list := func() string {
		out, err := run(newList(m))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.FieldsFunc(out, func(r rune) bool { return r == ' ' }), " ")
	}
	has(t, "all ways", list(), "any simple bpf (built in) - - no no\n", release+" plugsched_aa module (by hand) - - yes no\n",
		release+" tiny bpf (somebody else) - - yes no\n", release+" ghost-?fifo[7] agent (somebody else) - - yes no\n")
	m.install(t, "s", "3", release, name)
	m.snapshot = &scx.Snapshot{State: "enabled", Name: "simple", Owner: scx.Ours}
	out := list()
	has(t, "package and built in", out, release+" s module s-6.1.0-1 3 plugsched_aa yes no\n", "any simple bpf (built in) - - yes no\n")
	if strings.Contains(out, "by hand") {
		t.Errorf("it is of a package:\n%s", out)
	}
}
