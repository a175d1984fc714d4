// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	envQuick  = "PLUGSCHED_CC_QUICK" // the compiler for what is not compared with the kernel's code
	envDir    = "PLUGSCHED_CC_DIR"
	envSource = "PLUGSCHED_CC_SOURCE"
	envModule = "PLUGSCHED_CC_MODULE"
	// Options for what is bound, and for what is compared with the kernel, if the code that is compiled is.
	envBound    = "PLUGSCHED_CC_BOUND"
	envCompared = "PLUGSCHED_CC_COMPARED"
	envCompares = "PLUGSCHED_CC_COMPARES"

	modeCompile  = "compile"  // source to assembly, kept, and on to an object
	modeAssemble = "assemble" // the bound assembly stands in for the source

	recordSuffix   = ".unit.json"
	comparedSuffix = ".compared.s"
	// boundDir holds the bound assembly in the directory of the module.
	boundDir = "bound"
)

// wrapperScript keeps the many probes that kbuild makes of the compiler cheap.
func wrapperScript(t *Tree) string {
	return fmt.Sprintf("#!/bin/sh\n"+
		"# SPDX-License-Identifier: BSD-3-Clause\ncase \" $* \" in\n"+
		"*\" -c \"*) exec '%s' cc \"$@\" ;;\nesac\nexec %s \"$@\"\n", t.Self, t.Env.AnyCC())
}

// WrapCompiler runs one compiler call of the kernel's build: the hidden command
// `plugsched cc`. It returns the exit status.
func WrapCompiler(args []string) int {
	w := &wrapper{args: args, mode: os.Getenv(envMode), work: os.Getenv(envWork), sched: os.Getenv(envSched),
		common: os.Getenv(envCommon), cc: os.Getenv(envCC), quick: os.Getenv(envQuick), dir: os.Getenv(envDir), whole: os.Getenv(envSource),
		module: os.Getenv(envModule) != "", bound: strings.Fields(os.Getenv(envBound)), compared: strings.Fields(os.Getenv(envCompared)),
		compares: os.Getenv(envCompares) != ""}
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
	args                                      []string
	mode, work, sched, common, cc, quick, dir string
	whole                                     string // the kernel's whole source
	module                                    bool
	bound, compared                           []string
	compares                                  bool // compiles a second time, for comparison with the kernel
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
	path, err := exec.LookPath(w.anyCC())
	if err != nil {
		return err
	}
	// Its debug information has no names of directories either.
	args := append([]string{w.anyCC()}, w.prefixes()...)
	return syscall.Exec(path, append(args, w.headers(w.args)...), os.Environ())
}

// prefixes leaves directories out of file names, as the kernel's own build does: WARN()
// has the name of a header in the code, and a header may be the developer's copy. Of
// several, the last one that fits counts. Debug information has names for the directories of the
// kernel's headers and of its build, which are somebody's cache.
func (w *wrapper) prefixes() []string {
	maps := []string{"-ffile-prefix-map=" + w.common + "/=", "-ffile-prefix-map=" + w.work + "/=",
		"-fdebug-prefix-map=" + w.common + "=" + sourceName}
	if dir, err := os.Getwd(); err == nil {
		maps = append(maps, "-fdebug-prefix-map="+dir+"="+sourceName)
	}
	return maps
}

// sourceName is what debug information calls those directories.
const sourceName = "/usr/src/linux"

// shorten does the same for the names that gcc gives to UBSAN, which it does not map.
func (w *wrapper) shorten(asm string) error {
	text, err := os.ReadFile(asm)
	if err != nil {
		return err
	}
	const name = "\t.string\t\""
	for _, dir := range []string{w.work, w.common} {
		text = bytes.ReplaceAll(text, []byte(name+dir+"/"), []byte(name))
	}
	return os.WriteFile(asm, text, 0o644)
}

// seeking are the options that name where headers are sought, and files that are read as if they
// were included first. gcc takes a name as part of the option's word, or as the next one.
var seeking, included = []string{"-I", "-iquote", "-isystem", "-idirafter"}, []string{"-include", "-imacros"}

// headers puts the developer's copies of the kernel's headers before the originals. How it
// writes their directories is kbuild's affair: from the root, or from where the compiler runs, which is
// the tree itself for a kernel that was built here.
func (w *wrapper) headers(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		option, name := split(a, seeking, included)
		word := option != "" && name == "" && i+1 < len(args)
		if word {
			i++
			name = args[i]
		}
		rel, ours := w.kernels(name)
		switch {
		case option == "" || !ours:
		case slices.Contains(seeking, option):
			out = append(out, option+filepath.Join(w.work, rel))
		case exists(filepath.Join(w.work, rel)):
			name = filepath.Join(w.work, rel)
			a = option + name
		}
		if word {
			out = append(out, option, name)
		} else {
			out = append(out, a)
		}
	}
	return out
}

// split parts an argument into one of the options and what is in the same word.
func split(arg string, lists ...[]string) (option, rest string) {
	for _, list := range lists {
		for _, o := range list {
			if r, ok := strings.CutPrefix(arg, o); ok {
				return o, r
			}
		}
	}
	return "", ""
}

// kernels reports a path in the tree of the kernel's headers, of which the developer may have a
// copy, and where in it that is. What the build of the kernel generated is nobody's source.
func (w *wrapper) kernels(path string) (rel string, ok bool) {
	if path == "" {
		return "", false
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	for _, p := range []string{w.work, w.dir} {
		if _, ok := below(p, abs); ok {
			return "", false // a working directory may be in the tree
		}
	}
	if rel, ok = below(w.common, abs); !ok {
		// The directory that the compiler runs in may have been entered through a link.
		if abs, err = filepath.EvalSymlinks(abs); err != nil {
			return "", false
		}
		rel, ok = below(w.common, abs)
	}
	return rel, ok && !Generated(rel)
}

func below(dir, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, dir != "" && err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// Generated reports a path in a kernel's tree where its build, not its source, has headers
// (Makefile, LINUXINCLUDE).
func Generated(rel string) bool {
	rel = "/" + rel + "/"
	return strings.Contains(rel, "/include/generated/") || strings.Contains(rel, "/include/config/")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// compile makes the unit as if it were built in: without MODULE, and with paths as the
// kernel's own build has them. Exports are as there, too: one takes the function's address
// (include/linux/export.h), and gcc decides by that how it splits and calls it. Binding drops
// them. For the module, THIS_MODULE nevertheless means it: what the developer
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
	own := filepath.Join(w.dir, includeDir)
	args = append(append(args, w.prefixes()...), "-I"+own)
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
	if err := w.toAssembly(args, w.bound, real, asm); err != nil {
		return err
	}
	if w.compares {
		asm = filepath.Join(w.dir, stem+comparedSuffix)
		if err := w.toAssembly(args, w.compared, real, asm); err != nil {
			return err
		}
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

// toAssembly compiles a source.
func (w *wrapper) toAssembly(args, more []string, source, asm string) error {
	args = slices.Concat(args, more, []string{"-S", "-o", asm, source})
	if !cached(w.cc, args) {
		if err := w.exec(args); err != nil {
			return err
		}
	}
	return w.shorten(asm)
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
	return call(w.anyCC(), "-c", "-o", output, bound)
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

// anyCC is the compiler for what is not compared with the kernel's code.
func (w *wrapper) anyCC() string { return cmp.Or(w.quick, w.cc) }

func (w *wrapper) exec(args []string) error { return call(w.cc, args...) }

func call(program string, args ...string) error {
	cmd := exec.Command(program, args...)
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
