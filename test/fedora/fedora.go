// SPDX-License-Identifier: BSD-3-Clause

// Package fedora packs a kernel's files as Fedora packs them: kernel-core, kernel-devel, kernel-debuginfo, and a
// source package with upstream's archive and patches.
package fedora

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Kernel names the files that are packed.
type Kernel struct {
	Release                 string // uname -r
	Version                 string // upstream's
	Vmlinuz, Config         string
	Vmlinux                 string
	Headers                 string            // directory
	Source                  string            // a .tar.xz
	Patches                 map[string]string // names and contents
	BinaryFlags, SourceFlag string            // of compression, as rpmbuild names them: "w3.zstdio"
}

// Packages are paths of what was built.
type Packages struct{ Core, Devel, Debuginfo, Source string }

// List has all of them.
func (p *Packages) List() []string { return []string{p.Core, p.Devel, p.Debuginfo, p.Source} }

// Build runs rpmbuild in a directory.
func Build(ctx context.Context, dir string, k *Kernel) (*Packages, error) {
	sources := filepath.Join(dir, "SOURCES")
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return nil, err
	}
	archive := "linux-" + k.Version + ".tar.xz"
	if err := os.Symlink(k.Source, filepath.Join(sources, archive)); err != nil {
		return nil, err
	}
	var list strings.Builder
	// Backwards by name, so that who goes by names applies them in the wrong order.
	names := slices.Sorted(maps.Keys(k.Patches))
	slices.Reverse(names)
	for i, name := range names {
		if err := os.WriteFile(filepath.Join(sources, name), []byte(k.Patches[name]), 0o644); err != nil {
			return nil, err
		}
		fmt.Fprintf(&list, "Patch%d: %s\n", i*1000+1, strings.ReplaceAll(name, k.Version, "%{patchversion}"))
	}
	spec := filepath.Join(dir, "kernel.spec")
	if err := os.WriteFile(spec, []byte(specText(k, archive, list.String())), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "rpmbuild", "-ba", "--nodeps", "--define", "_topdir "+dir, spec)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("rpmbuild (package rpm): %w\n%s", err, out)
	}
	p := &Packages{}
	for pattern, path := range map[string]*string{"RPMS/*/kernel-core-*": &p.Core, "RPMS/*/kernel-devel-*": &p.Devel,
		"RPMS/*/kernel-debuginfo-*": &p.Debuginfo, "SRPMS/*": &p.Source} {
		found, err := filepath.Glob(filepath.Join(dir, pattern+".rpm"))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("rpmbuild made %q of %s (%w)", found, pattern, err)
		}
		*path = found[0]
	}
	return p, nil
}

func specText(k *Kernel, archive, patches string) string {
	return fmt.Sprintf(`%%global debug_package %%{nil}
%%global __os_install_post %%{nil}
%%global _build_id_links none
%%global _binary_payload %[1]s
%%global _source_payload %[2]s
%%global patchversion %[3]s
%%global rel %[4]s
Name: kernel
Version: %[3]s
Release: 1.fc99
Summary: The Linux kernel
License: GPL-2.0-only
Source0: %[5]s
%[6]sAutoReqProv: no
%%description
The kernel.
%%package core
Summary: boot image
AutoReqProv: no
%%description core
.
%%package devel
Summary: headers
AutoReqProv: no
%%description devel
.
%%package debuginfo
Summary: vmlinux
AutoReqProv: no
%%description debuginfo
.
%%install
m=%%{buildroot}/lib/modules/%%{rel}
mkdir -p $m %%{buildroot}/usr/src/kernels %%{buildroot}/usr/lib/debug/lib/modules/%%{rel}
cp -L %[7]s $m/vmlinuz
cp -L %[8]s $m/config
cp -a %[9]s/. %%{buildroot}/usr/src/kernels/%%{rel}
cp -L %[10]s %%{buildroot}/usr/lib/debug/lib/modules/%%{rel}/vmlinux
%%files core
/lib/modules/%%{rel}
%%files devel
/usr/src/kernels/%%{rel}
%%files debuginfo
/usr/lib/debug
`, k.BinaryFlags, k.SourceFlag, k.Version, k.Release, archive, patches, k.Vmlinuz, k.Config, k.Headers, k.Vmlinux)
}
