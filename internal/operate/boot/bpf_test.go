// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
	"plugsched/scx"
)

// setUpBPF is setUp for a package of a scheduler in BPF.
func setUpBPF(t *testing.T) (*machine, *Runner) {
	t.Helper()
	m, r := setUp(t)
	m.bpf = "simple_v2"
	r.Package = &installed.Package{Name: "simple-bpf", Scheduler: "simple", Version: "2", Module: "simple_v2",
		BPF: &installed.BPF{Name: "simple"}, Dir: r.Root}
	must(t, r.SelectLater(t.Context()))
	return m, r
}

// TestAdoptBPF: the guard's decisions are those for a module. What went down, or was ended, is not loaded again.
func TestAdoptBPF(t *testing.T) {
	for _, c := range []struct {
		at      string
		err     error
		tripped bool
	}{
		{"", nil, false},
		{"check", &scx.UnsupportedError{}, false},
		{"install", &live.BusyError{}, false},
		{"settle", &live.RolledBackError{Name: "simple_v2", Report: "runnable task stall"}, true},
		{"confirm", &scx.LapsedError{Name: "simple"}, true},
	} {
		m, r := setUpBPF(t)
		m.fail[c.at] = c.err
		m.after["install"] = func() {
			if g, err := ReadGuard(r.Root, r.Package); err != nil || g.Attempt == nil || g.Attempt.Module != "simple_v2" {
				t.Errorf("the guard on disk when it is loaded: %+v, %v", g, err)
			}
		}
		if c.tripped {
			m.after[c.at] = m.goBack
		}
		if _, err := r.Adopt(t.Context()); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.at, err)
		}
		g, err := ReadGuard(r.Root, r.Package)
		if why := g.Tripped("simple_v2", "boot2"); err != nil || (why != "") != c.tripped {
			t.Errorf("%s: %q, %v", c.at, why, err)
		}
		if c.err == nil && (m.active != "simple_v2" || m.trial || !g.Knows("simple_v2")) {
			t.Errorf("%+v, %+v", m, g)
		}
		m.fail, m.after = map[string]error{}, map[string]func(){}
		var guard *GuardError
		if _, err := r.Adopt(t.Context()); errors.As(err, &guard) != c.tripped {
			t.Errorf("%s, the next time: %v", c.at, err)
		}
	}
}

// TestAdoptBPFCrash: the machine goes down while it is on trial.
func TestAdoptBPFCrash(t *testing.T) {
	m, r := setUpBPF(t)
	m.after["settle"] = func() { panic("down") }
	func() {
		defer func() { recover() }()
		r.Adopt(t.Context())
	}()
	m, next := setUpBPF(t)
	next.Root, next.BootID = r.Root, "boot2"
	var guard *GuardError
	if _, err := next.Adopt(t.Context()); !errors.As(err, &guard) || m.active != "" ||
		!strings.Contains(err.Error(), "not confirmed before the machine went down") {
		t.Errorf("%q, %v", m.active, err)
	}
	next.Package.Module, m.bpf = "simple_v3", "simple_v3" // another version, or loaded in another way
	if _, err := next.Adopt(t.Context()); err != nil || m.active != "simple_v3" {
		t.Errorf("%q, %v", m.active, err)
	}
}

// TestAdoptBPFOther: what is of no package is left alone, and how it ends is said.
func TestAdoptBPFOther(t *testing.T) {
	m, r := setUpBPF(t)
	m.active = "tiny"
	if _, err := r.Adopt(t.Context()); err == nil || !strings.Contains(err.Error(), "of no package here: `plugsched scx stop` it first") {
		t.Errorf("%v", err)
	}
}

// TestElsewhereBPF: it is for every kernel that has sched_ext, unless a module is selected for that.
func TestElsewhereBPF(t *testing.T) {
	h := live.Host{Root: t.TempDir()}
	_, r := setUpBPF(t)
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(h.Root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	elsewhere := func(want string) {
		t.Helper()
		if why, err := Elsewhere(h, r.Package); why != want || err != nil {
			t.Errorf("%q, %v, not %q", why, err, want)
		}
	}
	must(t, os.MkdirAll(filepath.Join(h.Root, "proc/1"), 0o755))
	must(t, os.Symlink(h.Root, filepath.Join(h.Root, "proc/1/root")))
	put("proc/sys/kernel/osrelease", "7.3.4\n")
	elsewhere("the running kernel has no sched_ext")
	put("sys/kernel/sched_ext/state", "disabled\n")
	elsewhere("")
	must(t, os.MkdirAll(filepath.Join(h.Root, installed.SelectionDir), 0o755))
	must(t, os.Symlink(installed.PackageDir("7.3.4", "fast"), filepath.Join(h.Root, installed.Selection("7.3.4"))))
	elsewhere("") // its package is gone
	put(installed.PackageDir("7.3.4", "fast")+"/package.json", "{}")
	elsewhere("the module fast is selected for this kernel")
}
