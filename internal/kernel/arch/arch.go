// SPDX-License-Identifier: BSD-3-Clause

// Package arch is what the analysis and the build know about an architecture.
package arch

import (
	"debug/elf"
	"fmt"
)

// Arch describes one architecture.
type Arch struct {
	Name    string // the kernel's name of it, as in arch/NAME
	Machine elf.Machine
	// JumpSize is the size in bytes of the jump that redirects a function.
	JumpSize int
	// FtraceSize is the size of the place at a function's head that ftrace
	// rewrites.
	FtraceSize int
	// Syscalls are the prefixes of functions that user space enters.
	Syscalls []string
	// Thunks are the prefixes of functions that stand for an instruction, and are
	// nobody's callee.
	Thunks []string
	// Relocations are the types that the kernel's module loader applies, all of them
	// S + A or S + A - P.
	Relocations []uint32
	// Landing is the instruction that an indirect branch must land on, or nil.
	Landing []byte
}

// X86 is x86-64. A redirection is a jmp rel32 (5 bytes), ftrace's site a 5-byte
// nop (arch/x86/kernel/ftrace.c, MCOUNT_INSN_SIZE). The relocations are those of
// arch/x86/kernel/module.c.
var X86 = &Arch{
	Name:       "x86",
	Machine:    elf.EM_X86_64,
	JumpSize:   5,
	FtraceSize: 5,
	Syscalls:   []string{"__x64_sys_", "__ia32_sys_", "__x64_compat_sys_", "__ia32_compat_sys_", "__x32_compat_sys_"},
	Thunks:     []string{"__x86_return_thunk", "__x86_indirect_thunk_", "__pi___x86_"},
	Relocations: []uint32{uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_32), uint32(elf.R_X86_64_32S),
		uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_PLT32), uint32(elf.R_X86_64_PC64)},
	Landing: []byte{0xf3, 0x0f, 0x1e, 0xfa}, // endbr64
}

// Of returns the architecture of an ELF machine.
func Of(m elf.Machine) (*Arch, error) {
	if m == elf.EM_X86_64 {
		return X86, nil
	}
	return nil, fmt.Errorf("architecture %v is not supported; supported: x86-64", m)
}

// JumpOffset returns where in a function the redirection goes: behind ftrace's
// site, or at the head (behind a landing instruction) when there is none.
// ftraceSite is negative for functions without a site; head is the function's
// first bytes.
func (a *Arch) JumpOffset(ftraceSite int, head []byte) int {
	if ftraceSite >= 0 {
		return ftraceSite + a.FtraceSize
	}
	if n := len(a.Landing); n > 0 && len(head) >= n && string(head[:n]) == string(a.Landing) {
		return n
	}
	return 0
}
