// SPDX-License-Identifier: BSD-3-Clause

// Package module builds the scheduler module: it compiles the scheduler's units
// to assembly with the kernel's own build system and flags, and links the bound
// units with the runtime.
package module

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"plugsched"
	"plugsched/internal/develop/environment"
	"plugsched/internal/develop/inherited"
	"plugsched/internal/outcome"
)

// Tree says where things are.
type Tree struct {
	WorkDir     string // the developer's tree
	SchedDir    string // the scheduler's sources in it, "kernel/sched"
	KernelBuild string // what `make -C` takes
	Common      string // the directory whose include/ the kernel's headers come from
	Source      string // the kernel's whole source, for the Makefiles of sidecars
	Self        string // the plugsched binary, which the build runs as compiler wrapper

	// Compared and Bound are further options of the compiler: see Options.
	Compared, Bound []string

	// Env is where the compiler and all other programs run.
	Env *environment.Environment

	// Module makes THIS_MODULE that of the module. The kernel's own code is built in: for
	// what is to be equal to it, it is NULL.
	Module bool
}

// Unit is one compiled unit.
type Unit struct {
	Name     string   // "kernel/sched/core.c"
	Assembly string   // path of gcc's assembly, with debug information, for being bound
	Object   string   // path of an object, which of pristine source is to be what the kernel has
	Source   string   // path of the assembly that it is made from, unchanged
	Deps     []string // absolute paths of the files that it was compiled from
	Command  []string // the compiler's command line
}

// compares reports that what is compared with the kernel is compiled in another way than what is bound.
func (t *Tree) compares() bool { return !t.Module && !slices.Equal(t.Compared, t.Bound) }

// CompileError is a diagnostic of the compiler about the developer's source.
type CompileError struct{ Output string }

func (e *CompileError) Error() string {
	return "the scheduler does not compile:\n" + strings.TrimRight(e.Output, "\n")
}

// Outcome implements outcome.Error.
func (*CompileError) Outcome() outcome.Outcome { return outcome.Refused }

// BuildError is any other failure of the kernel's build system.
type BuildError struct {
	Log  string // path of the whole output
	Tail string
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("the kernel's build system failed (whole output: %s):\n%s", e.Log, strings.TrimRight(e.Tail, "\n"))
}

// Outcome implements outcome.Error.
func (*BuildError) Outcome() outcome.Outcome { return outcome.Failed }

// Compile compiles every unit of the scheduler in WorkDir, with the flags of
// built-in code, into dir.
func Compile(ctx context.Context, t *Tree, dir string) ([]Unit, error) {
	links, err := schedulerLinks(t)
	if err != nil {
		return nil, err
	}
	return compile(ctx, t, dir, links, compileKbuild)
}

// compile builds what a Kbuild file puts into always-y, with links in dir.
func compile(ctx context.Context, t *Tree, dir string, links map[string]string, kbuild string) ([]Unit, error) {
	if err := prepare(t, dir); err != nil {
		return nil, err
	}
	if err := makeLinks(dir, links); err != nil {
		return nil, err
	}
	if err := update(filepath.Join(dir, "Kbuild"), []byte(kbuild), 0o644); err != nil {
		return nil, err
	}
	if err := copyAPI(filepath.Join(dir, includeDir)); err != nil {
		return nil, err
	}
	if err := run(ctx, t, dir, modeCompile); err != nil {
		return nil, err
	}
	sources, err := listUnits(dir)
	if err != nil {
		return nil, err
	}
	var units []Unit
	for _, s := range sources {
		stem := filepath.Join(dir, strings.TrimSuffix(s, ".c"))
		u := Unit{Name: filepath.Join(t.SchedDir, s), Assembly: stem + ".s", Object: stem + ".o", Source: stem + ".s"}
		if t.compares() {
			u.Source = stem + comparedSuffix
		}
		if err := readRecord(stem+recordSuffix, &u); err != nil {
			return nil, err
		}
		units = append(units, u)
	}
	if len(units) == 0 {
		return nil, fmt.Errorf("%s: its Makefile builds nothing", filepath.Join(t.WorkDir, t.SchedDir))
	}
	return units, nil
}

// includeDir has what the developer's code may include of the runtime.
const includeDir = "include"

// moduleHeader is the header in includeDir that every unit of the module begins with.
const moduleHeader = "plugsched/this_module.h"

