// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"debug/elf"
	"fmt"
	"io"
	"sort"
	"strings"
)

// arch is everything this package knows about one architecture.
type arch struct {
	deb     string // Debian's name, the last part of a release's flavour
	kernel  string // the directory below arch/ and kbuild's ARCH
	machine elf.Machine
	// version reads the version string out of a boot image, in the form
	// "RELEASE (BUILDER) #1 SMP ... DATE".
	version func(io.ReaderAt) (string, error)
}

var arches = []arch{
	{deb: "amd64", kernel: "x86", machine: elf.EM_X86_64, version: bzImageVersion},
}

// archOfMachine finds the architecture of a vmlinux.
func archOfMachine(m elf.Machine) (*arch, error) {
	for i := range arches {
		if arches[i].machine == m {
			return &arches[i], nil
		}
	}
	return nil, fmt.Errorf("architecture %v is not supported (supported: %s)", m, archNames())
}

func archNames() string {
	var n []string
	for _, a := range arches {
		n = append(n, a.deb)
	}
	sort.Strings(n)
	return strings.Join(n, ", ")
}
