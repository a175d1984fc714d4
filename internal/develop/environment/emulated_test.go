// SPDX-License-Identifier: BSD-3-Clause

package environment

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/outcome"
)

// other is an architecture that this machine is not of.
func other(t *testing.T) *arch.Arch {
	t.Helper()
	i := slices.IndexFunc(arch.All, func(a *arch.Arch) bool {
		f, _ := foreign(&fetch.Target{KernelArch: a.Name})
		return f != nil
	})
	return arch.All[i]
}

// TestForeign: the compiler of a kernel of another architecture is that of its suite, in a tree of its own.
func TestForeign(t *testing.T) {
	a := other(t)
	k := kernel(t, "exit 1")
	k.KernelArch, k.Compiler, k.Release = a.Name, "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "6.1.0-1-"+a.Package
	trees, err := packages(k, a, Options{Suite: "bookworm"})
	if err != nil || len(trees) != 2 {
		t.Fatalf("%v, %v", trees, err)
	}
	ours, theirs := trees[0], trees[1]
	if ours.Architecture != "" || slices.Contains(ours.Names, "gcc-12=12.2.0-14+deb12u1") {
		t.Errorf("of this machine: %+v", ours)
	}
	for _, name := range []string{"make", "qemu-user", "binutils-" + a.Triplet, "gcc-12-" + a.Triplet} {
		if !slices.Contains(ours.Names, name) {
			t.Errorf("%q lacks %s", ours.Names, name)
		}
	}
	if theirs.Architecture != a.Package || !slices.Contains(theirs.Names, "gcc-12=12.2.0-14+deb12u1") ||
		slices.Contains(theirs.Names, "make") {
		t.Errorf("of the kernel: %+v", theirs)
	}
	_, err = For(t.Context(), k, Options{})
	if err == nil || !strings.Contains(err.Error(), "--environment") || outcome.Of(err) != outcome.Usage {
		t.Errorf("without a suite: %v", err)
	}
}

// TestEmulate: the compiler and its part that compiles are run by the emulator, the assembler is this machine's, and
// what a build is told fits.
func TestEmulate(t *testing.T) {
	a := other(t)
	root := filepath.Join(t.TempDir(), "programs")
	if _, err := emulate(a, root, "gcc-12"); err == nil {
		t.Error("a tree without a compiler will do")
	}
	write(t, filepath.Join(root, "usr/lib/gcc", a.Triplet, "12/cc1"), "", 0o755)
	cc, err := emulate(a, root, "gcc-12")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{a.Emulator, a.Triplet + "-as"} {
		write(t, filepath.Join(bin, name), "#!/bin/sh\necho ${0##*/} \"$@\"\n", 0o755)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	dir := filepath.Dir(cc)
	for name, want := range map[string]string{
		"gcc-12": a.Emulator + " -L " + root + " " + root + "/usr/bin/gcc-12 -B " + dir + "/ -S a b",
		"cc1":    a.Emulator + " -L " + root + " " + root + "/usr/lib/gcc/" + a.Triplet + "/12/cc1 -S a b",
		"as":     a.Triplet + "-as -S a b",
	} {
		out, err := exec.Command(filepath.Join(dir, name), "-S", "a b").Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v, expected %q", name, got, err, want)
		}
	}
	e := &Environment{Arch: a.Name, Cross: a.Triplet + "-", CC: cc}
	e.Quick = e.Tool("gcc-12")
	if got := e.Make(); !slices.Equal(got, []string{"ARCH=" + a.Name, "CROSS_COMPILE=" + a.Triplet + "-"}) ||
		e.AnyCC() != a.Triplet+"-gcc-12" {
		t.Errorf("%q, %s", got, e.AnyCC())
	}
	here := &Environment{CC: "gcc-12"}
	if here.Make() != nil || here.Tool("objcopy") != "objcopy" || here.AnyCC() != "gcc-12" {
		t.Errorf("%q, %s, %s", here.Make(), here.Tool("objcopy"), here.AnyCC())
	}
}
