// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

func put(t *testing.T, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// changedTree is a developer's tree of which the kernel's source is at hand and some files
// were edited.
func changedTree(t *testing.T) (*Kernel, *Sources, *edits.Set) {
	t.Helper()
	s := &Sources{Tree: t.TempDir(), SchedDir: "kernel/sched", Kernel: t.TempDir(), Dirs: []string{"kernel", "arch/x86", "include"}}
	pristine := t.TempDir()
	for _, dir := range []string{s.Tree, pristine, s.Kernel} {
		put(t, "obj-y += core.o\n", dir, "kernel/sched/Makefile")
		put(t, "int f(void) { return 1; }\n", dir, "kernel/sched/core.c")
		put(t, "int off;\n", dir, "kernel/sched/off.c")
		put(t, "#define LENT 1\n", dir, "kernel/sched/smp.h")
	}
	for _, dir := range []string{s.Tree, pristine} {
		put(t, "#define A 1\n#define B 1\n", dir, "include/linux/sched.h")
	}
	put(t, "/* A */\n#include \"sched/smp.h\"\nint x = A;\n", s.Kernel, "kernel/smp.c")
	put(t, "int x = A;\n", s.Kernel, "arch/arm64/kernel/a.c")
	put(t, "int x = A + B;\n", s.Kernel, "kernel/sched/other.c")
	put(t, "int x = AB;\n", s.Kernel, "fs/x.c")

	put(t, "int f(void) { return 2; }\n", s.Tree, "kernel/sched/core.c")
	put(t, "int off = 1;\n", s.Tree, "kernel/sched/off.c")
	put(t, "int added;\n", s.Tree, "kernel/sched/added.c")
	put(t, "int compiled;\n", s.Tree, "kernel/sched/compiled.c")
	put(t, "int elsewhere;\n", s.Tree, "mm/elsewhere.c")
	put(t, "#define LENT 2\n", s.Tree, "kernel/sched/smp.h")
	put(t, "#define A 2\n#define B 2\n", s.Tree, "include/linux/sched.h")
	for _, name := range []string{"kernel/sched/core.c", "include/linux/sched.h", "kernel/sched/smp.h", "kernel/sched/compiled.c"} {
		s.Compiled = append(s.Compiled, filepath.Join(s.Tree, name))
	}
	src, err := edits.Load(t.Context(), s.Tree, []string{"include", "kernel", "mm"}, func(rel string) (string, error) {
		if path := filepath.Join(pristine, rel); exists(path) {
			return path, nil
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return NewKernel(arch.X86, &boundary.Boundary{Sources: []string{"kernel/sched"}}, nil), s, src
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestUncompiled(t *testing.T) {
	_, s, src := changedTree(t)
	refusals, unseen := s.uncompiled(src)
	var got []string
	for _, r := range refusals {
		got = append(got, r.String())
	}
	for i, want := range []string{"kernel/sched/added.c:1: added.c is compiled by nothing, so that it would not take effect; add it to kernel/sched/Makefile (obj-y += added.o)",
		"mm/elsewhere.c:1: elsewhere.c is compiled by nothing, so that it would not take effect; only kernel/sched is built"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) || len(got) != 2 {
			t.Errorf("refused %q, want %q", got, want)
		}
	}
	if len(unseen) != 1 || unseen[0].File != "kernel/sched/off.c" {
		t.Errorf("unseen %q", unseen)
	}
}

func TestUsers(t *testing.T) {
	k, s, src := changedTree(t)
	includers, err := k.includers(t.Context(), src, s)
	if diff := cmp.Diff(map[string][]string{"kernel/sched/smp.h": {"kernel/smp.c"}}, includers); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	users, err := k.headerUsers(t.Context(), k.HeaderChanges(src, includers), s)
	if diff := cmp.Diff(map[string][]string{"A": {"kernel/smp.c:3"}}, users); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestUnbuilt(t *testing.T) {
	_, s, _ := changedTree(t)
	s.ListedBefore, s.Listed = []string{"old.o"}, []string{"sub/", "old.o"}
	r := s.unbuilt("obj-y += core.o\nobj-y += sub/\nobj-m += old.o\n")
	if len(r) != 1 || !strings.HasPrefix(r[0].String(), "kernel/sched/Makefile:2: sub/ is a directory") {
		t.Errorf("%v", r)
	}
}

// TestCompareSources: each check has its say.
func TestCompareSources(t *testing.T) {
	k, s, src := changedTree(t)
	s.Listed = []string{"sub/"}
	s.Ours = map[string]string{"B": "plugsched.yaml:1"}
	c, err := k.CompareSources(t.Context(), src, s)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.Refusals {
		got = append(got, string(r.Class)+" "+r.Name)
	}
	if diff := cmp.Diff([]string{"not-compiled sub/", "not-compiled added.c", "not-compiled elsewhere.c", "header A"}, got); diff != "" {
		t.Error(diff)
	}
	if len(c.Unseen) != 1 {
		t.Errorf("unseen %q", c.Unseen)
	}
}
