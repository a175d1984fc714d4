// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/durable"
	"plugsched/internal/operate/live"
)

// machine is a kernel that does as it is told: it keeps the rules of internal/operate/live,
// and fails where a test wants it to.
type machine struct {
	t              *testing.T
	active, before string // modules; "" is the kernel's own scheduler
	bpf            string // what is loaded without a module
	trial          bool
	loaded         []string
	fail           map[string]error // by function
	after          map[string]func()
	calls          []string
}

func (m *machine) call(name string) error {
	m.calls = append(m.calls, name)
	if f := m.after[name]; f != nil {
		f()
	}
	return m.fail[name]
}

func (m *machine) Read() (*live.Status, error) {
	s := &live.Status{Active: m.active != "", Name: m.active}
	if m.trial {
		s.TrialLeft = 30 * time.Second
	}
	for _, name := range m.loaded {
		s.Modules = append(s.Modules, live.Loaded{Name: name})
	}
	return s, m.fail["read"]
}

func (m *machine) Check(_ *live.Module, o live.InstallOptions) error {
	if m.active != "" && !o.Replace {
		m.t.Error("Check without Replace")
	}
	return m.call("check")
}

func (m *machine) Install(ctx context.Context, mod *live.Module, o live.InstallOptions) (*live.Status, error) {
	if o.Trial == 0 {
		m.t.Error("installed without a trial")
	}
	err := m.call("install")
	var busy *live.BusyError
	if errors.As(err, &busy) {
		return nil, err
	}
	name := m.bpf
	if mod != nil {
		name = mod.Desc.Name
	}
	m.before, m.active, m.trial = m.active, name, true
	m.loaded = append(m.loaded, m.active)
	return nil, err
}

func (m *machine) Settle(context.Context, string, time.Duration) error { return m.call("settle") }

func (m *machine) Confirm(context.Context, live.Progress) (*live.Status, error) {
	if err := m.call("confirm"); err != nil {
		return nil, err
	}
	m.trial = false
	m.loaded = []string{m.active}
	return m.Read()
}

func (m *machine) goBack() {
	m.loaded = slices.DeleteFunc(m.loaded, func(name string) bool { return name == m.active })
	m.active, m.before, m.trial = m.before, "", false
}

func (m *machine) Rollback(_ context.Context, module, reason string, _ live.Progress) (*live.Status, error) {
	if module != m.active || !m.trial {
		m.t.Errorf("Rollback from %s, but %s runs", module, m.active)
	}
	err := m.call("goback")
	if err == nil {
		m.goBack()
	}
	return nil, err
}

func (m *machine) Uninstall(context.Context, live.UninstallOptions) (*live.Status, error) {
	if err := m.call("uninstall"); err != nil {
		return nil, err
	}
	m.active, m.loaded = "", nil
	return m.Read()
}

// setUp returns a machine on which version 2 of a package is to be loaded.
func setUp(t *testing.T) (*machine, *Runner) {
	t.Helper()
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "run"), 0o755))
	m := &machine{t: t, fail: map[string]error{}, after: map[string]func(){}}
	r := &Runner{Package: &installed.Package{Name: pkg.Name, Scheduler: pkg.Scheduler, Version: "2", Release: release,
		Module: "plugsched_v2", Dir: root},
		Kernel: m, Root: root, BootID: "boot1", Trial: time.Minute, Settle: time.Second}
	must(t, os.WriteFile(r.Package.File(installed.Module), ko(t, "plugsched_v2"), 0o644))
	must(t, r.SelectLater(t.Context()))
	return m, r
}

// running makes version 1 of the package the running scheduler.
func running(t *testing.T, m *machine, r *Runner) {
	t.Helper()
	m.active, m.loaded = "plugsched_v1", []string{"plugsched_v1"}
	g := read(t, r.Root)
	must(t, g.Begin(Attempt{Package: r.Package.Name, Version: "1", Module: "plugsched_v1", BootID: "boot0"}))
	must(t, g.Confirm())
}

