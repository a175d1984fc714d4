/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the runtime asks of an architecture: arch/ARCH/ implements all of it, and
 * nothing else outside of there knows the architecture.
 */
#ifndef PLUGSCHED_ARCH_H
#define PLUGSCHED_ARCH_H

#include <linux/percpu-defs.h>
#include <linux/types.h>

struct plugsched_redirect;
struct plugsched_write;
struct task_struct;

/* The longest jump of any architecture, bytes. */
#define PLUGSCHED_JUMP_MAX	16

/*
 * The frame of the kernel's __schedule that the springboard built last on this CPU
 * (springboard.S, generated): used up before the CPU enters __schedule again.
 */
DECLARE_PER_CPU(unsigned long, plugsched_frame);

/* Bytes of one jump, at most PLUGSCHED_JUMP_MAX. */
extern const unsigned int plugsched_jump_size;

/*
 * In how many steps a jump is written. Between two of them all CPUs call
 * plugsched_arch_sync(); an NMI that meets a jump half written must come through.
 */
extern const unsigned int plugsched_poke_phases;

/* Context of both: process, may sleep. */
int plugsched_arch_init(void);
void plugsched_arch_exit(void);

/*
 * Whether somebody else has changed, or will restore, the bytes at a jump's place.
 * Context: stopped machine, or process.
 */
bool plugsched_arch_hooked(const struct plugsched_redirect *r, const u8 *site);

/* Make the jump from r->old + r->offset to r->new, plugsched_jump_size bytes. Context: any. */
void plugsched_arch_jump(const struct plugsched_redirect *r, u8 *insn);

/*
 * One step of writing an instruction at site, through alias unless that is NULL.
 * Context: stopped machine, one CPU.
 */
void plugsched_arch_poke(u8 *site, u8 *alias, const u8 *insn, unsigned int phase);

/* The same for all that an update has prepared. */
void plugsched_arch_write(const struct plugsched_write *w, unsigned long nr, unsigned int phase);

/* Whether all places are as they were then. Context: stopped machine, or process. */
bool plugsched_arch_unchanged(const struct plugsched_write *w, unsigned long nr);

/* See what another CPU has written to the text. Context: stopped machine, every CPU. */
void plugsched_arch_sync(void);

/* Where the stack of a task that does not run ends. Context: the task stays asleep. */
unsigned long *plugsched_arch_stack(struct task_struct *p);

/*
 * The code that a word on a stack leads to if it is a return address, whatever else the
 * architecture keeps in it. Context: any.
 */
unsigned long plugsched_arch_code(unsigned long word);

/*
 * Store the return addresses on the stack of a task that does not run, from the inmost on,
 * and return their number. Negative: what there is does not tell them for sure. A task
 * that runs meanwhile gives any of the two.
 * Context: process or stopped machine.
 */
int plugsched_arch_stack_trace(struct task_struct *p, unsigned long *stack, unsigned int size);

#endif /* PLUGSCHED_ARCH_H */
