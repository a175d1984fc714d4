/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The in-kernel half of plugsched: takes a running kernel from one scheduler to
 * another and back. See docs/update.md for the protocol.
 */
#ifndef PLUGSCHED_H
#define PLUGSCHED_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/percpu-defs.h>
#include <linux/sched.h>
#include <linux/types.h>

#define PLUGSCHED_JUMP_MAX	16

/*
 * A function that is redirected. The table is generated at build time in the
 * order of @old; only @saved and @alias change after that.
 */
struct plugsched_redirect {
	u8 *old;			/* the kernel's function */
	u8 *new;			/* the module's function */
	const char *name;
	u32 offset;			/* of the jump in @old */
	u32 size;			/* of @old */
	u8 shipped[PLUGSCHED_JUMP_MAX];	/* what vmlinux has at the jump's place */
	u8 saved[PLUGSCHED_JUMP_MAX];	/* what was there before the update */
	u8 *alias;			/* where the jump can be written, during an update */
};

/* A piece of the kernel's text that the module replaces, in order of @start. */
struct plugsched_range {
	unsigned long start;
	unsigned long size;
	unsigned long allow;	/* offset of the one return address that may stay, or 0 */
	const char *name;
};

/* A scheduling class. Tasks point at @old, so that it is rewritten in place. */
struct plugsched_table {
	void *old;
	const void *new;
	unsigned long size;
	void *saved;
	void *alias;		/* where @old can be written, during an update */
};

extern struct plugsched_redirect plugsched_redirects[];
extern const unsigned long plugsched_nr_redirects;
extern const struct plugsched_range plugsched_ranges[];
extern const unsigned long plugsched_nr_ranges;
extern struct plugsched_table plugsched_tables[];
extern const unsigned long plugsched_nr_tables;
extern const unsigned long plugsched_nr_orig_features;
extern const char plugsched_build_id[];
extern const char plugsched_release[];

/* The phases that are timed, in order. */
enum plugsched_time {
	PLUGSCHED_T_ENTER,	/* stop_machine() called */
	PLUGSCHED_T_STOPPED,	/* every CPU is in the handler */
	PLUGSCHED_T_CHECKED,	/* stacks inspected */
	PLUGSCHED_T_CLEARED,	/* run queues emptied by the old scheduler */
	PLUGSCHED_T_REDIRECTED,	/* class tables and jumps written */
	PLUGSCHED_T_REBUILT,	/* run queues filled by the new scheduler */
	PLUGSCHED_T_LEFT,	/* stop_machine() returned */
	PLUGSCHED_T_NR,
};

#define PLUGSCHED_STACK_DEPTH	256
#define PLUGSCHED_BUSY_MAX	16
#define PLUGSCHED_BUSY_DEPTH	32

/* Why a task forbids the update. */
struct plugsched_busy {
	pid_t pid;
	char comm[TASK_COMM_LEN];
	int err;			/* the unwinder's error, 0 when a frame is in the way */
	unsigned long frame;		/* that frame */
	unsigned int nr;
	unsigned long stack[PLUGSCHED_BUSY_DEPTH];
};

/*
 * One update, in either direction. Everything that the stopped machine needs is
 * allocated beforehand.
 */
struct plugsched_update {
	bool install;			/* else remove */
	unsigned int cpus;		/* online, fixed while hotplug is frozen */
	struct task_struct *initiator;
	atomic_t ids;			/* hands out CPU numbers 0 .. cpus - 1 */
	atomic_t arrived;		/* rendezvous counter, only grows */
	atomic_t verdict;		/* 0, or the first error */
	atomic_t nr_busy;		/* may exceed PLUGSCHED_BUSY_MAX */
	struct plugsched_busy *busy;
	unsigned long *stacks;		/* cpus * PLUGSCHED_STACK_DEPTH */
	atomic_t threads;		/* inspected */
	u64 time[PLUGSCHED_T_NR];
};

/* stack.c */
int plugsched_check_stacks(struct plugsched_update *u, unsigned int id);

/* rebuild.c: context of all: stopped machine, IRQs off, each CPU for itself. */
void plugsched_clear_rq(int cpu, bool module_active);
void plugsched_rebuild_rq(int cpu, bool module_active);

/* features.c: process context, may sleep. */
void plugsched_carry_features(bool install, bool changed_only);

/* text.c */
int plugsched_text_prepare(bool install);
void plugsched_text_finish(void);
void plugsched_text_release(void);
bool plugsched_text_unchanged(bool install);
void plugsched_tables_write(bool install);

/* arch */
DECLARE_PER_CPU(unsigned long, plugsched_frame);
extern const unsigned int plugsched_jump_size;
extern const unsigned int plugsched_poke_phases;
int plugsched_arch_init(void);
void plugsched_arch_exit(void);
bool plugsched_arch_hooked(const struct plugsched_redirect *r, const u8 *site);
void plugsched_arch_jump(const struct plugsched_redirect *r, u8 *insn);
void plugsched_arch_poke(u8 *site, const u8 *insn, unsigned int phase);
void plugsched_arch_sync(void);
void plugsched_text_poke(unsigned int phase, bool install);
const struct plugsched_redirect *plugsched_find_site(unsigned long addr);

#endif /* PLUGSCHED_H */
