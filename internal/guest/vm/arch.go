// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"

	"plugsched/internal/kernel/arch"
)

// archOf finds the architecture of a kernel image.
func archOf(kernel string) (*arch.Arch, error) {
	head, err := readHead(kernel, 0x1000)
	if err != nil {
		return nil, err
	}
	if a := arch.Booting(head); a != nil {
		return a, nil
	}
	if bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return nil, fmt.Errorf("kernel %s is an ELF file (vmlinux?); give the bootable image (vmlinuz)", kernel)
	}
	return nil, fmt.Errorf("kernel %s is no bootable image of a supported architecture (%s)", kernel, arch.Titles())
}

func readHead(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// runsIn says whether a file is a static executable of the architecture.
func runsIn(a *arch.Arch, path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if f.Machine != a.Machine {
		return fmt.Errorf("%s is a program for %v, the kernel is for %s", path, f.Machine, a.Title)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked and cannot run in a guest; build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
