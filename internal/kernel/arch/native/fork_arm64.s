// SPDX-License-Identifier: BSD-3-Clause

#include "textflag.h"

#define SYS_ppoll	73
#define SYS_setsid	157
#define SYS_prctl	167
#define SYS_clone	220
#define CLONE_VM	0x100
#define SIGCHLD		17
#define SIGKILL		9
#define PR_SET_PDEATHSIG	1

// func lightFork(session, spin uintptr) (pid uintptr)
//
// The child has its parent's memory, stack and all: it has to keep everything in registers.
TEXT ·lightFork(SB), NOSPLIT, $0-24
	MOVD session+0(FP), R19
	MOVD spin+8(FP), R20
	MOVD $(CLONE_VM | SIGCHLD), R0
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $SYS_clone, R8
	SVC
	CBZ R0, child
	MOVD R0, pid+16(FP)
	RET

child:
	MOVD $PR_SET_PDEATHSIG, R0
	MOVD $SIGKILL, R1
	MOVD $SYS_prctl, R8
	SVC
	CBZ R19, work
	MOVD $SYS_setsid, R8
	SVC

work:
	CBZ R20, sleep

spin:
	B spin

sleep:
	MOVD ZR, R0
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $SYS_ppoll, R8
	SVC
	B sleep