func copyAPI(dir string) error {
	for _, name := range []string{"plugsched/api.h", moduleHeader} {
		text, err := fs.ReadFile(plugsched.Runtime, "runtime/"+filepath.Base(name))
		if err == nil {
			err = update(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compileKbuild builds what the scheduler's own Makefile lists, as built-in
// objects that belong to no module. Newer kbuilds leave the options of sanitizers and profilers
// out for objects that they do not link into the kernel (is-kernel-object, scripts/Makefile.lib).
const compileKbuild = `# SPDX-License-Identifier: GPL-2.0-only
# Generated by plugsched.
include $(src)/Makefile
always-y := $(filter %.o,$(obj-y))
override is-kernel-object := y
CONFIG_MODVERSIONS :=
$(file >$(obj)/units,$(always-y))
$(file >$(obj)/others,$(filter-out %.o,$(obj-y)) $(obj-m))
obj-y :=
obj-m :=
`

// listUnits reads what compileKbuild found in the scheduler's Makefile: sources,
// sorted.
func listUnits(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "units"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, o := range strings.Fields(string(text)) {
		out = append(out, strings.TrimSuffix(o, ".o")+".c")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Others returns what the scheduler's Makefile listed, when dir was compiled, that
// is no built-in object of its own directory: subdirectories and modules.
func Others(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "others"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// schedulerLinks maps the scheduler's sources, and no others, to their files.
func schedulerLinks(t *Tree) (map[string]string, error) {
	src := filepath.Join(t.WorkDir, t.SchedDir)
	entries, err := os.ReadDir(src)
	if err != nil {
		return nil, err
	}
	links := map[string]string{}
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".c") || name == "Makefile" {
			links[name] = filepath.Join(src, name)
		}
	}
	return links, nil
}

// makeLinks makes files visible in a build directory, and no others.
func makeLinks(dir string, links map[string]string) error {
	for name, target := range links {
		link := filepath.Join(dir, name)
		if was, err := os.Readlink(link); err != nil || was != target {
			os.Remove(link)
			if err := os.Symlink(target, link); err != nil {
				return err
			}
		}
	}
	return removeStale(dir, links)
}

// removeStale removes links to sources that are gone, and what was made of them.
func removeStale(dir string, want map[string]string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if e.Type()&os.ModeSymlink == 0 || want[name] != "" {
			continue
		}
		stem := strings.TrimSuffix(filepath.Join(dir, name), ".c")
		for _, f := range []string{filepath.Join(dir, name), stem + ".s", stem + comparedSuffix, stem + ".o", stem + recordSuffix} {
			if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// run calls the kernel's build system on an external module directory.
func run(ctx context.Context, t *Tree, dir, mode string, targets ...string) error {
	wrapper := filepath.Join(dir, "cc")
	if err := update(wrapper, []byte(wrapperScript(t)), 0o755); err != nil {
		return err
	}
	logPath := filepath.Join(dir, "build.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-C", t.KernelBuild, "M=" + dir, "CC=" + wrapper, "-j", fmt.Sprint(runtime.NumCPU()),
		// No types for BPF: they would want pahole, and nobody looks for the scheduler.s in a
		// module.
		"CONFIG_DEBUG_INFO_BTF_MODULES=",
		"KBUILD_MODPOST_WARN=1", "KBUILD_BUILD_USER=plugsched", "KBUILD_BUILD_HOST=plugsched", "V=0"}
	cmd := t.Env.Command(ctx, "make", slices.Concat(args, t.Env.Make(), targets)...)
	cmd.Env = append(inherited.Build(), "LC_ALL=C", envMode+"="+mode, envWork+"="+t.WorkDir, envSched+"="+t.SchedDir,
		envCommon+"="+t.Common, envCC+"="+t.Env.CC, envQuick+"="+t.Env.AnyCC(), envDir+"="+dir, envSource+"="+t.Source,
		envModule+"="+flag(t.Module), envBound+"="+strings.Join(t.Bound, " "), envCompared+"="+strings.Join(t.Compared, " "),
		envCompares+"="+flag(t.compares()))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = log, &tee{log, &out}
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("make is not installed: apt-get install make")
	}
	if d := diagnostics(out.String(), t); d != "" {
		return &CompileError{Output: d}
	}
	return &BuildError{Log: logPath, Tail: lastLines(out.String(), 12)}
}

// flag is the value of an environment variable.
func flag(set bool) string {
	if set {
		return "y"
	}
	return ""
}

type tee struct {
	a *os.File
	b *bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.b.Write(p)
	return t.a.Write(p)
}

// diagnostics picks the compiler's own lines out of make's output: everything
// but make's and warnings that the kernel's build always prints.
func diagnostics(out string, t *Tree) string {
	if !strings.Contains(out, ": error:") && !strings.Contains(out, "fatal error:") {
		return ""
	}
	var keep []string
	for _, l := range strings.Split(out, "\n") {
		if strings.HasPrefix(l, "make") || strings.HasPrefix(l, "WARNING: ") {
			continue
		}
		keep = append(keep, strings.TrimPrefix(l, t.WorkDir+"/"))
	}
	return strings.TrimSpace(strings.Join(keep, "\n"))
}

func lastLines(s string, n int) string {
	l := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(l[max(0, len(l)-n):], "\n")
}
