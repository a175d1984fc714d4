// SPDX-License-Identifier: BSD-3-Clause

#include "textflag.h"

#define SYS_clone	56
#define SYS_setsid	112
#define SYS_prctl	157
#define SYS_ppoll	271
#define CLONE_VM	0x100
#define SIGCHLD		17
#define SIGKILL		9
#define PR_SET_PDEATHSIG	1

// func lightFork(session, spin uintptr) (pid uintptr)
//
// The child has its parent's memory, stack and all: it has to keep everything in registers.
TEXT ·lightFork(SB), NOSPLIT, $0-24
	MOVQ session+0(FP), R12
	MOVQ spin+8(FP), R13
	MOVQ $(CLONE_VM | SIGCHLD), DI
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $SYS_clone, AX
	SYSCALL
	TESTQ AX, AX
	JZ child
	MOVQ AX, pid+16(FP)
	RET

child:
	MOVL $PR_SET_PDEATHSIG, DI
	MOVL $SIGKILL, SI
	MOVL $SYS_prctl, AX
	SYSCALL
	TESTQ R12, R12
	JZ work
	MOVL $SYS_setsid, AX
	SYSCALL

work:
	TESTQ R13, R13
	JZ sleep

spin:
	JMP spin

sleep:
	XORL DI, DI
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $SYS_ppoll, AX
	SYSCALL
	JMP sleep
