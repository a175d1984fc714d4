// SPDX-License-Identifier: BSD-3-Clause
	.arch armv8-a
	.file	"arm64.c"
	.text
	.section	.rodata.str1.8,"aMS",@progbits,1
	.align	3
.LC0:
	.string	"warns"
	.text
	.align	2
	.p2align 4,,11
	.type	warns, %function
warns:
	.section	__patchable_function_entries,"awo",@progbits,warns
	.align	3
	.8byte	.LPFE1
	.text
.LPFE1:
	nop
	nop
.LFB2:
	.cfi_startproc
	hint	25 // paciasp
	.cfi_window_save
	stp	x29, x30, [sp, -16]!
	.cfi_def_cfa_offset 16
	.cfi_offset 29, -16
	.cfi_offset 30, -8
	mov	x29, sp
	tbz	w0, #31, .L2
#APP
// 48 "arm64.c" 1
	.pushsection __bug_table,"aw"; .align 2; 14470: .long 14471f - .; .pushsection .rodata.str,"aMS",@progbits,1; 14472: .string "a.c"; .popsection; .long 14472b - .; .short 48; .short 1; .align 2; .popsection; 14471: brk 0x800
// 0 "" 2
#NO_APP
.L2:
	adrp	x2, .LC0
	ubfiz	x0, x0, 3, 2
	adrp	x1, table
	add	x1, x1, :lo12:table
	add	x1, x1, x0
	add	x0, x2, :lo12:.LC0
	bl	outside
	ldp	x29, x30, [sp], 16
	.cfi_restore 30
	.cfi_restore 29
	.cfi_def_cfa_offset 0
	hint	29 // autiasp
	.cfi_window_save
	ret
	.cfi_endproc
.LFE2:
	.size	warns, .-warns
	.section	.rodata.str1.8
	.align	3
.LC1:
	.string	"first"
	.text
	.align	2
	.p2align 4,,11
	.global	first
	.type	first, %function
first:
	.section	__patchable_function_entries,"awo",@progbits,warns
	.align	3
	.8byte	.LPFE2
	.text
.LPFE2:
	nop
	nop
.LFB0:
	.cfi_startproc
	hint	25 // paciasp
	.cfi_window_save
	stp	x29, x30, [sp, -16]!
	.cfi_def_cfa_offset 16
	.cfi_offset 29, -16
	.cfi_offset 30, -8
	adrp	x1, counter
	mov	x29, sp
	add	x1, x1, :lo12:counter
	adrp	x0, .LC1
	add	x0, x0, :lo12:.LC1
	bl	outside
	ldp	x29, x30, [sp], 16
	.cfi_restore 30
	.cfi_restore 29
	.cfi_def_cfa_offset 0
	hint	29 // autiasp
	.cfi_window_save
	ret
	.cfi_endproc
.LFE0:
	.size	first, .-first
	.align	2
	.p2align 4,,11
	.global	enable
	.type	enable, %function
enable:
	.section	__patchable_function_entries,"awo",@progbits,warns
	.align	3
	.8byte	.LPFE3
	.text
.LPFE3:
	nop
	nop
.LFB1:
	.cfi_startproc
	hint	25 // paciasp
	.cfi_window_save
#APP
// 40 "arm64.c" 1
	.if 1 == 1
661:
	msr daifclr, #3
662:
.pushsection .altinstructions,"a"
 .word 661b - .
 .word 663f - .
 .hword 24
 .byte 662b-661b
 .byte 664f-663f
.popsection
.subsection 1
663:
		.irp	num,0,1,2,3
	.equ	.L__gpr_num_x\num, \num
	.endr
	.macro	msr_s, sreg, rt
	.inst 0xd5000000|(\sreg)|(.L__gpr_num_\rt)
	.endm
	msr_s	0x184600, x0
	.purgem	msr_s

664:
	.org	. - (664b-663b) + (662b-661b)
	.org	. - (662b-661b) + (664b-663b)
	.previous
.endif

// 0 "" 2
// 41 "arm64.c" 1
	sub x0, x0, #21
// 0 "" 2
#NO_APP
	adrp	x1, counter
	hint	29 // autiasp
	.cfi_window_save
	ldr	x1, [x1, #:lo12:counter]
	add	x0, x0, x1
	ret
	.cfi_endproc
.LFE1:
	.size	enable, .-enable
	.align	2
	.p2align 4,,11
	.global	last
	.type	last, %function
last:
	.section	__patchable_function_entries,"awo",@progbits,warns
	.align	3
	.8byte	.LPFE4
	.text
.LPFE4:
	nop
	nop
.LFB3:
	.cfi_startproc
	hint	25 // paciasp
	.cfi_window_save
	stp	x29, x30, [sp, -32]!
	.cfi_def_cfa_offset 32
	.cfi_offset 29, -32
	.cfi_offset 30, -24
	adrp	x2, .LC1
	adrp	x1, counter
	add	x1, x1, :lo12:counter
	mov	x29, sp
	stp	x19, x20, [sp, 16]
	.cfi_offset 19, -16
	.cfi_offset 20, -8
	mov	w19, w0
	add	x0, x2, :lo12:.LC1
	bl	outside
	mov	w0, w19
	bl	warns
	mov	w20, w0
	sxtw	x0, w19
	bl	enable
	add	w0, w20, w0
	ldp	x19, x20, [sp, 16]
	ldp	x29, x30, [sp], 32
	.cfi_restore 30
	.cfi_restore 29
	.cfi_restore 19
	.cfi_restore 20
	.cfi_def_cfa_offset 0
	hint	29 // autiasp
	.cfi_window_save
	ret
	.cfi_endproc
.LFE3:
	.size	last, .-last
	.global	alias
	.set	alias,last
	.global	table
	.data
	.align	3
	.type	table, %object
	.size	table, 32
table:
	.xword	1
	.xword	2
	.xword	3
	.xword	4
	.local	counter
	.comm	counter,8,8
	.ident	"GCC: (Debian 12.2.0-14) 12.2.0"
	.section	.note.GNU-stack,"",@progbits
	.section	.note.gnu.property,"a"
	.align	3
	.word	4
	.word	16
	.word	5
	.string	"GNU"
	.word	3221225472
	.word	4
	.word	2
	.align	3
