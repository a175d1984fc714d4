// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The wrapper is told what to do through the environment: kbuild decides its
// command line.
const (
	envMode   = "PLUGSCHED_CC_MODE"
	envWork   = "PLUGSCHED_CC_WORK"
	envSched  = "PLUGSCHED_CC_SCHED"
	envCommon = "PLUGSCHED_CC_COMMON"
	envCC     = "PLUGSCHED_CC_CC"
	envDir    = "PLUGSCHED_CC_DIR"
	envSource = "PLUGSCHED_CC_SOURCE"
	envExport = "PLUGSCHED_CC_EXPORT"
	envModule = "PLUGSCHED_CC_MODULE"

	modeCompile  = "compile"  // source to assembly, kept, and on to an object
	modeAssemble = "assemble" // the bound assembly stands in for the source

	recordSuffix = ".unit.json"
	// boundDir holds the bound assembly in the directory of the module.
	boundDir = "bound"
)

// wrapperScript keeps the many probes that kbuild makes of the compiler cheap.
func wrapperScript(t *Tree) string {
	return fmt.Sprintf("#!/bin/sh\n"+
		"# SPDX-License-Identifier: BSD-3-Clause\ncase \" $* \" in\n*\" -c \"*) exec '%s' cc \"$@\" ;;\nesac\nexec %s \"$@\"\n", t.Self, t.Env.CC)
}

// WrapCompiler runs one compiler call of the kernel's build: the hidden command
// `plugsched cc`. It returns the exit status.
func WrapCompiler(args []string) int {
	w := &wrapper{args: args, mode: os.Getenv(envMode), work: os.Getenv(envWork), sched: os.Getenv(envSched),
		common: os.Getenv(envCommon), cc: os.Getenv(envCC), dir: os.Getenv(envDir), whole: os.Getenv(envSource),
		export: os.Getenv(envExport) != "",
		module: os.Getenv(envModule) != ""}
	if w.cc == "" {
		fmt.Fprintln(os.Stderr, "plugsched cc: only for use by the kernel's build system")
		return 2
	}
	if err := w.run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "plugsched cc:", err)
		return 1
	}
	return 0
}

type wrapper struct {
	args                               []string
	mode, work, sched, common, cc, dir string
	whole                              string // the kernel's whole source
	export                             bool
	module                             bool
}

func (w *wrapper) run() error {
	source, output := w.find()
	// From 6.13 on kbuild compiles a module in its own directory.
	file, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	stem := strings.TrimSuffix(filepath.Base(source), ".c")
	switch {
	case output == "" || !strings.HasSuffix(source, ".c") || filepath.Dir(file) != w.dir || strings.HasSuffix(source, ".mod.c"):
		return w.passThrough()
	case w.mode == modeAssemble:
		return w.assemble(source, filepath.Join(w.dir, boundDir, stem+".s"), output)
	}
	return w.compile(source, stem, output)
}

// find returns the source and the output of the command line.
func (w *wrapper) find() (source, output string) {
	for i, a := range w.args {
		switch {
		case a == "-o" && i+1 < len(w.args):
			output = w.args[i+1]
		case strings.HasSuffix(a, ".c") && !strings.HasPrefix(a, "-"):
			source = a
		}
	}
	return source, output
}

// passThrough becomes the compiler, with the developer's headers in front.
func (w *wrapper) passThrough() error {
	path, err := exec.LookPath(w.cc)
	if err != nil {
		return err
	}
	// Its debug information has no names of directories either.
	args := append([]string{w.cc}, w.maps()...) // of several, the last one that fits counts
	return syscall.Exec(path, append(args, w.headers(w.args)...), os.Environ())
}

// sourceName is what debug information calls the directories of the kernel's headers and of its build, which
// are somebody's cache.
const sourceName = "/usr/src/linux"

// maps keep the names of directories of this machine out of what is made.
func (w *wrapper) maps() []string {
	maps := []string{"-ffile-prefix-map=" + w.work + "/=", "-fdebug-prefix-map=" + w.common + "=" + sourceName}
	if dir, err := os.Getwd(); err == nil {
		maps = append(maps, "-fdebug-prefix-map="+dir+"="+sourceName)
	}
	return maps
}

