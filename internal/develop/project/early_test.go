// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/outcome"
)

// buildable makes a working directory in which a build would begin, as far as its checks of
// everything but the kernel's symbols go.
func buildable(t *testing.T) *Project {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	p := at(t, filepath.Join(t.TempDir(), "work"))
	tools := t.TempDir()
	p.Self, p.Tool = filepath.Join(tools, "plugsched"), "1"
	write(t, "#!/bin/sh\necho plugsched version 1\n", tools, installerName)
	if err := os.Chmod(filepath.Join(tools, installerName), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "obj-y += core.o\n", p.path(SchedDir), "Makefile")
	kernel := t.TempDir()
	target := &fetch.Target{Release: "6.1.0-1", KernelArch: "x86", KernelBuild: kernel, HeadersCommon: kernel, Source: kernel,
		Config: filepath.Join(kernel, ".config")}
	write(t, "CONFIG_64BIT=y\n", target.Config)
	if err := writeJSON(p.mkState(t, targetFile), target); err != nil {
		t.Fatal(err)
	}
	noteTree(t, p, target)
	if err := writeJSON(p.state(pristineFile), []module.Unit{{Name: "kernel/sched/core.c", Object: p.state("pristine/core.o")}}); err != nil {
		t.Fatal(err)
	}
	write(t, `{"cc": "gcc"}`, p.state(envFile))
	write(t, `{"release": "6.1.0-1", "sources": ["kernel/sched"]}`, p.state(boundaryFile))
	write(t, "/.plugsched/\n", p.Dir, ".gitignore")
	gitIn(t, p.Dir, "init", "-q")
	gitIn(t, p.Dir, "add", "-A")
	gitIn(t, p.Dir, "commit", "-q", "-m", "0")
	gitIn(t, p.Dir, "tag", pristineTag)
	return p
}

