// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
)

// changedProject is a working directory of which the kernel's source is at hand
// and some files were edited.
func changedProject(t *testing.T) (*Project, *edits.Set) {
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
	src, err := p.changes(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	return p, src
}

func writeJSONAt(t *testing.T, path string, v any) error {
	t.Helper()
	write(t, "", path)
	return writeJSON(path, v)
}

func TestChanges(t *testing.T) {
	p, src := changedProject(t)
	want := []string{"include/linux/sched.h", "kernel/sched/added.c", "kernel/sched/compiled.c", "kernel/sched/core.c",
		"kernel/sched/off.c", "kernel/sched/smp.h", "mm/elsewhere.c"}
	if diff := cmp.Diff(want, src.Files); diff != "" {
		t.Error(diff)
	}
	write(t, "old.o\n", p.state("pristine"), "others")
	write(t, "sub/ old.o\n", p.state("edited"), "others")
	s, err := p.sources(t.Context(), &inputs{target: &fetch.Target{Source: "/s"}, config: &boundary.Config{}},
		[]module.Unit{{Deps: []string{"/a"}}, {Deps: []string{"/b"}}})
	if err != nil || s.Kernel != "/s" || !slices.Equal(s.Compiled, []string{"/a", "/b"}) ||
		!slices.Equal(s.Listed, []string{"sub/", "old.o"}) || !slices.Equal(s.ListedBefore, []string{"old.o"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSameConfig(t *testing.T) {
	p := at(t, t.TempDir())
	derive := func() {
		cfg, err := boundary.LoadConfig(p.path(ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		rests, err := cfg.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		write(t, rests, p.state(configSumFile))
	}
	if _, err := p.sameConfig(); err != nil {
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
		write(t, tt.text, p.path(ConfigFile))
		_, err := p.sameConfig()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), filepath.Join(p.Dir, tt.want))) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
	write(t, "stay: {f: why}\n", p.path(ConfigFile))
	derive()
	if _, err := p.sameConfig(); err != nil {
		t.Error(err)
	}
}

// TestFlags: which options of the compiler can be why code differs.
func TestFlags(t *testing.T) {
	p := at(t, t.TempDir())
	unit := func(options ...string) module.Unit {
		return module.Unit{Name: "a.c", Command: append(append([]string{"gcc"}, options...), "-c", p.Dir+"/a.c")}
	}
	in := &inputs{pristine: map[string]module.Unit{"a.c": unit("-O2", "-Wall", "-Iold", "-DX=1", "-Wp,-DA")}}
	got := p.flags(in, []module.Unit{unit("-O1", "-Wextra", "-Wno-unused", "-Inew", "-I", "x", "-DX=1", "-Wa,--noexecstack")})
	want := []string{"+-O1", "+-Wa,--noexecstack", "--O2", "--Wp,-DA"}
	if !slices.Equal(got["a.c"], want) {
		t.Errorf("%q, want %q", got["a.c"], want)
	}
}
