// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
)

const release = "6.1.0-1-amd64"

var pkg = &installed.Package{Name: "scheduler-" + release, Scheduler: "scheduler", Release: release}

func read(t *testing.T, root string) *Guard {
	t.Helper()
	g, err := ReadGuard(root, pkg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func attempt(module, boot string) Attempt {
	return Attempt{Package: "scheduler-" + release, Version: "1", Module: module, BootID: boot}
}

// TestGuard follows a machine: what is on disk decides, as after a power cut.
func TestGuard(t *testing.T) {
	root := t.TempDir()
	tripped := func(module, boot, want string) {
		t.Helper()
		if why := read(t, root).Tripped(module, boot); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s in %s: %q, want %q", module, boot, why, want)
		}
	}
	tripped("a", "boot1", "")
	must(t, read(t, root).Begin(attempt("a", "boot1")))
	tripped("a", "boot1", "") // killed, and begun again in the same boot
	tripped("a", "boot2", "was loaded and not confirmed")
	tripped("b", "boot2", "") // a newer version

	must(t, read(t, root).Confirm())
	tripped("a", "boot2", "")
	if g := read(t, root); !g.Knows("a") || g.Knows("b") || g.Attempt != nil {
		t.Errorf("after the confirmation: %+v", g)
	}

	g := read(t, root)
	must(t, g.Begin(attempt("b", "boot2")))
	must(t, g.Fail("it was slow"))
	tripped("b", "boot2", "rolled back: it was slow")
	tripped("b", "boot3", "rolled back: it was slow")
	if g := read(t, root); !g.Knows("a") || !g.Knows("b") {
		t.Errorf("a runs still, and b is of the package: %+v", g)
	}
	if was, err := read(t, root).Reset(); !was || err != nil {
		t.Errorf("reset: %v, %v", was, err)
	}
	tripped("b", "boot3", "")
	if was, err := read(t, root).Reset(); was || err != nil {
		t.Errorf("second reset: %v, %v", was, err)
	}

	g = read(t, root)
	must(t, g.Begin(attempt("c", "boot3")))
	must(t, g.Withdraw())
	tripped("c", "boot4", "")
	files, _ := filepath.Glob(filepath.Join(root, installed.StateDir, "*"))
	if len(files) != 1 {
		t.Errorf("files %v", files)
	}
	st, err := os.Stat(filepath.Join(root, installed.StateDir))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

// TestGuardConfirmOnFullDisk: once Begin has returned, confirmation takes no new file.
func TestGuardConfirmOnFullDisk(t *testing.T) {
	root := t.TempDir()
	g := read(t, root)
	must(t, g.Begin(attempt("a", "boot1")))
	before, _ := filepath.Glob(filepath.Join(root, installed.StateDir, "*"))
	must(t, g.Confirm())
	after, _ := filepath.Glob(filepath.Join(root, installed.StateDir, "*"))
	if len(before) != 2 || len(after) != 1 {
		t.Errorf("%v, then %v", before, after)
	}
	if g := read(t, root); g.Confirmed == nil || g.Confirmed.Module != "a" {
		t.Errorf("%+v", g)
	}
}

func TestGuardDamaged(t *testing.T) {
	root := t.TempDir()
	must(t, read(t, root).Begin(attempt("a", "boot1")))
	path := filepath.Join(root, installed.GuardFile(pkg.Name))
	must(t, os.WriteFile(path, []byte("{\x00\x00"), 0o600))
	g, err := ReadGuard(root, pkg)
	var tripped *GuardError
	if !errors.As(err, &tripped) || !strings.Contains(err.Error(), "--reset") {
		t.Fatalf("%v", err)
	}
	if was, err := g.Reset(); !was || err != nil {
		t.Errorf("reset: %v, %v", was, err)
	}
	read(t, root)
}

// TestGuardUnwritable: an attempt that cannot be noted is not begun.
func TestGuardUnwritable(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "var/lib"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, installed.StateDir), nil, 0o600)) // root ignores modes
	g := &Guard{path: filepath.Join(root, installed.GuardFile(pkg.Name))}
	if err := g.Begin(attempt("a", "boot1")); err == nil {
		t.Error("no error")
	}
}