func TestAdopt(t *testing.T) {
	for _, before := range []string{"", "plugsched_v1"} {
		m, r := setUp(t)
		if before != "" {
			running(t, m, r)
		}
		m.after["install"] = func() {
			if g := read(t, r.Root); g.Attempt == nil || g.Attempt.Module != "plugsched_v2" || g.Attempt.BootID != "boot1" {
				t.Errorf("the guard on disk when the kernel loads: %+v", g.Attempt)
			}
		}
		s, err := r.Adopt(t.Context())
		if err != nil || s.Name != "plugsched_v2" || m.trial {
			t.Errorf("%+v, %v", s, err)
		}
		if g := read(t, r.Root); g.Attempt != nil || g.Confirmed.Version != "2" {
			t.Errorf("%+v", g)
		}
		// Once more there is nothing to do.
		m.calls = nil
		if _, err := r.Adopt(t.Context()); err != nil || m.calls != nil {
			t.Errorf("%v, %v", m.calls, err)
		}
	}
}

// TestAdoptFails: the scheduler before runs, and the guard knows whose fault it was.
func TestAdoptFails(t *testing.T) {
	busy := &live.BusyError{Tries: 10}
	bad := errors.New("the kernel complained\n  WARNING: at x")
	back := &live.RolledBackError{Name: "plugsched_v2", Report: "task 1 (init) was not run"}
	for _, c := range []struct {
		at      string
		err     error
		tripped bool
	}{
		{"check", &live.PreconditionError{Err: errors.New("no")}, false},
		{"install", busy, false},
		{"install", bad, true}, // after the update
		{"settle", bad, true},
		{"settle", back, true},
		{"confirm", bad, true},
	} {
		for _, before := range []string{"", "plugsched_v1"} {
			m, r := setUp(t)
			if before != "" {
				running(t, m, r)
			}
			m.fail[c.at] = c.err
			if errors.Is(c.err, back) {
				m.after["settle"] = m.goBack
			}
			_, err := r.Adopt(t.Context())
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v", c.at, err)
			}
			if m.active != before || m.trial {
				t.Errorf("%s: %q runs, before it was %q", c.at, m.active, before)
			}
			why := read(t, r.Root).Tripped("plugsched_v2", "boot2")
			if (why != "") != c.tripped || strings.Contains(why, "\n") {
				t.Errorf("%s, %v: guard: %q", c.at, c.err, why)
			}
			if before != "" && !read(t, r.Root).Knows(before) {
				t.Errorf("%s: the guard has forgotten %s", c.at, before)
			}
			delete(m.fail, c.at)
			delete(m.after, c.at)
			_, err = r.Adopt(t.Context())
			var guard *GuardError
			if errors.As(err, &guard) != c.tripped {
				t.Errorf("%s: the next time: %v", c.at, err)
			}
		}
	}
}

// TestAdoptGuardUnwritable: nothing is loaded that the next boot would not know of.
func TestAdoptGuardUnwritable(t *testing.T) {
	m, r := setUp(t)
	must(t, os.MkdirAll(filepath.Join(r.Root, "var/lib/plugsched"), 0o755))
	must(t, os.MkdirAll(filepath.Join(r.Root, installed.GuardFile(pkg.Name)+".tmp"), 0o755))
	_, err := r.Adopt(t.Context())
	var pre *live.PreconditionError
	if !errors.As(err, &pre) || slices.Contains(m.calls, "install") {
		t.Errorf("%v, %v", err, m.calls)
	}
}

// TestAdoptOther: a scheduler that is not of the package is left alone.
func TestAdoptOther(t *testing.T) {
	m, r := setUp(t)
	m.active = "plugsched_other"
	if _, err := r.Adopt(t.Context()); err == nil || !strings.Contains(err.Error(),
		"plugsched_other runs, which is of no package here") || len(m.calls) > 0 {
		t.Errorf("%v, %v", err, m.calls)
	}
	m.trial = true
	if _, err := r.Adopt(t.Context()); err == nil || !strings.Contains(err.Error(), "on trial") || len(m.calls) > 0 {
		t.Errorf("%v, %v", err, m.calls)
	}
	m.active = "plugsched_v2" // somebody tries the package's module by hand
	if _, err := r.Adopt(t.Context()); err == nil || !strings.Contains(err.Error(), "on trial already") || len(m.calls) > 0 {
		t.Errorf("%v, %v", err, m.calls)
	}
}

