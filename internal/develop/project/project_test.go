// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/outcome"
)

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// files lists what is below dir, relative to it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := folder.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i], _ = filepath.Rel(dir, list[i])
	}
	slices.Sort(list)
	return list
}

func at(t *testing.T, dir string) *Project {
	t.Helper()
	p, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCopySource(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "source")
	write(t, "#include \"sched.h\"\n  # include \"../../io_uring/io-wq.h\"\n#include <linux/list.h>\n//#include \"../unused.h\"\n#include \"missing.h\"\n", from, "kernel/sched/core.c")
	write(t, "#include \"../smpboot.h\"\n#include \"../../../outside.h\"\n", from, "kernel/sched/sched.h")
	write(t, "obj-y += core.o\n", from, "kernel/sched/Makefile")
	write(t, "#include \"workqueue_internal.h\"\n#include \"smpboot.h\"\n", from, "kernel/smpboot.h")
	write(t, "", from, "kernel/workqueue_internal.h")
	write(t, "", from, "kernel/unused.h")
	write(t, "", from, "io_uring/io-wq.h")
	write(t, "", from, "include/linux/list.h")
	write(t, "", from, "..", "outside.h")
	write(t, "", from, "kernel/sched/sub/skipped.c")
	write(t, "left from the last time", to, "old.c")
	n, err := copySource(from, to)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"io_uring/io-wq.h", "kernel/sched/Makefile", "kernel/sched/core.c", "kernel/sched/sched.h", "kernel/smpboot.h",
		"kernel/workqueue_internal.h"}
	if diff := cmp.Diff(want, files(t, to)); diff != "" || n != len(want) {
		t.Errorf("%d files: %s", n, diff)
	}
	for _, f := range want {
		a, _ := os.ReadFile(filepath.Join(from, f))
		if b, err := os.ReadFile(filepath.Join(to, f)); err != nil || string(a) != string(b) {
			t.Errorf("%s: %q, want %q (%v)", f, b, a, err)
		}
	}
	var e *Error
	if _, err := copySource(t.TempDir(), to); !errors.As(err, &e) || !strings.Contains(err.Error(),
		"has no kernel/sched: not a kernel source tree") {
		t.Errorf("not a source tree: %v", err)
	}
}

func TestStage(t *testing.T) {
	p := at(t, t.TempDir())
	write(t, "", p.state(), "x")
	var events []string
	p.Progress = func(e Event) {
		s := e.Stage + " " + e.Text
		if e.Skipped {
			s += " skipped"
		}
		events = append(events, s)
	}
	runs := 0
	stage := func(key string, result error) error {
		return p.stage("s", "doing", key, func() (string, error) {
			runs++
			if key != "" && folder.Exists(p.state("s.done")) {
				t.Error("the mark of a finished stage is there while it runs")
			}
			return "did", result
		})
	}
	boom := errors.New("boom")
	for i, step := range []struct {
		key    string
		result error
		runs   int
	}{
		{"k1", nil, 1},
		{"k1", nil, 1},  // unchanged: skipped
		{"k2", boom, 2}, // other inputs, fails
		{"k2", nil, 3},  // so that it runs again
		{"k2", nil, 3},
		{"k3", context.Canceled, 4}, // interrupted
		{"k2", nil, 5},              // what was there before is not trusted
		{"", nil, 6},                // without a key it always runs
		{"", nil, 7},
	} {
		if err := stage(step.key, step.result); !errors.Is(err, step.result) {
			t.Errorf("step %d: error %v", i, err)
		}
		if runs != step.runs {
			t.Errorf("step %d: ran %d times, want %d", i, runs, step.runs)
		}
	}
	if want := []string{"s doing", "s did", "s unchanged skipped"}; !slices.Equal(events[:3], want) {
		t.Errorf("events %q, want %q", events[:3], want)
	}
}

