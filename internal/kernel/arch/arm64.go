// SPDX-License-Identifier: BSD-3-Clause

package arch

import (
	"debug/elf"

	"plugsched/internal/kernel/arch/arm64"
	"plugsched/internal/kernel/arch/isa"
)

// ARM64 is arm64. A redirection is one b, whose island is within its reach; ftrace's site two
// instructions at the function's head, before paciasp (arch/arm64/kernel/ftrace.c). The
// relocations are those of arch/arm64/kernel/module.c.
var ARM64 = &Arch{
	Name:    "arm64",
	Title:   "arm64",
	Package: "arm64",
	Machine: elf.EM_AARCH64,
	Option:  "ARM64",
	// A module is found by a function and shows where data is, and stacks are walked by the runtime.
	Spares: []string{"KALLSYMS_ALL", "HAVE_RELIABLE_STACKTRACE"},
	Needs: []Option{
		{"PREEMPTION", true, "a task that was interrupted anywhere in the kernel may sleep there, and the frame records that stacks are " +
			"walked by may be half made", "General setup, Preemption Model: Voluntary Kernel Preemption"},
		{"FRAME_POINTER", false, "stacks are walked by frame records", "Kernel hacking, Compile-time checks and compiler options"},
		{"SHADOW_CALL_STACK", true, "return addresses are on a second stack, which an update does not look at",
			"General architecture-dependent options, Shadow Call Stack"},
		{"ARM64_BTI_KERNEL", true, "the jumps of an update go by way of code without landing instructions",
			"Kernel Features, ARMv8.5 architectural features, Use Branch Target Identification for kernel"},
	},

	Triplet:  "aarch64-linux-gnu",
	Emulator: "qemu-aarch64",

	JumpSize:   4,
	FtraceSize: 8,
	// A pointer, in kernels whose ftrace has one for each function (ftrace_call_adjust in arch/arm64/kernel/ftrace.c,
	// CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS).
	FtraceBefore: 8,

	SwitchTo: "__switch_to", // which calls cpu_switch_to (arch/arm64/kernel/process.c)
	Syscalls: []string{"__arm64_sys_", "__arm64_compat_sys_"},

	Relocations: []uint32{uint32(elf.R_AARCH64_ABS64), uint32(elf.R_AARCH64_ABS32), uint32(elf.R_AARCH64_PREL64),
		uint32(elf.R_AARCH64_PREL32), uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), uint32(elf.R_AARCH64_ADD_ABS_LO12_NC),
		uint32(elf.R_AARCH64_LDST8_ABS_LO12_NC), uint32(elf.R_AARCH64_LDST16_ABS_LO12_NC), uint32(elf.R_AARCH64_LDST32_ABS_LO12_NC),
		uint32(elf.R_AARCH64_LDST64_ABS_LO12_NC), uint32(elf.R_AARCH64_LDST128_ABS_LO12_NC),
		uint32(elf.R_AARCH64_CALL26), uint32(elf.R_AARCH64_JUMP26)},
	Abs64:    uint32(elf.R_AARCH64_ABS64),
	Relative: uint32(elf.R_AARCH64_RELATIVE),
	Field:    arm64.Field,
	IsBranch: arm64.IsBranch,

	MaxInstruction: arm64.MaxInstruction,
	Size:           arm64.Size,
	Refs:           arm64.Refs,
	Memory:         arm64.MemoryOperands,
	Branch:         arm64.Branch,
	Tail:           arm64.Tail,
	Springboard:    arm64.Prove,
	Records:        arm64.Records,

	KeySize:      arm64.JumpLabelSize,
	KeyJump:      arm64.JumpLabelJump,
	KeyNop:       arm64.JumpLabelNop,
	Alternatives: arm64.Alternatives,
	UserFault:    arm64.UserFault,

	// Units with ftrace's option have no such knowledge, others have.
	Compared: []string{"-fno-ipa-ra"},
	// Variables would be distances from an anchor.
	Bound: []string{"-fno-section-anchors"},

	Traced: []string{"__patchable_function_entries"},
	Assembly: isa.Syntax{Comment: "//", Branch: arm64.BranchMnemonic, Prefix: arm64.PrefixMnemonic,
		Symbol: arm64.IsSymbol, Second: "w1"},

	BootImage:   "arch/arm64/boot/Image",
	BootVersion: arm64.BootVersion,
	BootPayload: arm64.BootPayload,
	IsBootImage: arm64.IsBootImage,
	Guest: Guest{
		QEMU: "qemu-system-aarch64",
		// An emulated processor authenticates pointers many times faster with an algorithm of QEMU's own.
		Board: []string{"-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"},
		// The board has one serial port; further ones are on its PCI bus.
		Serial: func(n int, chardev string) []string {
			if n == 0 {
				return []string{"-serial", "chardev:" + chardev}
			}
			return []string{"-device", "pci-serial,chardev=" + chardev}
		},
		Console: "ttyAMA0",
		Bell:    "ttyS0",
		Journal: "ttyS1",
		Counter: "PC",
		Stack:   "SP",
	},
}
