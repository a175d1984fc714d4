// SPDX-License-Identifier: BSD-3-Clause

// Package parts says what of a kernel that is nobody's package a machine has, what it lacks, and how
// one can go on.
package parts

import (
	"os"
	"path/filepath"
	"strings"
)

// part is something that init needs of a kernel.
type part struct {
	what   string
	places []string // below the machine's root, where R is the release
	holds  string   // a file in that directory by which it is known; "" for a file
}

// parts are init's inputs, and where distributions and the kernel's own build leave them.
var parts = []part{
	// Debian and Ubuntu; Fedora and its kin; a kernel's own `make modules_install` (scripts/Makefile.modinst
	// makes "build" and "source" links to the tree that it was built in).
	{"vmlinux with debug information", []string{"usr/lib/debug/boot/vmlinux-R", "usr/lib/debug/lib/modules/R/vmlinux",
		"lib/modules/R/build/vmlinux"}, ""},
	{"headers", []string{"lib/modules/R/build", "usr/src/linux-headers-R", "usr/src/kernels/R"}, "include/generated/utsrelease.h"},
	{"source", []string{"lib/modules/R/source", "lib/modules/R/build"}, "kernel/sched/core.c"},
}

// Of says which parts of a kernel a machine has, with their places, and which it lacks.
func Of(root, release string) (has, lacks []string) {
	for _, p := range parts {
		place := ""
		for _, at := range p.places {
			at = "/" + strings.ReplaceAll(at, "R", release)
			if _, err := os.Stat(filepath.Join("/", root, at, p.holds)); err == nil {
				place = at
				break
			}
		}
		if place == "" {
			lacks = append(lacks, p.what)
		} else {
			has = append(has, p.what+" ("+place+")")
		}
	}
	return has, lacks
}

// Missing says in words what a machine has and lacks of a kernel.
func Missing(root, release string) string {
	has, lacks := Of(root, release)
	switch {
	case len(lacks) == 0:
		return "all that is needed of " + release + " is here: " + strings.Join(has, ", ")
	case len(has) == 0:
		return "of " + release + " this machine lacks " + list(lacks)
	}
	return "of " + release + " this machine has " + list(has) + " and lacks " + list(lacks)
}

func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// Ways are how one goes on with a kernel for which there are no packages.
const Ways = "take another release with `init --release`; or name the files with " +
	"`init --vmlinux FILE --headers DIR --source DIR`; or name the directory in which the kernel was built: " +
	"`init --tree DIR`; or name its RPM packages: `init --rpm FILE --rpm FILE...`"
