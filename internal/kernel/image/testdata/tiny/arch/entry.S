// SPDX-License-Identifier: BSD-3-Clause
	.text

/* Without type and size, as old entry code is. */
	.globl	raw_entry
raw_entry:
	call	callee
inner_label_of_gap:
	ud2

	.globl	sized_entry
	.type	sized_entry, @function
sized_entry:
	clac
	call	other
inner_label:
	jmp	inner_label
	.size	sized_entry, . - sized_entry

	.globl	recursive
	.type	recursive, @function
recursive:
	dec	%edi
	jnz	recursive
	call	recursive
	jmp	callee
	.size	recursive, . - recursive

/* The instruction is replaced at boot. */
	.globl	patched
	.type	patched, @function
patched:
1:	nopl	0(%rax,%rax,1)
	jmp	.Laux
back:
	ret
	.size	patched, . - patched

	.pushsection .altinstr_replacement, "ax"
2:	call	other
	.popsection
	.pushsection .altinstructions, "a"
	.long	1b - .
	.long	2b - .
	.word	1
	.byte	5
	.byte	5
	.popsection
	.pushsection .altinstr_aux, "ax"
.Laux:
	testb	$1, sink
	jnz	back
	jmp	callee
	.popsection

/* Call padding, a landing instruction and ftrace's site behind it. */
	.globl	padded
	.type	padded, @function
	.type	__pfx_padded, @function
__pfx_padded:
	.fill	16, 1, 0x90
	.size	__pfx_padded, 16
padded:
	endbr64
3:	call	__fentry__
	ret
	.size	padded, . - padded
	.pushsection __mcount_loc, "a"
	.quad	3b
	.popsection

	.globl	__fentry__
	.type	__fentry__, @function
__fentry__:
	ret
	.size	__fentry__, . - __fentry__

	.globl	patch_sites
	.type	patch_sites, @function
patch_sites:
4:	.byte	0x66, 0x90
5:	.byte	0x0f, 0x1f, 0x44, 0, 0
6:	call	callee
7:	lock incl sink
	ret
	.size	patch_sites, . - patch_sites
	.pushsection __jump_table, "aw"
	.long	4b - ., 4b - .
	.quad	0
	.long	5b - ., 5b - .
	.quad	0
	.popsection
	.pushsection .static_call_sites, "aw"
	.long	6b - ., 0
	.popsection
	.pushsection .smp_locks, "a"
	.long	7b - .
	.popsection

	.pushsection __ksymtab, "a"
__ksymtab_callee:
	.long	callee - ., 0, 0
	.popsection

	.section .rodata, "a"
	.globl	linux_banner
	.type	linux_banner, @object
linux_banner:
	.asciz	"Linux version 6.1.0-tiny (tester) #1"
	.size	linux_banner, . - linux_banner
	.section .note.GNU-stack, "", @progbits

/* Landing instructions: one that stays, one that the kernel removes at boot, none. */
	.text
	.macro landing name, insn:vararg
	.globl \name
	.type \name, @function
\name:
	\insn
	ret
	.size \name, . - \name
	.endm
	landing lands, endbr64
	landing lands_not, endbr64
	landing never_lands, nop
	.section .ibt_endbr_seal, "a"
	.long lands_not - .
