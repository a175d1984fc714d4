// SPDX-License-Identifier: BSD-3-Clause

package arch

import (
	"debug/elf"
	"fmt"

	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/arch/native"
	"plugsched/internal/kernel/arch/x86"
)

// X86 is x86-64. A redirection is a jmp rel32 (5 bytes), ftrace's site a 5-byte
// nop (arch/x86/kernel/ftrace.c, MCOUNT_INSN_SIZE). The relocations are those of
// arch/x86/kernel/module.c, the context switch is in arch/x86/entry/entry_64.S.
var X86 = &Arch{
	Name:    "x86",
	Title:   "x86-64",
	Package: "amd64",
	Machine: elf.EM_X86_64,
	Option:  "X86_64",

	Triplet:  "x86_64-linux-gnu",
	Emulator: "qemu-x86_64",

	JumpSize:   5,
	FtraceSize: 5,
	Landing:    []byte{0xf3, 0x0f, 0x1e, 0xfa}, // endbr64
	Seals:      &Range{"__ibt_endbr_seal", "__ibt_endbr_seal_end"},

	SwitchTo: "__switch_to_asm",
	Syscalls: []string{"__x64_sys_", "__ia32_sys_", "__x64_compat_sys_", "__ia32_compat_sys_", "__x32_compat_sys_"},
	Thunks:   []string{"__x86_return_thunk", "__x86_indirect_thunk_", "__pi___x86_"},

	Relocations: []uint32{uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_32), uint32(elf.R_X86_64_32S),
		uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_PLT32), uint32(elf.R_X86_64_PC64)},
	Abs64:    uint32(elf.R_X86_64_64),
	Relative: uint32(elf.R_X86_64_RELATIVE),
	Field:    x86.Field,
	IsBranch: x86.IsBranch,

	MaxInstruction: x86.MaxInstruction,
	Size:           x86.Size,
	Refs:           x86.Refs,
	Memory:         x86.MemoryOperands,
	Branch:         x86.Branch,
	Tail:           x86.Tail,
	Springboard:    x86.Prove,

	KeySize:      x86.JumpLabelSize,
	KeyJump:      x86.JumpLabelJump,
	KeyNop:       x86.JumpLabelNop,
	CallSize:     x86.StaticCallSize,
	LockSize:     x86.LockSize,
	Alternatives: x86.Alternatives,

	// gcc lists there where it padded functions (CONFIG_CALL_PADDING), and links the list to
	// one of them, which may not be in the module; objtool finds the padding by itself, as
	// ftrace finds its sites (tools/objtool/check.c, create_mcount_loc_sections).
	Unread:   []string{"__patchable_function_entries"},
	Traced:   []string{"__mcount_loc"},
	Assembly: isa.Syntax{Comment: "#", Branch: x86.BranchMnemonic, Prefix: x86.PrefixMnemonic, Second: "%esi"},

	BootImage:   "arch/x86/boot/bzImage",
	BootVersion: x86.BootVersion,
	BootPayload: x86.BootPayload,
	IsBootImage: x86.IsBootImage,
	Guest: Guest{
		QEMU: "qemu-system-x86_64",
		// Five-level paging would only slow down an emulated page walk.
		Board:   []string{"-machine", "pc", "-cpu", "max,la57=off"},
		Serial:  func(_ int, chardev string) []string { return []string{"-serial", "chardev:" + chardev} },
		Console: "ttyS0",
		Bell:    "ttyS1",
		Journal: "ttyS2",
		Append: []string{
			// QEMU's emulated TSCs are one host counter, but the kernel takes those
			// of an AMD CPU without constant_tsc for unsynchronised
			// (unsynchronized_tsc in arch/x86/kernel/tsc.c) and falls back to the
			// HPET, whose every read is a trip through QEMU.
			"tsc=reliable",
			// check_timer() (arch/x86/kernel/apic/io_apic.c) counts the timer's interrupts in
			// a stretch of time, and panics if a host that is busy let too few of them come.
			"no_timer_check",
			// Lets the host turn a silent hang into a panic with a stack trace.
			"unknown_nmi_panic",
		},
		HostClock: func() []string {
			if khz := native.CounterKHz(); khz != 0 {
				return []string{fmt.Sprintf("tsc_early_khz=%d", khz)}
			}
			return nil
		},
		Counter:  "RIP",
		Stack:    "RSP",
		Restarts: []string{"reboot: machine restart"},
	},
}