func TestHashOf(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, "one", a)
	write(t, "two", b)
	hash := func(values []string, files ...string) string {
		t.Helper()
		h, err := hashOf(values, files...)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	base := hash([]string{"v", "w"}, a, b)
	if base != hash([]string{"v", "w"}, b, a) {
		t.Error("the order of files matters")
	}
	seen := map[string]string{base: "base"}
	note := func(what, h string) {
		if was, dup := seen[h]; dup {
			t.Errorf("%s: equal to %s", what, was)
		}
		seen[h] = what
	}
	note("values joined", hash([]string{"vw"}, a, b))
	note("values shifted", hash([]string{"vw", ""}, a, b))
	note("values swapped", hash([]string{"w", "v"}, a, b))
	note("one file", hash([]string{"v", "w"}, a))
	note("missing file", hash([]string{"v", "w"}, a, b, filepath.Join(dir, "c")))
	write(t, "two!", b)
	note("changed file", hash([]string{"v", "w"}, a, b))
	write(t, "onetwo", a)
	write(t, "", b)
	note("contents moved", hash([]string{"v", "w"}, a, b))
	if _, err := hashOf(nil, dir); err == nil {
		t.Error("a directory has a hash")
	}
}

// claimed is claim by a process that ends then.
func (p *Project) claimed(t *fetch.Target) error {
	unlock, err := p.claim(t)
	if err == nil {
		unlock()
	}
	return err
}

func TestClaim(t *testing.T) {
	kernel := func(id string) *fetch.Target {
		return &fetch.Target{Release: "6.1.0-" + id, BuildID: strings.Repeat(id, 10), KernelArch: "x86"}
	}
	dir := t.TempDir()
	foreign, mine, fresh := filepath.Join(dir, "foreign"), filepath.Join(dir, "mine"), filepath.Join(dir, "a/b/fresh")
	write(t, "precious", foreign, "thesis.tex")
	if err := at(t, foreign).claimed(kernel("aaaa")); err == nil || !strings.Contains(err.Error(), "exists and is not empty") {
		t.Errorf("foreign directory: %v", err)
	}
	if got := files(t, foreign); !slices.Equal(got, []string{"thesis.tex"}) {
		t.Errorf("the foreign directory has %v now", got)
	}
	for _, d := range []string{mine, fresh} {
		for range 2 { // a second run resumes
			if err := at(t, d).claimed(kernel("aaaa")); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, "edited", mine, "kernel/sched/core.c")
	if err := at(t, mine).claimed(kernel("aaaa")); err != nil {
		t.Errorf("with files of its own: %v", err)
	}
	var e *Error
	err := at(t, mine).claimed(kernel("bbbb"))
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "is for kernel 6.1.0-aaaa (build-id aaaaaaaa), not 6.1.0-bbbb (build-id bbbbbbbb)") {
		t.Errorf("other kernel: %v", err)
	}
	other := kernel("aaaa")
	other.KernelArch = "s390"
	if err := at(t, filepath.Join(dir, "s390")).claimed(other); !errors.As(err, &e) || !strings.Contains(err.Error(),
		"s390 is not supported") || folder.Exists(filepath.Join(dir, "s390")) {
		t.Errorf("other architecture: %v", err)
	}
	if got, err := at(t, mine).Target(); err != nil || got.Release != "6.1.0-aaaa" {
		t.Errorf("target %+v, %v", got, err)
	}
	write(t, "in the way", dir, "file")
	if err := at(t, filepath.Join(dir, "file")).claimed(kernel("aaaa")); err == nil {
		t.Error("a file is claimed as a directory")
	}
	write(t, "{", mine, StateDir, targetFile)
	if err := at(t, mine).claimed(kernel("bbbb")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a directory whose kernel cannot be read was claimed for another: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	var e *Error
	if _, err := Open(filepath.Join(dir, "none")); !errors.As(err, &e) || !strings.Contains(err.Error(), "not a working directory: run `plugsched init") {
		t.Errorf("missing: %v", err)
	}
	write(t, "", dir, StateDir, "source.done")
	if _, err := Open(dir); !errors.As(err, &e) || !strings.Contains(err.Error(), "has not finished") {
		t.Errorf("unfinished: %v", err)
	}
	write(t, `{"Functions": 5, "Reproduced": 5}`, dir, StateDir, reproduceFile)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	p, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Reproduction(); err != nil || r.Functions != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	if real, _ := filepath.EvalSymlinks(dir); p.Dir != real {
		t.Errorf("directory %s, want %s", p.Dir, real)
	}
	write(t, "{", dir, StateDir, boundaryFile)
	if _, err := p.Boundary(); err == nil || !strings.Contains(err.Error(), "is damaged") || !strings.Contains(err.Error(), boundaryFile) {
		t.Errorf("damaged boundary: %v", err)
	}
}

func TestWriteJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	if err := writeJSON(path, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(path, make(chan int)); err == nil {
		t.Error("a channel was written")
	}
	var got map[string]int
	if err := readJSON(path, &got); err != nil || got["a"] != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if l := files(t, filepath.Dir(path)); len(l) != 1 {
		t.Errorf("left behind: %v", l)
	}
	if err := writeJSON(filepath.Join(filepath.Dir(path), "none", "a"), 1); !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "remove") {
		t.Errorf("missing directory: %v", err)
	}
}

