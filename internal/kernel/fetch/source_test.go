// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/outcome"
)

// TestSource: the source of a later kernel comes alone, and what it is says its Makefile.
func TestSource(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	done := map[string]bool{}
	o := a.options(testRelease)
	o.Progress = func(p Progress) { done[p.Step+" "+p.Item] = true }
	dir, err := Source(t.Context(), o)
	if err != nil || existing(filepath.Join(dir, "kernel/sched/core.c")) == "" {
		t.Fatalf("%q, %v", dir, err)
	}
	if !done["unpack source"] || done["unpack vmlinux"] || done["unpack image"] || done["unpack headers"] {
		t.Errorf("%v", done)
	}
	if v, err := SourceVersion(dir); v != "6.1.7" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	a.clearLog()
	if again, err := Source(t.Context(), o); again != dir || err != nil {
		t.Errorf("again: %q, %v", again, err)
	}
	if log := a.log(); log != "" {
		t.Errorf("a complete cache ran programs:\n%s", log)
	}
	o.Manual.Source = dir
	if by, err := Source(t.Context(), o); by != dir || err != nil {
		t.Errorf("by hand: %q, %v", by, err)
	}
	if _, err := SourceVersion(t.TempDir()); outcome.Of(err) != outcome.Precondition {
		t.Errorf("no source: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte("all:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := SourceVersion(dir); outcome.Of(err) != outcome.Precondition || strings.Contains(err.Error(), "\n") {
		t.Errorf("no version: %v", err)
	}
}

// TestLater: the newest of the same series and flavour.
func TestLater(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	a.publish(newKernel("6.1.0-11-cloud-amd64", "6.1.9-1"))
	a.publish(newKernel("6.12.0-1-cloud-amd64", "6.12.1-1"))
	o := a.options(testRelease)
	if r, err := Later(t.Context(), o); r != "6.1.0-11-cloud-amd64" || err != nil {
		t.Errorf("%q, %v", r, err)
	}
	o.Suite = "trixie-backports"
	if r, err := Later(t.Context(), o); r != "6.1.0-11-cloud-amd64" || err != nil {
		t.Errorf("in a suite: %q, %v", r, err)
	}
	if existing(filepath.Join(o.CacheDir, "apt/trixie-backports/apt.conf")) == "" {
		t.Error("the suite's lists were not read")
	}
	if _, err := Later(t.Context(), Options{Release: "mine"}); outcome.Of(err) != outcome.Precondition {
		t.Errorf("not Debian's: %v", err)
	}
}
