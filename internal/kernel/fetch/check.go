// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Check finds out whether the artefacts belong to one kernel and whether this
// host can compile for it. What does not fit is a *MismatchError, a missing
// program a *ToolError.
func Check(ctx context.Context, t *Target) error {
	info, err := readVmlinux(t.Vmlinux, t.Release)
	if err != nil {
		return err
	}
	if info.banner.release != t.Release {
		return &MismatchError{What: "kernel release", Path: t.Vmlinux, Want: t.Release, Got: info.banner.release, Fix: fixVmlinux(t.Release)}
	}
	if info.buildID != t.BuildID {
		return &MismatchError{What: "build-id", Path: t.Vmlinux, Want: t.BuildID, Got: info.buildID, Fix: fixVmlinux(t.Release)}
	}
	if t.Vmlinuz != "" {
		if err := checkImage(t.Vmlinuz, info); err != nil {
			return err
		}
	}
	if err := checkHeaders(t, info); err != nil {
		return err
	}
	if err := checkSource(t); err != nil {
		return err
	}
	if err := checkHostTools(ctx, t); err != nil {
		return err
	}
	return CheckCompiler(ctx, t)
}

func fixVmlinux(release string) string {
	if release == "" {
		release = "RELEASE"
	}
	return "use the vmlinux of package linux-image-" + release + "-dbg"
}

// checkImage compares release and version, which has the time of the build
// (or Debian's version and date), of boot image and vmlinux.
func checkImage(path string, info *vmlinuxInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fix := "use the boot image of package linux-image-" + info.banner.release
	v, err := info.arch.BootVersion(f)
	if err != nil {
		return &MismatchError{What: "format", Path: path, Want: "the boot image of " + info.banner.release, Got: err.Error(), Fix: fix}
	}
	release, _, _ := strings.Cut(v, " ")
	if release != info.banner.release {
		return &MismatchError{What: "kernel release", Path: path, Want: info.banner.release, Got: release, Fix: fix}
	}
	version := ""
	if i := strings.IndexByte(v, '#'); i >= 0 {
		version = strings.TrimSpace(v[i:])
	}
	if version != info.banner.version {
		return &MismatchError{What: "kernel version", Path: path, Want: info.banner.version, Got: version, Fix: fix}
	}
	return nil
}

var plainVersionRE = regexp.MustCompile(`^\d+\.\d+(\.\d+)?$`)

// checkHeaders compares what the headers were generated for with the vmlinux
// and the configuration.
func checkHeaders(t *Target, info *vmlinuxInfo) error {
	gen := filepath.Join(t.KernelBuild, "include/generated")
	fix := "use the headers of package linux-headers-" + t.Release
	uts := filepath.Join(gen, "utsrelease.h")
	if got := defined(uts, "UTS_RELEASE"); got != t.Release {
		return &MismatchError{What: "kernel release", Path: uts, Want: t.Release, Got: got, Fix: fix}
	}
	compile := filepath.Join(gen, "compile.h")
	// scripts/mkcompile_h; where UTS_VERSION is depends on the series.
	if got := defined(compile, "LINUX_COMPILER"); got != "" && got != info.banner.toolset {
		return &MismatchError{What: "compiler", Path: compile, Want: info.banner.toolset, Got: got, Fix: fix}
	}
	mk := filepath.Join(t.HeadersCommon, "Makefile")
	if want := upstreamVersion(t.Version); want != "" {
		got, err := makefileVersion(mk)
		if err != nil {
			return err
		}
		if got != want {
			return &MismatchError{What: "kernel version", Path: mk, Want: want, Got: got, Fix: "use common headers of version " + t.Version}
		}
	}
	return checkConfig(t, fix)
}

// upstreamVersion turns "6.1.192-2" into "6.1.192"; it is empty for what a
// Makefile would spell differently.
func upstreamVersion(debian string) string {
	_, up, _ := splitVersion(debian)
	if !plainVersionRE.MatchString(up) {
		return ""
	}
	if strings.Count(up, ".") == 1 {
		up += ".0"
	}
	return up
}

// unshippedOptions are removed from, or set differently in, the configuration
// that Debian ships in the image package: they concern signing and the build.
var unshippedOptions = []string{
	"CONFIG_BUILD_SALT", "CONFIG_MODULE_SIG_ALL", "CONFIG_MODULE_SIG_KEY", "CONFIG_SYSTEM_TRUSTED_KEYS",
}

func checkConfig(t *Target, fix string) error {
	path := filepath.Join(t.KernelBuild, ".config")
	got, err := readConfig(path)
	if err != nil {
		return err
	}
	want, err := readConfig(t.Config)
	if err != nil {
		return err
	}
	var keys []string
	for k := range got {
		keys = append(keys, k)
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if got[k] != want[k] && !slices.Contains(unshippedOptions, k) {
			return &MismatchError{What: k, Path: path, Want: orUnset(want[k]), Got: orUnset(got[k]), Fix: fix}
		}
	}
	return nil
}

func orUnset(v string) string {
	if v == "" {
		return "not set"
	}
	return v
}