// pristineTree makes a project whose source was compiled from one file.
func pristineTree(t *testing.T) (*Project, *fetch.Target) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	p := at(t, filepath.Join(t.TempDir(), "work"))
	common := t.TempDir()
	tgt := &fetch.Target{Release: "6.1.0-test", Version: "6.1.1-1", BuildID: "abcd", HeadersCommon: common, KernelBuild: "/k"}
	write(t, "int a;\n", p.state("source"), "kernel/sched/core.c")
	write(t, "#define A\n", common, "include/linux/a.h")
	write(t, "#define B\n", common, "include/linux/unused.h")
	units := []module.Unit{{Name: "kernel/sched/core.c", Deps: []string{filepath.Join(common, "include/linux/a.h"), "/usr/include/stdio.h"},
		Command: []string{"gcc", "-I" + p.state("source") + "/include", "-c", p.state("source") + "/kernel/sched/core.c"}}}
	if err := writeJSON(p.state(pristineFile), units); err != nil {
		t.Fatal(err)
	}
	return p, tgt
}

// TestStateGone: a tree whose state is gone can be initialised again for its kernel, and for no other.
func TestStateGone(t *testing.T) {
	p, tgt := pristineTree(t)
	if _, err := p.makeTree(t.Context(), tgt); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(p.state()); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckDir(); err != nil {
		t.Errorf("it is refused: %v", err)
	}
	if err := writeJSON(p.mkState(t, pristineFile), []module.Unit{}); err != nil {
		t.Fatal(err)
	}
	if text, err := p.makeTree(t.Context(), tgt); text != "exists" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	other := *tgt
	other.BuildID = "0123"
	var e *Error
	if _, err := p.makeTree(t.Context(), &other); !errors.As(err, &e) || !strings.Contains(err.Error(), "another kernel (build-id abcd)") {
		t.Errorf("another kernel: %v", err)
	}
}