// TestAdoptKnown: somebody has tried and confirmed the scheduler before its package came.
func TestAdoptKnown(t *testing.T) {
	m, r := setUp(t)
	running(t, m, r)
	m.active, m.loaded = "plugsched_v2", []string{"plugsched_v2"}
	if _, err := r.Adopt(t.Context()); err != nil || m.calls != nil {
		t.Errorf("%v, %v", m.calls, err)
	}
	if g := read(t, r.Root); g.Attempt != nil || !g.Knows("plugsched_v2") {
		t.Errorf("%+v", g)
	}
}

// TestAdoptResumes: an earlier run was killed at each of its steps.
func TestAdoptResumes(t *testing.T) {
	for _, at := range []string{"check", "install", "settle", "confirm"} {
		m, r := setUp(t)
		killed := errors.New("killed")
		m.after[at] = func() { panic(killed) }
		func() {
			defer func() {
				if e, ok := recover().(error); !ok || !errors.Is(e, killed) {
					t.Fatalf("%s: %v", at, e)
				}
			}()
			r.Adopt(t.Context())
		}()
		delete(m.after, at)
		if _, err := r.Adopt(t.Context()); err != nil || m.active != "plugsched_v2" || m.trial {
			t.Errorf("killed at %s, then %v, %+v", at, err, m)
		}
		if g := read(t, r.Root); g.Attempt != nil || g.Confirmed == nil {
			t.Errorf("killed at %s: %+v", at, g)
		}
	}
}

// TestAdoptConfirmedBySomebody: `plugsched confirm` came first.
func TestAdoptConfirmedBySomebody(t *testing.T) {
	m, r := setUp(t)
	m.fail["confirm"] = errors.New("not on trial")
	m.after["confirm"] = func() { m.trial = false }
	if _, err := r.Adopt(t.Context()); err != nil || m.active != "plugsched_v2" {
		t.Errorf("%v, %+v", err, m)
	}
}

// TestAdoptInterrupted: the trial is rolled back, and may be begun again in this boot.
func TestAdoptInterrupted(t *testing.T) {
	m, r := setUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.after["settle"] = cancel
	m.fail["settle"] = context.Canceled
	if _, err := r.Adopt(ctx); !errors.Is(err, context.Canceled) || m.active != "" {
		t.Errorf("%v, %+v", err, m)
	}
	g := read(t, r.Root)
	if g.Tripped("plugsched_v2", "boot1") != "" || g.Tripped("plugsched_v2", "boot2") == "" {
		t.Errorf("%+v", g.Attempt)
	}
}

func TestRemove(t *testing.T) {
	m, r := setUp(t)
	if s, err := r.Remove(t.Context()); s != nil || err != nil {
		t.Errorf("nothing runs: %v, %v", s, err)
	}
	running(t, m, r) // an older version, because the upgrade failed
	m.fail["uninstall"] = &live.BusyError{}
	var busy *live.BusyError
	if _, err := r.Remove(t.Context()); !errors.As(err, &busy) || m.active == "" {
		t.Errorf("%v, %+v", err, m)
	}
	delete(m.fail, "uninstall")
	if s, err := r.Remove(t.Context()); s == nil || err != nil || m.active != "" {
		t.Errorf("%v, %v, %+v", s, err, m)
	}

	m.active, m.loaded = "plugsched_other", []string{"plugsched_other"}
	if s, err := r.Remove(t.Context()); s != nil || err != nil || m.active == "" {
		t.Errorf("another's: %v, %v", s, err)
	}
	// Another one is tried, and would roll back to the package's.
	m.loaded, m.trial = []string{"plugsched_other", "plugsched_v1"}, true
	if _, err := r.Remove(t.Context()); err == nil || !strings.Contains(err.Error(), "on trial") {
		t.Errorf("%v", err)
	}
}

// beside installs another package for the kernel and makes its scheduler the running one, selected.
func beside(t *testing.T, m *machine, r *Runner) *installed.Package {
	t.Helper()
	p := &installed.Package{Name: "other-" + release, Scheduler: "other", Version: "1", Release: release, Module: "plugsched_other",
		Dir: filepath.Join(r.Root, installed.PackageDir(release, "other"))}
	must(t, os.MkdirAll(p.Dir, 0o755))
	must(t, os.WriteFile(p.File(installed.About), []byte(`{"name": "other-`+release+`", "scheduler": "other", "release": "`+release+
		`", "module": "plugsched_other"}`), 0o644))
	must(t, (&Runner{Package: p, Root: r.Root}).SelectLater(t.Context()))
	m.active, m.loaded = p.Module, []string{p.Module}
	return p
}