// checkSource compares the tree's version and the headers it has in common with
// the headers package: two uploads of one upstream version differ there, if at
// all in anything that changes declarations.
func checkSource(t *Target) error {
	fix := "name the source of exactly that version with --source"
	if t.Version != "" {
		fix = fmt.Sprintf("use package linux-source-%s of version %s", series(t.Version), t.Version)
	}
	for _, p := range []string{"kernel/sched/core.c", "kernel/sched/sched.h", "include/linux/sched.h", "arch/" + t.KernelArch} {
		if existing(filepath.Join(t.Source, p)) == "" {
			return &MismatchError{What: p, Path: t.Source, Want: "the source tree of " + t.Release, Fix: fix}
		}
	}
	want, err := makefileVersion(filepath.Join(t.HeadersCommon, "Makefile"))
	if err != nil {
		return err
	}
	mk := filepath.Join(t.Source, "Makefile")
	got, err := makefileVersion(mk)
	if err != nil {
		return err
	}
	if got != want {
		return &MismatchError{What: "kernel version", Path: mk, Want: want, Got: got, Fix: fix}
	}
	if path := firstDifference(t.Source, t.HeadersCommon); path != "" {
		return &MismatchError{
			What: "content", Path: filepath.Join(t.Source, path),
			Want: "that of " + filepath.Join(t.HeadersCommon, path), Got: "different", Fix: fix,
		}
	}
	return nil
}

// firstDifference compares headers that are in both trees.
func firstDifference(source, headers string) string {
	if source == headers {
		return ""
	}
	for _, dir := range []string{"include/linux/sched", "include/linux", "include/uapi/linux"} {
		ents, err := os.ReadDir(filepath.Join(headers, dir))
		if err != nil {
			continue
		}
		for _, e := range ents {
			rel := filepath.Join(dir, e.Name())
			if !e.Type().IsRegular() || filepath.Ext(rel) != ".h" {
				continue
			}
			a, err := os.ReadFile(filepath.Join(source, rel))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			b, berr := os.ReadFile(filepath.Join(headers, rel))
			if err != nil || berr != nil || !bytes.Equal(a, b) {
				return rel
			}
		}
	}
	return ""
}

// newerRE is the dynamic linker's complaint about a library that is older than what a program
// was linked with.
var newerRE = regexp.MustCompile("([^\\s:]+): version `([^']+)' not found")

// checkHostTools runs what the headers bring along and would otherwise fail in
// the middle of a build: objtool is linked with libelf, and with the C library of the
// kernel's own suite. Where it is there for several architectures, it is a script that
// wants to know which (SRCARCH).
func checkHostTools(ctx context.Context, t *Target) error {
	for _, tool := range []string{"tools/objtool/objtool", "scripts/basic/fixdep"} {
		path := filepath.Join(t.KernelBuild, tool)
		if existing(path) == "" {
			continue // not every architecture and series has objtool
		}
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = append(os.Environ(), "SRCARCH="+t.KernelArch)
		var out tailBuffer
		cmd.Stderr = &out
		err := cmd.Run()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Called without arguments they print their usage and fail.
		if _, lib, ok := strings.Cut(string(out.b), "error while loading shared libraries: "); ok {
			lib, _, _ = strings.Cut(lib, ":")
			return &ToolError{Tool: lib, Package: libraryPackage(lib), Why: "run " + path}
		}
		if m := newerRE.FindStringSubmatch(string(out.b)); m != nil {
			return &MismatchError{What: "version of the host's " + filepath.Base(m[1]), Path: path, Want: m[2] + " or newer", Got: "older",
				Fix: "the kernel's own tools run on the Debian that has this kernel, or a newer one: use plugsched there"}
		}
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("%s does not run on this host: %w", path, err)
		}
	}
	return nil
}

// libraryPackage follows Debian's naming: libelf.so.1 is in libelf1, and
// OpenSSL's two libraries share a package.
func libraryPackage(lib string) string {
	name, soversion, ok := strings.Cut(lib, ".so.")
	if !ok {
		return lib
	}
	if name == "libcrypto" {
		name = "libssl"
	}
	return name + soversion
}

// CheckCompiler compares the compiler on this host with the one that built the
// kernel. They must be the same build: code generation differs between point
// releases, and the scheduler is reproduced bit by bit.
func CheckCompiler(ctx context.Context, t *Target) error {
	if t.CC == "" {
		return fmt.Errorf("%s: compiler not understood in %q", t.Vmlinux, t.Compiler)
	}
	pkg := withoutTriplet(t.CC)
	path, err := exec.LookPath(t.CC)
	if err != nil {
		return &ToolError{Tool: t.CC, Package: pkg, Why: fmt.Sprintf("compile like the kernel, which was built by %q,", t.Compiler)}
	}
	out, err := output(ctx, "", "compile", path, "--version")
	if err != nil {
		return err
	}
	got, _, _ := strings.Cut(out, "\n")
	// The first word is the name it was called by.
	_, wantRest, _ := strings.Cut(t.Compiler, " ")
	_, gotRest, _ := strings.Cut(got, " ")
	if oneLine(gotRest) != oneLine(wantRest) {
		return &MismatchError{
			What: "compiler", Path: path, Want: t.Compiler, Got: got,
			Fix: fmt.Sprintf("install the version of package %s that built the kernel", pkg),
		}
	}
	return nil
}

// compilerCommand is the command a banner's compiler can be run by here: with
// its target triplet if the host has that, without it otherwise.
func compilerCommand(compiler string) string {
	name, _, _ := strings.Cut(compiler, " ")
	if _, err := exec.LookPath(name); err != nil {
		return withoutTriplet(name)
	}
	return name
}

func withoutTriplet(name string) string {
	if i := strings.LastIndex(name, "-linux-gnu-"); i >= 0 {
		return name[i+len("-linux-gnu-"):]
	}
	return name
}