// headers puts the developer's copies of the kernel's headers before the
// originals.
func (w *wrapper) headers(args []string) []string {
	var out []string
	for i, a := range args {
		if rest, ok := strings.CutPrefix(a, "-I"+w.common+"/"); ok {
			out = append(out, "-I"+filepath.Join(w.work, rest))
		}
		if rest, ok := strings.CutPrefix(a, w.common+"/"); ok && i > 0 && args[i-1] == "-include" {
			if own := filepath.Join(w.work, rest); exists(own) {
				a = own
			}
		}
		out = append(out, a)
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// compile makes the unit as if it were built in: without MODULE, with nothing
// exported a second time (unless told to), and with paths as the kernel's own build
// has them. For the module, THIS_MODULE nevertheless means it: what the developer
// registers with an owner keeps it loaded.
func (w *wrapper) compile(source, stem, output string) error {
	real := filepath.Join(w.work, w.sched, filepath.Base(source))
	var args []string
	skip := false
	for _, a := range w.headers(w.args) {
		switch {
		case skip:
			skip = false
		case a == "-o":
			skip = true
		case a == "-c" || a == "-DMODULE":
		case a == source:
		case w.own(a):
			args = append(args, "-I"+filepath.Dir(real))
		default:
			args = append(args, a)
		}
	}
	if !w.export {
		args = append(args, "-D__DISABLE_EXPORTS")
	}
	own := filepath.Join(w.dir, includeDir)
	args = append(append(args, w.maps()...), "-I"+own)
	if w.module {
		args = append(args, "-include", filepath.Join(own, moduleHeader))
	}
	// Headers in include/trace refer to some elsewhere in the source relative to
	// themselves, and those are not where the packaged headers are.
	for _, d := range []string{"include/trace", "include/trace/events"} {
		if w.whole != "" {
			args = append(args, "-iquote", filepath.Join(w.whole, d))
		}
	}
	asm := filepath.Join(w.dir, stem+".s")
	if err := w.exec(append(args, "-S", "-o", asm, real)); err != nil {
		return err
	}
	if err := w.exec([]string{"-c", "-o", output, asm}); err != nil {
		return err
	}
	u := Unit{Command: append(append([]string{w.cc}, args...), "-c", "-o", stem+".o", real)}
	if d := depFile(w.args); d != "" {
		deps, err := readDeps(d)
		if err != nil {
			return err
		}
		for _, p := range deps {
			if !filepath.IsAbs(p) {
				p, _ = filepath.Abs(p) // kbuild runs the compiler in the kernel's build directory
			}
			u.Deps = append(u.Deps, p)
		}
	}
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, stem+recordSuffix), text, 0o644)
}

// assemble turns a bound unit into an object; kbuild goes on with objtool. The
// source that kbuild thinks of comes first in the dependencies: fixdep leaves the
// first one out (scripts/basic/fixdep.c), and the object depends on the second.
func (w *wrapper) assemble(source, bound, output string) error {
	if d := depFile(w.args); d != "" {
		if err := os.WriteFile(d, []byte(output+": "+source+" "+bound+"\n"), 0o644); err != nil {
			return err
		}
	}
	return w.exec([]string{"-c", "-o", output, bound})
}

// own reports the directory of the module among those of headers: -I$(src), -I$(srctree)/$(src),
// or, where kbuild compiles in it, -I. and the like.
func (w *wrapper) own(arg string) bool {
	dir, ok := strings.CutPrefix(arg, "-I")
	if !ok || dir == "" {
		return false
	}
	if strings.HasSuffix(dir, w.dir) {
		return true
	}
	abs, err := filepath.Abs(dir)
	return err == nil && abs == w.dir
}

func (w *wrapper) exec(args []string) error {
	cmd := exec.Command(w.cc, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// depFile is where kbuild wants the dependencies (-Wp,-MMD,FILE).
func depFile(args []string) string {
	for _, a := range args {
		if d, ok := strings.CutPrefix(a, "-Wp,-MMD,"); ok {
			return d
		}
		if d, ok := strings.CutPrefix(a, "-Wp,-MD,"); ok {
			return d
		}
	}
	return ""
}

// readDeps reads a make rule.
func readDeps(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(text), ":")
	if !ok {
		return nil, fmt.Errorf("%s: not a dependency file", path)
	}
	return strings.Fields(strings.ReplaceAll(rest, "\\\n", " ")), nil
}

func readRecord(path string, u *Unit) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var r Unit
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	u.Deps, u.Command = r.Deps, r.Command
	return nil
}
