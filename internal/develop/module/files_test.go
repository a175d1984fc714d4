// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// TestPrepare: what was built is kept until the tool or the kernel is another.
func TestPrepare(t *testing.T) {
	self, dir := filepath.Join(t.TempDir(), "self"), filepath.Join(t.TempDir(), "build")
	write(t, self, "one")
	tree := &Tree{Self: self, WorkDir: "/w", KernelBuild: "/k"}
	kept := filepath.Join(dir, "kept")
	for i, step := range []struct {
		change func()
		kept   bool
	}{
		{func() {}, true},
		{func() { write(t, self, "two") }, false},
		{func() {}, true},
		{func() { tree.KernelBuild = "/k2" }, false},
		{func() { tree.WorkDir = "/w2" }, false},
	} {
		if i == 0 {
			if err := prepare(tree, dir); err != nil {
				t.Fatal(err)
			}
		}
		write(t, kept, "")
		step.change()
		if err := prepare(tree, dir); err != nil {
			t.Fatal(err)
		}
		if exists(kept) != step.kept {
			t.Errorf("step %d: kept: %v, want %v", i, exists(kept), step.kept)
		}
	}
}

func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i, step := range []struct {
		text    string
		written bool
	}{{"one", true}, {"one", false}, {"two", true}} {
		if err := update(path, []byte(step.text), 0o644); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.ModTime().Equal(old) == step.written {
			t.Errorf("step %d: written: %v", i, !step.written)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLinkSources: the sources of the tree, no more and no fewer, each time.
func TestLinkSources(t *testing.T) {
	work, dir := t.TempDir(), t.TempDir()
	tree := &Tree{WorkDir: work, SchedDir: "kernel/sched"}
	for _, f := range []string{"b.c", "a.c", "sched.h", "Makefile"} {
		write(t, filepath.Join(work, "kernel/sched", f), "")
	}
	for _, f := range []string{"old.c", "old.s", "a.s"} {
		write(t, filepath.Join(dir, f), "")
	}
	os.Remove(filepath.Join(dir, "old.c"))
	if err := os.Symlink("/nowhere/old.c", filepath.Join(dir, "old.c")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		links, err := schedulerLinks(tree)
		if err != nil {
			t.Fatal(err)
		}
		if err := makeLinks(dir, links); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{"Makefile", "a.c", "a.s", "b.c"}, left); diff != "" {
		t.Error(diff)
	}
	if to, err := os.Readlink(filepath.Join(dir, "a.c")); err != nil || to != filepath.Join(work, "kernel/sched/a.c") {
		t.Errorf("a.c leads to %q, %v", to, err)
	}
}

func TestListUnits(t *testing.T) {
	dir := t.TempDir()
	if got, err := listUnits(dir); err != nil || len(got) > 0 {
		t.Errorf("without a list: %v, %v", got, err)
	}
	write(t, filepath.Join(dir, "units"), "fair.o core.o  build_policy.o core.o\n")
	got, err := listUnits(dir)
	if diff := cmp.Diff([]string{"build_policy.c", "core.c", "fair.c"}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestConfigHeader(t *testing.T) {
	types := &image.Types{Layouts: map[string]image.Layout{
		"struct cpu_stop_work": {Size: 48, Members: []image.Member{{Name: "fn"}, {Name: "caller"}}},
		"struct rq": {Members: []image.Member{{Name: "nr", Type: "unsigned int"}, {Name: "one_work", Type: "struct cpu_stop_work"},
			{Name: "curr", Type: "struct cpu_stop_work *"}, {Name: "other_work", Type: "struct cpu_stop_work"}}},
	}}
	got := configHeader(types, &symbols.Table{})
	if !strings.Contains(got, "#define PLUGSCHED_RQ_STOP_WORKS offsetof(struct rq, one_work), offsetof(struct rq, other_work)\n") ||
		strings.Contains(got, "PUSH_WORK") {
		t.Error(got)
	}
	if !strings.Contains(got, "#define PLUGSCHED_HAVE_STOP_WORK_CALLER 1") || strings.Contains(got, "DL_SERVER") ||
		strings.Contains(got, "HRTIMER") {
		t.Error(got)
	}
	path := filepath.Join(t.TempDir(), "symbols") // a table is indexed when it is loaded
	if err := (&symbols.Table{Symbols: []symbols.Symbol{{Name: "hrtimer_setup", Addr: 1, Kind: symbols.Func, Global: true},
		{Name: "push_work", Addr: 2, Size: 48, Kind: symbols.Object}}}).Save(path); err != nil {
		t.Fatal(err)
	}
	kernel, err := symbols.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := configHeader(types, kernel); !strings.Contains(got, "#define PLUGSCHED_HAVE_HRTIMER_SETUP 1") ||
		!strings.Contains(got, "#define PLUGSCHED_HAVE_PUSH_WORK 1") {
		t.Error(got)
	}
}

// TestCheckTargets: a border function that is not in the module would jump to
// itself.
func TestCheckTargets(t *testing.T) {
	dir := t.TempDir()
	src, ko := filepath.Join(dir, "m.s"), filepath.Join(dir, "m.ko")
	write(t, src, "\t.globl here, plugsched_schedule\nhere:\nplugsched_schedule:\n\tcall absent\n")
	if out, err := exec.Command("gcc", "-c", "-o", ko, src).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	border := func(names ...string) *boundary.Boundary {
		b := &boundary.Boundary{}
		for _, n := range names {
			b.Functions = append(b.Functions, &boundary.Function{Name: n, Class: boundary.Interface})
		}
		return b
	}
	if err := CheckTargets(ko, border("here", "__schedule")); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"absent", "unknown"} {
		if err := CheckTargets(ko, border("here", name)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
