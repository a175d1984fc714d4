// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
)

// An arch is all that differs between guest architectures.
type arch struct {
	name    string
	machine elf.Machine
	// kernel tells a kernel image of this architecture by its first bytes.
	kernel func(head []byte) bool
	qemu   string
	// args select the board and CPU. -nodefaults leaves nothing else on it.
	args []string
	// serial adds the port numbered n for a character device.
	serial func(n int, chardev string) []string
	// console and bell are the tty names of serial ports 0 and 1. Their
	// drivers must be built into every Debian flavour (CONFIG_SERIAL_8250=y;
	// all of virtio is modular), as nothing can be loaded before the agent runs.
	console, bell string
	// journal is that of port 2, which only a guest with a disk has.
	journal string
	// append are kernel command line words.
	append []string
	// hostClock are further ones for a guest that sees the host's clock.
	hostClock func() []string
	// counter is the name under which QEMU's "info registers" prints the program
	// counter.
	counter string
	// stack is QEMU's name of the stack pointer.
	stack string
}

var arches = []arch{{
	name:    "amd64",
	machine: elf.EM_X86_64,
	// Documentation/arch/x86/boot.rst: "HdrS" at 0x202.
	kernel: func(h []byte) bool { return len(h) > 0x206 && string(h[0x202:0x206]) == "HdrS" },
	qemu:   "qemu-system-x86_64",
	// Five-level paging would only slow down an emulated page walk.
	args:    []string{"-machine", "pc", "-cpu", "max,la57=off"},
	serial:  func(_ int, chardev string) []string { return []string{"-serial", "chardev:" + chardev} },
	console: "ttyS0",
	bell:    "ttyS1",
	journal: "ttyS2",
	append: []string{
		// QEMU's emulated TSCs are one host counter, but the kernel takes those
		// of an AMD CPU without constant_tsc for unsynchronised
		// (unsynchronized_tsc in arch/x86/kernel/tsc.c) and falls back to the
		// HPET, whose every read is a trip through QEMU.
		"tsc=reliable",
		// Lets the host turn a silent hang into a panic with a stack trace.
		"unknown_nmi_panic",
	},
	hostClock: func() []string {
		if khz := tscKHz(); khz != 0 {
			return []string{fmt.Sprintf("tsc_early_khz=%d", khz)}
		}
		return nil
	},
	counter: "RIP",
	stack:   "rsp",
}}

// archOf finds the architecture of a kernel image.
func archOf(kernel string) (*arch, error) {
	head, err := readHead(kernel, 0x1000)
	if err != nil {
		return nil, err
	}
	for i := range arches {
		if arches[i].kernel(head) {
			return &arches[i], nil
		}
	}
	if bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return nil, fmt.Errorf("kernel %s is an ELF file (vmlinux?); give the bootable image (vmlinuz)", kernel)
	}
	return nil, fmt.Errorf("kernel %s is no bootable image of a supported architecture (amd64)", kernel)
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
func (a *arch) runsIn(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if f.Machine != a.machine {
		return fmt.Errorf("%s is a program for %v, the kernel is for %s", path, f.Machine, a.name)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked and cannot run in a guest; build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