// TestDamaged: what cannot be read is the user's to remove, and all that has to be removed is named.
func TestDamaged(t *testing.T) {
	p := at(t, t.TempDir())
	for name, read := range map[string]func() error{
		targetFile:   func() error { _, err := p.Target(); return err },
		boundaryFile: func() error { _, err := p.Boundary(); return err },
		symbolsFile:  func() error { _, err := p.symbols(); return err },
	} {
		write(t, "{{", p.state(name))
		err := read()
		if want := "remove " + p.state() + " and run `plugsched init` again"; outcome.Of(err) != outcome.Precondition ||
			!strings.Contains(err.Error(), name+" is damaged") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMakeTree(t *testing.T) {
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
	want := ".clangd\n.gitignore\ninclude/linux/a.h\nkernel/sched/core.c\nplugsched.yaml"
	if got := git("ls-files"); got != want {
		t.Errorf("committed %q, want %q", got, want)
	}
	if got := git("status", "--porcelain") + git("rev-list", "--count", "HEAD") + git("describe", "--tags"); got != "1pristine" {
		t.Errorf("state of the repository: %q", got)
	}
	var commands []struct {
		Directory, File string
		Arguments       []string
	}
	text, err := os.ReadFile(p.path(commandsFile))
	if err != nil || json.Unmarshal(text, &commands) != nil || len(commands) != 1 {
		t.Fatalf("%s, %v", text, err)
	}
	if c := commands[0]; c.Directory != "/k" || c.File != p.path("kernel/sched/core.c") || c.Arguments[3] != c.File || c.Arguments[1] != "-I"+p.path("include") {
		t.Errorf("command %+v", c)
	}
	// The developer's work survives another init.
	write(t, "int edited;\n", p.Dir, "kernel/sched/core.c")
	write(t, "stay: {}\n", p.Dir, ConfigFile)
	if _, err := p.makeTree(t.Context(), tgt); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"kernel/sched/core.c": "int edited;\n", ConfigFile: "stay: {}\n"} {
		if got, _ := os.ReadFile(p.path(name)); string(got) != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestMakeTreeResumes: an init that was stopped between git's steps goes on.
func TestMakeTreeResumes(t *testing.T) {
	for name, before := range map[string][][]string{
		"after init":   {{"init", "-q", "-b", "main"}},
		"after add":    {{"init", "-q", "-b", "main"}, {"add", "-A"}},
		"after commit": {{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "x"}},
	} {
		p, tgt := pristineTree(t)
		if len(before) > 1 { // as far as the first run came
			if _, err := p.makeTree(t.Context(), tgt); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(p.path(".git")); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range before {
			if err := p.Git().Run(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.makeTree(t.Context(), tgt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.Git().Run(t.Context(), "rev-parse", "-q", "--verify", pristineTag); err != nil {
			t.Errorf("%s: no tag", name)
		}
	}
}

// TestOldSpringboard: what an older tool left of a kernel, without the code, is refused.
func TestOldSpringboard(t *testing.T) {
	p := at(t, t.TempDir())
	write(t, `{"Call": 100, "Return": 105, "Pushes": ["rbp"]}`, p.state(springFile))
	var e *Error
	if _, err := p.springboard(); !errors.As(err, &e) || !strings.Contains(err.Error(), "run `plugsched init` again") {
		t.Errorf("%v", err)
	}
	write(t, `{"Call": 100, "Return": 105, "Assembly": "nop"}`, p.state(springFile))
	if s, err := p.springboard(); err != nil || s.Return != 105 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestErrors(t *testing.T) {
	m := &MismatchError{Reproduction{Functions: 9, Mismatches: []bind.Mismatch{{Function: "f", Unit: "u.c", Why: "differs"}, {}}}, "another compiler"}
	if want := "the source does not reproduce the kernel: f (u.c) differs, and 1 more of 9 functions; likely cause: another compiler"; m.Error() != want {
		t.Errorf("%q", m)
	}
	r := &RefusedError{[]bind.Refusal{{Class: bind.Stays, Name: "f", Why: "is bad", Do: "stop"}, {Class: bind.Init, Name: "g", Why: "is worse", Do: "run"}}}
	if want := "f is bad; stop (docs/develop/refusals.md#stays)\ng is worse; run (docs/develop/refusals.md#init)"; r.Error() != want {
		t.Errorf("%q", r)
	}
}

// TestClangd: options that only gcc knows do not reach clangd, and those that change what
// source means do, if the kernel is built with them.
func TestClangd(t *testing.T) {
	p, tgt := pristineTree(t)
	units, err := p.pristine()
	if err != nil {
		t.Fatal(err)
	}
	units[0].Command = append(units[0].Command, "-fshort-wchar", "-fconserve-stack", "-mindirect-branch=thunk-extern")
	if err := writeJSON(p.state(pristineFile), units); err != nil {
		t.Fatal(err)
	}
	if _, err := p.makeTree(t.Context(), tgt); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(p.path(clangdFile))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		CompileFlags struct{ Remove, Add []string } `yaml:"CompileFlags"`
	}
	if err := yaml.Unmarshal([]byte(strings.NewReplacer("Remove", "remove", "Add", "add").Replace(string(text))), &got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if want := []string{"-f*", "-m*"}; !slices.Equal(got.CompileFlags.Remove, want) {
		t.Errorf("removed: %v", got.CompileFlags.Remove)
	}
	if want := []string{"-Wno-unknown-warning-option", "-fshort-wchar"}; !slices.Equal(got.CompileFlags.Add, want) {
		t.Errorf("added: %v", got.CompileFlags.Add)
	}
}

// TestIgnored: what the commands write by default is no change of the developer's.
func TestIgnored(t *testing.T) {
	p, tgt := pristineTree(t)
	if _, err := p.makeTree(t.Context(), tgt); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"boundary.html", "scheduler.ko", "scheduler.yaml", "a.deb", "a.rpm", ".plugsched/lock",
		".cache/clangd/index"} {
		write(t, "", p.Dir, name)
	}
	if out, err := p.Git().Output(t.Context(), "status", "--porcelain", "-uall"); err != nil || out != "" {
		t.Errorf("%v, %s", err, out)
	}
}
