// SPDX-License-Identifier: BSD-3-Clause

package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"plugsched/internal/kernel/fetch"
)

// check finds out whether programs for a kernel run in an environment, and whether its compiler
// is the one that built the kernel.
func (e *Environment) check(ctx context.Context, t *fetch.Target) error {
	if err := e.checkTools(ctx, t); err != nil {
		return err
	}
	return e.checkCompiler(ctx, t)
}

// newerRE is the dynamic linker's complaint about a library that is older than what a program
// was linked with.
var newerRE = regexp.MustCompile("([^\\s:]+): version `([^']+)' not found")

// kernelTools are those of the headers' own programs that every build runs.
var kernelTools = []string{"tools/objtool/objtool", "scripts/basic/fixdep"}

// checkTools runs what the headers bring along and would otherwise fail in
// the middle of a build: objtool is linked with libelf, and with the C library of the
// kernel's own suite. Where it is there for several architectures, it is a script that
// wants to know which (SRCARCH).
func (e *Environment) checkTools(ctx context.Context, t *fetch.Target) error {
	for _, tool := range kernelTools {
		path := filepath.Join(t.KernelBuild, tool)
		if _, err := os.Stat(path); err != nil {
			continue // not every architecture and series has objtool
		}
		cmd := e.Command(ctx, path)
		cmd.Env = append(os.Environ(), "SRCARCH="+t.KernelArch)
		var out bytes.Buffer
		cmd.Stderr = &out
		err := cmd.Run()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Called without arguments they print their usage and fail.
		if _, lib, ok := strings.Cut(out.String(), "error while loading shared libraries: "); ok {
			lib, _, _ = strings.Cut(lib, ":")
			return &fetch.ToolError{Tool: lib, Package: libraryPackage(lib), Why: "run " + path}
		}
		if m := newerRE.FindStringSubmatch(out.String()); m != nil {
			return &fetch.MismatchError{What: "version of " + e.String() + "'s " + filepath.Base(m[1]), Path: path, Want: m[2] + " or newer",
				Got: "older", Fix: "the kernel's own tools run in its own suite: name it with --environment"}
		}
		if strings.HasPrefix(out.String(), enterError) {
			return fmt.Errorf("%s does not run on %s: %s", path, e, strings.TrimSpace(out.String()))
		}
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("%s does not run on %s: %w", path, e, err)
		}
	}
	return nil
}

// libraryPackage follows Debian's naming: libelf.so.1 is in libelf1. OpenSSL's two libraries
// share a package, and zlib's name is older than the rule.
func libraryPackage(lib string) string {
	name, soversion, ok := strings.Cut(lib, ".so.")
	if !ok {
		return lib
	}
	if name == "libz" {
		return "zlib" + soversion + "g"
	}
	if name == "libcrypto" {
		name = "libssl"
	}
	return name + soversion
}

// checkCompiler compares the compiler with the one that built the kernel. They must be the same
// build: code generation differs between point releases, and the scheduler is reproduced bit by
// bit.
func (e *Environment) checkCompiler(ctx context.Context, t *fetch.Target) error {
	pkg := versioned(t.Compiler)
	if pkg == "" {
		return fmt.Errorf("%s: compiler not understood in %q", t.Vmlinux, t.Compiler)
	}
	name, _, _ := strings.Cut(t.Compiler, " ")
	out, commands := "", []string{name, pkg}
	if e.CC != "" { // it is emulated
		commands = []string{e.CC}
	}
	for _, cc := range commands {
		text, err := e.output(ctx, cc, "--version")
		if err == nil {
			e.CC, out = cc, text
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Root == "" && !errors.Is(err, exec.ErrNotFound) {
			return err
		}
	}
	if out == "" {
		return &fetch.ToolError{Tool: name, Package: pkg, Why: fmt.Sprintf("compile like the kernel, which was built by %q,", t.Compiler)}
	}
	got, _, _ := strings.Cut(out, "\n")
	// The first word is the name it was called by.
	_, wantRest, _ := strings.Cut(t.Compiler, " ")
	_, gotRest, _ := strings.Cut(got, " ")
	if strings.Join(strings.Fields(gotRest), " ") != strings.Join(strings.Fields(wantRest), " ") {
		path := e.CC
		if found, err := exec.LookPath(path); err == nil && e.Root == "" {
			path = found
		}
		return &fetch.MismatchError{What: "compiler", Path: path, Want: t.Compiler, Got: got,
			Fix: "install the version of package " + pkg + " that built the kernel, or name a suite that has it with --environment"}
	}
	return nil
}

// output returns what a program prints.
func (e *Environment) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := e.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil && complaint.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return string(out), err
}

// compilerPackage is the package of a compiler, as the first line of what it prints for its
// version names it, and also its command without the target's name in front.
func compilerPackage(compiler string) string {
	name, _, _ := strings.Cut(compiler, " ")
	if i := strings.LastIndex(name, "-linux-gnu-"); i >= 0 {
		return name[i+len("-linux-gnu-"):]
	}
	return name
}