func isSelected(t *testing.T, root, want string) {
	t.Helper()
	if now, err := installed.Selected(root, release); err != nil || now != want {
		t.Errorf("%q is selected (%v), expected %q", now, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(root, installed.SelectionDir, "*"+durable.Suffix)); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// TestSwitch: from another package's scheduler to this one's, and all of it or nothing.
func TestSwitch(t *testing.T) {
	for _, at := range []string{"", "check", "install", "settle", "confirm"} {
		m, r := setUp(t)
		beside(t, m, r)
		if _, err := r.Adopt(t.Context()); err == nil || len(m.calls) > 0 ||
			!strings.Contains(err.Error(), "other is selected for this kernel: `plugsched switch scheduler`") {
			t.Errorf("not selected: %v, %v", err, m.calls)
		}
		r.Select = true
		m.fail[at] = &live.BusyError{}
		_, err := r.Adopt(t.Context())
		if at != "" {
			if err == nil || m.active != "plugsched_other" || m.trial {
				t.Errorf("%s: %v, %+v", at, err, m)
			}
			isSelected(t, r.Root, "other")
			continue
		}
		if err != nil || m.active != "plugsched_v2" || m.trial {
			t.Errorf("%v, %+v", err, m)
		}
		isSelected(t, r.Root, "scheduler")
		// The package that is not selected takes nothing along, the unit stops whichever runs.
		other := &Runner{Package: beside(t, m, r), Kernel: m, Root: r.Root}
		if s, err := r.Remove(t.Context()); s != nil || err != nil || m.active != "plugsched_other" {
			t.Errorf("%v, %v, %+v", s, err, m)
		}
		must(t, r.Unselect(t.Context()))
		isSelected(t, r.Root, "other")
		if s, err := r.Stop(t.Context()); s == nil || err != nil || m.active != "" {
			t.Errorf("%v, %v, %+v", s, err, m)
		}
		must(t, other.Unselect(t.Context()))
		isSelected(t, r.Root, "")
		if _, err := os.Lstat(filepath.Join(r.Root, installed.SelectionDir)); err == nil {
			t.Error("the directory of selections is left behind")
		}
	}
}

// TestSwitchUnwritable: nothing is loaded that could not be selected afterwards.
func TestSwitchUnwritable(t *testing.T) {
	m, r := setUp(t)
	beside(t, m, r)
	r.Select = true
	must(t, os.MkdirAll(filepath.Join(r.Root, installed.Selection(release)+durable.Suffix, "x"), 0o755))
	_, err := r.Adopt(t.Context())
	var pre *live.PreconditionError
	if !errors.As(err, &pre) || len(m.calls) > 0 {
		t.Errorf("%v, %v", err, m.calls)
	}
}

// TestLock: one after the other, and who waits says for whom.
func TestLock(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "run"), 0o755))
	said := ""
	r := &Runner{Root: root, Say: func(line string) { said += line }}
	unlock, err := r.lock(t.Context())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(said, "is locked by process") {
		t.Errorf("%q", said)
	}
	unlock()
	unlock, err = r.lock(t.Context())
	must(t, err)
	unlock()
}

func TestConfined(t *testing.T) {
	if why := Confined(t.TempDir()); !strings.Contains(why, "chroot") {
		t.Errorf("without /proc: %q", why)
	}
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "proc/1"), 0o755))
	must(t, os.Symlink(root, filepath.Join(root, "proc/1/root")))
	if why := Confined(root); why != "" {
		t.Errorf("%q", why)
	}
	must(t, os.WriteFile(filepath.Join(root, ".dockerenv"), nil, 0o644))
	if why := Confined(root); !strings.Contains(why, "container") {
		t.Errorf("%q", why)
	}
	must(t, os.Remove(filepath.Join(root, "proc/1/root")))
	must(t, os.Symlink("/", filepath.Join(root, "proc/1/root")))
	if why := Confined(root); !strings.Contains(why, "chroot") {
		t.Errorf("%q", why)
	}
}