// noteTree notes the files of the kernel's tree as init does.
func noteTree(t *testing.T, p *Project, target *fetch.Target) (sum string) {
	t.Helper()
	files, err := p.lookAtTree(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.noteTree(files); err != nil {
		t.Fatal(err)
	}
	return files.sum()
}

// mkState is state for a file that is to be made.
func (p *Project) mkState(t *testing.T, name string) string {
	t.Helper()
	if err := os.MkdirAll(p.state(), 0o755); err != nil {
		t.Fatal(err)
	}
	return p.state(name)
}

// TestCheckedFirst: whatever is wrong besides the source is said before anything is compiled or
// the kernel's symbols are read.
func TestCheckedFirst(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, p *Project)
		want  string
	}{
		"nothing": {func(t *testing.T, _ *Project) {}, "symbols"}, // as there are none
		"a key of package": {func(t *testing.T, p *Project) { write(t, "package:\n  nosuch: 1\n", p.Dir, ConfigFile) },
			"package: nosuch: there are name"},
		"a value of package": {func(t *testing.T, p *Project) { write(t, "package:\n  version: one\n", p.Dir, ConfigFile) },
			`package: version: "one"`},
		"SOURCE_DATE_EPOCH": {func(t *testing.T, _ *Project) { t.Setenv("SOURCE_DATE_EPOCH", "abc") },
			`SOURCE_DATE_EPOCH: "abc" is not a number`},
		"no installer": {func(t *testing.T, p *Project) { os.Remove(filepath.Join(filepath.Dir(p.Self), installerName)) },
			"packages take it along"},
		"somebody else's tree": {func(t *testing.T, _ *Project) { t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1") }, "dubious ownership"},
		"no Makefile": {func(t *testing.T, p *Project) { os.Remove(p.path(SchedDir, "Makefile")) },
			"kernel/sched/Makefile: is gone: `git -C "},
		"no kernel/sched":       {func(t *testing.T, p *Project) { os.RemoveAll(p.path(SchedDir)) }, "kernel/sched: is gone"},
		"no headers":            {func(t *testing.T, p *Project) { forget(t, p) }, "run `plugsched init` again, which fetches what is gone"},
		"a tree without a past": {func(t *testing.T, p *Project) { os.RemoveAll(p.path(".git")) }, "symbols"},
		"no tag":                {func(t *testing.T, p *Project) { gitIn(t, p.Dir, "tag", "-d", pristineTag) }, "symbols"},
	} {
		t.Run(name, func(t *testing.T) {
			p := buildable(t)
			c.spoil(t, p)
			_, err := p.Build(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if folder.Exists(p.state("edited")) {
				t.Error("something was compiled")
			}
		})
	}
}

func forget(t *testing.T, p *Project) {
	target, err := p.Target()
	if err == nil {
		err = os.RemoveAll(target.HeadersCommon)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMoved: a directory that was moved and a copy work on their own files.
func TestMoved(t *testing.T) {
	p := buildable(t)
	was := module.Unit{Name: "kernel/sched/core.c", Object: p.state("pristine/core.o"), Assembly: p.state("pristine/core.s"),
		Deps: []string{p.state("source/kernel/sched/core.c"), "/k/include/a.h"}, Command: []string{"gcc", "-I" + p.Dir + "/include",
			"-I/k/include"}}
	if err := writeJSON(p.state(pristineFile), []module.Unit{was}); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"cp", "-a"}, {"mv"}} {
		to := filepath.Join(t.TempDir(), "elsewhere")
		if out, err := exec.Command(words[0], append(words[1:], p.Dir, to)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		moved := *p
		moved.Dir = to
		want := module.Unit{Name: was.Name, Object: to + "/.plugsched/pristine/core.o", Assembly: to + "/.plugsched/pristine/core.s",
			Deps: []string{to + "/.plugsched/source/kernel/sched/core.c", "/k/include/a.h"}, Command: []string{"gcc",
				"-I" + to + "/include", "-I/k/include"}}
		units, err := moved.pristine()
		if diff := cmp.Diff([]module.Unit{want}, units, cmp.AllowUnexported(module.Unit{})); err != nil || diff != "" {
			t.Errorf("%s: %v: %s", words[0], err, diff)
		}
	}
}

// TestForeignTree: an init on a tree that git does not trust does not begin a second history.
func TestForeignTree(t *testing.T) {
	p, tgt := pristineTree(t)
	if _, err := p.makeTree(t.Context(), tgt); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
	if _, err := p.makeTree(t.Context(), tgt); err == nil || !strings.Contains(err.Error(), "dubious ownership") ||
		!strings.HasPrefix(err.Error(), "git rev-parse") {
		t.Errorf("%v", err)
	}
}

// TestUnseen: headers that may not be read are an error; not all of the tree is new then.
func TestUnseen(t *testing.T) {
	p, tgt := pristineTree(t)
	write(t, "#define A\n", p.Dir, "include/linux/a.h")
	// Where this leads root cannot see either.
	tgt.HeadersCommon = filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(tgt.HeadersCommon, tgt.HeadersCommon); err != nil {
		t.Fatal(err)
	}
	if set, err := p.changes(t.Context(), tgt); err == nil {
		t.Errorf("%+v", set)
	}
}

// TestBadPaths: a path that kbuild cannot take is refused before there is anything in it.
func TestBadPaths(t *testing.T) {
	for _, name := range []string{"a b", "a\tb", "a:b", "a'b", `a"b`, "a$b", "a,b", "a=b", "a#b", "a%b", "a\\b", "a\u00a0b",
		"a\xffb", "a;b", "a*b"} {
		p := at(t, filepath.Join(t.TempDir(), name))
		var e *Error
		if err := p.CheckDir(); !errors.As(err, &e) || !strings.Contains(err.Error(), "cannot work with a path that has") {
			t.Errorf("%q: %v", name, err)
		}
		err := p.Init(t.Context(), &fetch.Target{Release: "r", KernelArch: "x86", KernelBuild: "/k"})
		if !errors.As(err, &e) || folder.Exists(p.Dir) {
			t.Errorf("%q: %v", name, err)
		}
		if err := CheckCache(p.Dir); !errors.As(err, &e) {
			t.Errorf("%q as a cache: %v", name, err)
		}
	}
	for _, name := range []string{"a-b_c.d+e@f", "6.12.117-1~deb12u1", "größe", "日本"} {
		if err := at(t, filepath.Join(t.TempDir(), name)).CheckDir(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestOneAtATime: while one works in a directory, others are told who it is, and change nothing.
func TestOneAtATime(t *testing.T) {
	p := buildable(t)
	target, err := p.Target()
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := p.Lock()
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, p.Dir)
	for name, f := range map[string]func() error{
		"build": func() error { _, err := p.Build(t.Context()); return err },
		"init":  func() error { return p.Init(t.Context(), target) },
		"analysis": func() error {
			return p.Analyse(t.Context(), &fetch.Target{Release: "x", BuildID: "another", KernelArch: "x86"})
		},
	} {
		err := f()
		if want := fmt.Sprintf("process %d (", os.Getpid()); outcome.Of(err) != outcome.Precondition ||
			!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), " works here") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := files(t, p.Dir); !slices.Equal(after, before) {
		t.Errorf("there is %v, was %v", after, before)
	}
	unlock()
	if _, err := p.Build(t.Context()); err == nil || !strings.Contains(err.Error(), "symbols") {
		t.Errorf("afterwards: %v", err)
	}
}
