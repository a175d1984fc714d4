// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
)

func TestAddSidecars(t *testing.T) {
	for _, was := range []string{"", "# mine\nstay:\n  a: b\n"} {
		p := at(t, t.TempDir())
		if was != "" {
			write(t, was, p.path(ConfigFile))
		}
		undo, err := p.addSidecars([]string{"kernel/fork.c:f", "kernel/fork.c:g"})
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := boundary.LoadConfig(p.path(ConfigFile))
		if err != nil || len(cfg.Sidecar) != 2 || cfg.Sidecar[0].Function != "f" || cfg.Sidecar[0].Reason != "named on the command line" {
			t.Errorf("%+v, %v", cfg, err)
		}
		if text, _ := os.ReadFile(p.path(ConfigFile)); !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s", text)
		}
		if err := undo(); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(p.path(ConfigFile)); string(text) != was || (was == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q, %v, want %q", text, err, was)
		}
	}
	p := at(t, t.TempDir())
	var e *Error
	for _, bad := range []string{"f", ":f", "kernel/fork.c:", ""} {
		if _, err := p.addSidecars([]string{bad}); !errors.As(err, &e) || !strings.Contains(err.Error(), "write FILE:FUNCTION") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if folder.Exists(p.path(ConfigFile)) {
		t.Error("a file was written")
	}
}

func TestSidecarFiles(t *testing.T) {
	p, source := at(t, t.TempDir()), t.TempDir()
	write(t, "", source, "kernel/fork.c")
	write(t, "", source, "kernel/sched/core.c")
	tgt := &fetch.Target{Source: source}
	write(t, "sidecar:\n  kernel/fork.c:\n    f: why\n  kernel/sched/core.c:\n    g: why\n", p.path(ConfigFile))
	cfg, err := p.config(tgt)
	if err != nil {
		t.Fatal(err)
	}
	if got := sidecarFiles(cfg); !slices.Equal(got, []string{"kernel/fork.c"}) {
		t.Errorf("files %v", got)
	}
	if got, err := p.SourceDirs([]string{"fs/exec.c:g", "kernel/a.c", "odd"}); err != nil || !slices.Equal(got, []string{"fs", "kernel"}) {
		t.Errorf("directories %v, %v", got, err)
	}
	if got := sourceDirs(&boundary.Boundary{Sidecars: []string{"fs/exec.c", "kernel/fork.c"}}); !slices.Equal(got,
		[]string{"arch", "fs", "include", "io_uring", "kernel"}) {
		t.Errorf("directories %v", got)
	}
	var e *Error
	for text, want := range map[string]string{
		"sidecar:\n  kernel/frok.c:\n    f: why\n": "plugsched.yaml:3: sidecar: kernel/frok.c: the kernel's source has no such file",
		"sidecar:\n  fs/exec.c:\n    f: why\n":     "plugsched.yaml:3: sidecar: fs/exec.c: " + source + " has no fs: run `plugsched init` again",
		"sidecar: [\n":                             "plugsched.yaml",
	} {
		write(t, text, p.path(ConfigFile))
		if _, err := p.config(tgt); !errors.As(err, &e) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestJoinTree: a file that joins later is committed as the kernel has it, and
// nothing of the developer's with it.
func TestJoinTree(t *testing.T) {
	p, tgt := pristineTree(t)
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", p.Dir}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := p.makeTree(t.Context(), tgt); err != nil {
		t.Fatal(err)
	}
	write(t, "int edited;\n", p.Dir, "kernel/sched/core.c")
	write(t, "int staged;\n", p.Dir, "kernel/sched/new.c")
	git("add", "kernel/sched/new.c")

	write(t, "int fork;\n", p.state("source"), "kernel/fork.c")
	write(t, "", p.state("source"), "kernel/refused.c")
	units := []module.Unit{{Name: "kernel/fork.c", Deps: []string{p.state("source") + "/kernel/fork.c",
		filepath.Join(tgt.HeadersCommon, "include/linux/a.h"),
		filepath.Join(tgt.HeadersCommon, "include/linux/unused.h"), "/usr/include/stdio.h"},
		Command: []string{"gcc", p.state("source") + "/kernel/fork.c"}}}
	if err := writeJSON(p.state(sidecarFile), units); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is left to do
		if err := p.joinTree(t.Context(), tgt, []string{"kernel/fork.c"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := git("show", "--stat=200", "--format=%an %s", "HEAD"); !strings.HasPrefix(got, "plugsched Sidecars: kernel/fork.c") ||
		!strings.Contains(got, "include/linux/unused.h") || !strings.Contains(got, "kernel/fork.c") || !strings.Contains(got, "2 files changed") {
		t.Errorf("committed:\n%s", got)
	}
	if got := git("rev-list", "--count", "HEAD"); got != "2" {
		t.Errorf("%s commits", got)
	}
	if got, want := git("status", "--porcelain"), "M kernel/sched/core.c\nA  kernel/sched/new.c"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	if text, err := os.ReadFile(p.path(commandsFile)); err != nil || !strings.Contains(string(text), p.path("kernel/fork.c")) {
		t.Errorf("%s, %v", text, err)
	}
	write(t, "int mine;\n", p.Dir, "kernel/fork.c")
	if err := p.joinTree(t.Context(), tgt, []string{"kernel/fork.c"}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(p.path("kernel/fork.c")); string(text) != "int mine;\n" {
		t.Errorf("the developer's file is %q", text)
	}
}

func TestCheckSidecar(t *testing.T) {
	if err := checkSidecar("a.c", &bind.Reproduction{Functions: 3, Reproduced: 3}); err != nil {
		t.Error(err)
	}
	err := checkSidecar("kernel/fork.c", &bind.Reproduction{Functions: 3,
		Mismatches: []bind.Mismatch{{Function: "f", Why: "differs at +0x4"}, {}}})
	var e *Error
	if want := "sidecar: kernel/fork.c: compiled here it is not the kernel's code: f differs at +0x4, and 1 more of 3 functions: this file cannot be a sidecar"; !errors.As(err, &e) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestSidecarWarnings(t *testing.T) {
	got := sidecarWarnings(&boundary.Boundary{Functions: []*boundary.Function{
		{Name: "f", Sidecar: true, Facts: []boundary.Fact{{Kind: "sidecar"}}},
		{Name: "g", Sidecar: true, Facts: []boundary.Fact{{Kind: "waits", Text: "is slow"}}},
		{Name: "h", Facts: []boundary.Fact{{Kind: "waits", Text: "is slow"}}},
	}})
	if diff := cmp.Diff([]string{"g is slow: while one is in it, an update is busy"}, got); diff != "" {
		t.Error(diff)
	}
}
