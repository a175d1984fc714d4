// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/needs"
	"plugsched/internal/outcome"
)

// originTree is the Target.Origin of a kernel from the tree that it was built in.
const originTree = "tree"

// builtTree is the directory that a kernel was built in, which has all four artefacts.
type builtTree struct{ dir string }

func (*builtTree) name() string { return originTree }

// identify finds the artefacts that options do not name. What the kernel has to be configured with comes
// first: without it the rest need not be there.
func (b *builtTree) identify(f *fetcher) error {
	abs, err := filepath.Abs(b.dir)
	if err != nil {
		return err
	}
	// kbuild knows the directory by its own name, whatever links lead to it.
	dir, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return outcome.With(outcome.Precondition, fmt.Errorf("--tree: %w", err))
	}
	config := filepath.Join(dir, ".config")
	if existing(config) == "" {
		return &MismatchError{What: "configuration", Path: dir, Want: "the tree that a kernel was built in, with its .config",
			Fix: "name the directory in which make was run (with O=DIR: that one)"}
	}
	if err := needs.Check(config); err != nil {
		return err
	}
	if err := sameConfig(config, filepath.Join(dir, "include/config/auto.conf")); err != nil {
		return err
	}
	for _, lack := range []struct{ path, what, target string }{
		{"vmlinux", "vmlinux", "vmlinux"},
		{"include/generated/utsrelease.h", "generated headers", "modules_prepare"},
		{"Module.symvers", "list of exported symbols", "modules"},
	} {
		if existing(filepath.Join(dir, lack.path)) == "" {
			return &MismatchError{What: lack.what, Path: dir, Want: "a tree that was built: " + lack.path,
				Fix: fmt.Sprintf("run `make -C %s %s`", dir, lack.target)}
		}
	}
	source, _, err := commonHeaders(dir)
	if err != nil {
		return err
	}
	f.origin = originTree
	l := &f.files
	if l.vmlinux == "" {
		l.vmlinux = filepath.Join(dir, "vmlinux")
		l.systemMap = existing(filepath.Join(dir, "System.map"))
		if err := f.identifyBy(l.vmlinux); err != nil {
			return err
		}
	}
	if l.headers == "" {
		l.headers = dir
	}
	if l.source == "" {
		l.source = source
	}
	if l.vmlinuz == "" {
		l.vmlinuz, err = bootImage(dir)
	}
	return err
}

// bootImage finds the boot image in a tree.
func bootImage(dir string) (string, error) {
	var want []string
	for _, a := range arch.All {
		if path := existing(filepath.Join(dir, a.BootImage)); path != "" {
			return path, nil
		}
		want = append(want, a.BootImage)
	}
	return "", &MismatchError{What: "boot image", Path: dir, Want: "a tree that was built: " + strings.Join(want, ", "),
		Fix: fmt.Sprintf("run `make -C %s`", dir)}
}

// sameConfig compares a tree's configuration with that of its last build.
func sameConfig(config, built string) error {
	is, err := needs.ReadConfig(config)
	if err != nil {
		return err
	}
	was, err := needs.ReadConfig(built)
	if os.IsNotExist(err) {
		return &MismatchError{What: "configuration of the last build", Path: built, Want: "a tree that was built",
			Fix: "build the kernel: `make -C " + filepath.Dir(config) + "`"}
	}
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(is)) {
		// In auto.conf values are quoted as make wants them; options without a value are not in it.
		if w := was[k]; unquoted(w) != unquoted(is[k]) && is[k] != `""` {
			return &MismatchError{What: k, Path: config, Want: orUnset(w) + ", with which the kernel was built", Got: is[k],
				Fix: "build it again: `make -C " + filepath.Dir(config) + "`"}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[k]; !ok {
			return &MismatchError{What: k, Path: config, Want: was[k] + ", with which the kernel was built", Got: orUnset(""),
				Fix: "build it again: `make -C " + filepath.Dir(config) + "`"}
		}
	}
	return nil
}

func unquoted(v string) string { return strings.Trim(v, `"`) }

func (*builtTree) provide(context.Context, *fetcher, []kind) error { return nil }

func (*builtTree) fix(k kind, _, _ string) string {
	if k == kindSource {
		return "the source has changed since the kernel was built: build it again, or name the tree as it was"
	}
	return "build the kernel again, all of it, in one tree"
}
