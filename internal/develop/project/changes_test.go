// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
)

// changedProject is a working directory of which the kernel's source is at hand
// and some files were edited.
func changedProject(t *testing.T) (*build, *fetch.Target, *edits.Set) {
	t.Helper()
	p := at(t, t.TempDir())
	tg := &fetch.Target{Source: t.TempDir(), HeadersCommon: t.TempDir(), KernelArch: "x86"}
	if err := writeJSONAt(t, p.state(targetFile), tg); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{p.Dir, p.state("source"), tg.Source} {
		write(t, "obj-y += core.o\n", dir, "kernel/sched/Makefile")
		write(t, "int f(void) { return 1; }\n", dir, "kernel/sched/core.c")
		write(t, "int off;\n", dir, "kernel/sched/off.c")
		write(t, "#define LENT 1\n", dir, "kernel/sched/smp.h")
	}
	for _, dir := range []string{p.Dir, tg.HeadersCommon} {
		write(t, "#define A 1\n#define B 1\n", dir, "include/linux/sched.h")
	}
	write(t, "/* A */\n#include \"sched/smp.h\"\nint x = A;\n", tg.Source, "kernel/smp.c")
	write(t, "int x = A;\n", tg.Source, "arch/arm64/kernel/a.c")
	write(t, "int x = A + B;\n", tg.Source, "kernel/sched/other.c")
	write(t, "int x = AB;\n", tg.Source, "fs/x.c")

	write(t, "int f(void) { return 2; }\n", p.Dir, "kernel/sched/core.c")
	write(t, "int off = 1;\n", p.Dir, "kernel/sched/off.c")
	write(t, "int added;\n", p.Dir, "kernel/sched/added.c")
	write(t, "int compiled;\n", p.Dir, "kernel/sched/compiled.c")
	write(t, "int elsewhere;\n", p.Dir, "mm/elsewhere.c")
	write(t, "#define LENT 2\n", p.Dir, "kernel/sched/smp.h")
	write(t, "#define A 2\n#define B 2\n", p.Dir, "include/linux/sched.h")
	write(t, "int hidden;\n", p.Dir, ".cache/x.c")
	b := &build{Project: p, boundary: &boundary.Boundary{Sources: []string{"kernel/sched"}}, desc: &desc.Description{}, units: []module.Unit{
		{Name: "kernel/sched/core.c", Deps: []string{p.path("kernel/sched/core.c"), p.path("include/linux/sched.h"), p.path("kernel/sched/smp.h"), p.path("kernel/sched/compiled.c")}}}}
	src, err := b.changes()
	if err != nil {
		t.Fatal(err)
	}
	return b, tg, src
}

func writeJSONAt(t *testing.T, path string, v any) error {
	t.Helper()
	write(t, "", path)
	return writeJSON(path, v)
}

func TestChanges(t *testing.T) {
	b, _, src := changedProject(t)
	want := []string{"include/linux/sched.h", "kernel/sched/added.c", "kernel/sched/compiled.c", "kernel/sched/core.c", "kernel/sched/off.c", "kernel/sched/smp.h", "mm/elsewhere.c"}
	if diff := cmp.Diff(want, src.Files); diff != "" {
		t.Error(diff)
	}
	var got []string
	for _, r := range b.uncompiled(src) {
		got = append(got, r.String())
	}
	for i, want := range []string{"kernel/sched/added.c:1: added.c is compiled by nothing, so that it would not take effect; add it to kernel/sched/Makefile (obj-y += added.o)",
		"mm/elsewhere.c:1: elsewhere.c is compiled by nothing, so that it would not take effect; only kernel/sched is built"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) || len(got) != 2 {
			t.Errorf("refused %q, want %q", got, want)
		}
	}
	if len(b.desc.Warnings) != 1 || !strings.HasPrefix(b.desc.Warnings[0], "kernel/sched/off.c: ") {
		t.Errorf("warnings %q", b.desc.Warnings)
	}
}

func TestUsers(t *testing.T) {
	b, tg, src := changedProject(t)
	includers, err := b.includers(tg, src)
	if diff := cmp.Diff(map[string][]string{"kernel/sched/smp.h": {"kernel/smp.c"}}, includers); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	changes := bind.NewKernel(b.boundary, nil).HeaderChanges(src, includers)
	users, err := b.users(tg, changes)
	if diff := cmp.Diff(map[string][]string{"A": {"kernel/smp.c:3"}}, users); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestUsersAnywhere: whoever uses a name is found in all directories that have code.
func TestUsersAnywhere(t *testing.T) {
	b, tg, src := changedProject(t)
	want := []string{"kernel/smp.c:3"}
	for _, file := range []string{"fs/proc/base.c", "mm/memory.c", "drivers/cpufreq/cpufreq.c"} {
		write(t, "int x = A;\n", tg.Source, file)
		want = append(want, file+":1")
	}
	users, err := b.users(tg, bind.NewKernel(b.boundary, nil).HeaderChanges(src, nil))
	if diff := cmp.Diff(want, users["A"]); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestUnbuilt(t *testing.T) {
	b, _, _ := changedProject(t)
	write(t, "obj-y += core.o\nobj-y += sub/\nobj-m += old.o\n", b.Dir, "kernel/sched/Makefile")
	write(t, "old.o\n", b.state("pristine"), "others")
	write(t, "sub/ old.o\n", b.state("edited"), "others")
	r, err := b.unbuilt()
	if err != nil || len(r) != 1 || !strings.HasPrefix(r[0].String(), "kernel/sched/Makefile:2: sub/ is a directory") {
		t.Errorf("%v %v", r, err)
	}
}

func TestSameConfig(t *testing.T) {
	p := at(t, t.TempDir())
	derive := func() {
		cfg, err := boundary.LoadConfig(p.path(configFile))
		if err != nil {
			t.Fatal(err)
		}
		rests, err := cfg.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		write(t, rests, p.state(configSumFile))
	}
	if err := p.sameConfig(); err != nil {
		t.Errorf("a directory of an older version: %v", err)
	}
	derive()
	for _, tt := range []struct{ text, want string }{
		{"# only a remark\n", ""},
		{"headers: {A: why}\n", ""},
		{"package: {name: mine, summary: \"\"}\n", ""},
		{"stay: {f: why}\n", "plugsched.yaml: has changed since `plugsched init`"},
		{"stay:\n  - f\n", "plugsched.yaml:2: "},
	} {
		write(t, tt.text, p.path(configFile))
		err := p.sameConfig()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), filepath.Join(p.Dir, tt.want))) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
	write(t, "stay: {f: why}\n", p.path(configFile))
	derive()
	if err := p.sameConfig(); err != nil {
		t.Error(err)
	}
}
