// SPDX-License-Identifier: BSD-3-Clause
// What gcc and the kernel's own inline assembly do on arm64 and not on x86-64; arm64.s is made of it by
// aarch64-linux-gnu-gcc-12 -S -O2 -mgeneral-regs-only -mbranch-protection=pac-ret+leaf -fpatchable-function-entry=2
// -fno-section-anchors -fno-asynchronous-unwind-tables -fno-optimize-sibling-calls arm64.c

extern int outside(const char *text, long *where);

static long counter;
long table[4] = { 1, 2, 3, 4 };

/* As arch/arm64/include/asm/alternative-macros.h: the replacement is in another part of the section. */
#define ALTERNATIVE(old, new)							\
	".if 1 == 1\n661:\n\t" old "\n662:\n"					\
	".pushsection .altinstructions,\"a\"\n .word 661b - .\n .word 663f - .\n"\
	" .hword 24\n .byte 662b-661b\n .byte 664f-663f\n.popsection\n"		\
	".subsection 1\n663:\n\t" new "\n664:\n\t"				\
	".org	. - (664b-663b) + (662b-661b)\n\t"				\
	".org	. - (662b-661b) + (664b-663b)\n\t.previous\n.endif\n"

/* As arch/arm64/include/asm/sysreg.h: a macro that is gone behind its use. */
#define WRITE_SYSREG								\
	"	.irp	num,0,1,2,3\n	.equ	.L__gpr_num_x\\num, \\num\n	.endr\n"	\
	"	.macro	msr_s, sreg, rt\n"					\
	"	.inst 0xd5000000|(\\sreg)|(.L__gpr_num_\\rt)\n	.endm\n"	\
	"	msr_s	0x184600, x0\n	.purgem	msr_s\n"

/* As arch/arm64/include/asm/asm-bug.h */
#define WARN()									\
	".pushsection __bug_table,\"aw\"; .align 2; 14470: .long 14471f - .; "	\
	".pushsection .rodata.str,\"aMS\",@progbits,1; 14472: .string \"a.c\"; .popsection; "\
	".long 14472b - .; .short %c0; .short 1; .align 2; .popsection; 14471: brk 0x800"

void first(void)
{
	outside("first", &counter);
}

long enable(long x)
{
	asm volatile(ALTERNATIVE("msr daifclr, #3", WRITE_SYSREG) : : : "memory");
	asm volatile("sub %0, %0, #21" : "+r" (x));
	return x + counter;
}

static __attribute__((noinline)) int warns(int cpu)
{
	if (cpu < 0)
		asm volatile(WARN() : : "i" (__LINE__));
	return outside("warns", &table[cpu & 3]);
}

int last(int cpu)
{
	first();
	return warns(cpu) + (int)enable(cpu);
}

int alias(int cpu) __attribute__((alias("last")));
