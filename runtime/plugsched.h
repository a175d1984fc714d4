/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The in-kernel half of plugsched: takes a running kernel from one scheduler to
 * another and back. See docs/project/update.md for the protocol.
 */
#ifndef PLUGSCHED_H
#define PLUGSCHED_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <linux/percpu-defs.h>
#include <linux/sched.h>
#include <linux/types.h>

struct kobject;
struct rq;

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
	u8 saved[PLUGSCHED_JUMP_MAX];	/* what the kernel had there before its first update */
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
	void *saved;		/* what the kernel had there before its first update */
	void *alias;		/* where @old can be written, during an update */
};

/* A setting of the kernel that its scheduler may compute anew at any time. */
struct plugsched_setting {
	void *value;
	unsigned long size;	/* at most that of @kept */
	u64 kept;		/* during an update */
};

/* Scheduler features, which two schedulers may number differently. */
struct plugsched_features {
	const char * const *names;
	unsigned int *bits;
	struct static_key *keys;
	unsigned long nr;
};

/* What a scheduler does with its own code while the machine is stopped. */
struct plugsched_rq_ops {
	void (*update_clock)(struct rq *rq);
	void (*set_online)(struct rq *rq);
	void (*set_offline)(struct rq *rq);
};

/*
 * Grows with every change of struct plugsched_module, or of what it points to:
 * a module is only replaced by one that understands it.
 */
#define PLUGSCHED_ABI	3

/* What one module knows of another. A NULL pointer stands for the kernel itself. */
struct plugsched_module {
	u32 abi;			/* must stay first */
	struct module *owner;
	struct mutex *lock;		/* held over every update from or to it */
	struct plugsched_redirect *redirects;
	const unsigned long *nr_redirects;
	const struct plugsched_range *ranges;
	const unsigned long *nr_ranges;
	struct plugsched_table *tables;
	const unsigned long *nr_tables;
	const struct plugsched_features *features;
	const struct plugsched_rq_ops *rq_ops;
	/* The edited scheduler's hook, see api.h. */
	void (*rebuild)(struct rq *rq, bool live);
	/* Context of both: process, may sleep. */
	void (*started)(bool fresh);	/* it runs; not @fresh: after an update that failed */
	void (*stopped)(void);		/* it is about to be left */
	struct kobject *files;
	bool active;			/* both only change while the machine is stopped */
	bool poking;			/* its jumps are being written or taken away */
	struct plugsched_module *previous;	/* what a rescue goes back to; two references */
};

extern struct plugsched_module plugsched_self;

extern struct plugsched_redirect plugsched_redirects[];
extern const unsigned long plugsched_nr_redirects;
extern const struct plugsched_range plugsched_ranges[];
extern const unsigned long plugsched_nr_ranges;
extern struct plugsched_table plugsched_tables[];
extern const unsigned long plugsched_nr_tables;
extern struct plugsched_setting plugsched_settings[];
extern const unsigned long plugsched_nr_settings;
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

struct plugsched_scan;

/*
 * One update. Everything that the stopped machine needs is allocated
 * beforehand.
 */
struct plugsched_update {
	struct plugsched_module *from, *to;	/* NULL is the kernel's own scheduler */
	unsigned int cpus;		/* online, fixed while hotplug is frozen */
	const struct task_struct *initiator;	/* whose frames in the runtime are no obstacle */
	bool forced;			/* go ahead over stacks that are in the way */
	bool heal;			/* the scheduler that is left is not to be trusted */
	struct plugsched_scan *scan;	/* what was inspected before, NULL: nothing */
	atomic_t ids;			/* hands out CPU numbers 0 .. cpus - 1 */
	atomic_t arrived;		/* rendezvous counter, only grows */
	atomic_t verdict;		/* 0, or the first error */
	atomic_t nr_busy;		/* may exceed PLUGSCHED_BUSY_MAX */
	struct plugsched_busy *busy;
	unsigned long *stacks;		/* possible CPUs * PLUGSCHED_STACK_DEPTH */
	const char *conflict;		/* a function that something else has hooked */
	atomic_t threads;		/* inspected in all */
	atomic_t stopped;		/* of them, while the machine was stopped */
	u64 scan_ns;
	u64 time[PLUGSCHED_T_NR];
};

/* update.c */
int plugsched_update_alloc(struct plugsched_update *u);
void plugsched_update_free(struct plugsched_update *u);
void plugsched_update_reset(struct plugsched_update *u);
int plugsched_update_stopped(void *data);
void plugsched_update_publish(struct plugsched_update *u, int err);
int plugsched_enable(bool on);
int plugsched_replace(const char *name);
int plugsched_try(unsigned int ms);
int plugsched_set_watchdog(unsigned int ms);
int plugsched_leave(void);
void plugsched_forced_exit(void);

/* sysfs.c */
int plugsched_sysfs_init(void);
void plugsched_sysfs_exit(void);
void plugsched_sysfs_publish(const struct plugsched_update *u, int err);
void plugsched_sysfs_link(const struct plugsched_module *to);

/* peer.c */
struct plugsched_module *plugsched_peer_get(const char *name);
void plugsched_peer_put(struct plugsched_module *peer);

/* stack.c: see there for the contexts. */
int plugsched_inspect(const struct plugsched_update *u, struct task_struct *p,
		      unsigned long *stack, struct plugsched_busy *b);
void plugsched_report(struct plugsched_update *u, const struct plugsched_busy *b);
void plugsched_check_task(struct plugsched_update *u, struct task_struct *p, unsigned long *stack);
void plugsched_check_stacks(struct plugsched_update *u, unsigned int id);

/* scan.c: process context, may sleep. */
int plugsched_scan_begin(struct plugsched_update *u);
void plugsched_scan_end(struct plugsched_update *u);
/* scan.c: stopped machine. */
bool plugsched_scan_complete(const struct plugsched_update *u);
void plugsched_scan_check(struct plugsched_update *u, unsigned int id, unsigned long *stack);

/* tasks.c: process context, may sleep. */
int plugsched_for_each_task(int (*fn)(struct task_struct *p, void *data), void *data);

/* rebuild.c: context of both: stopped machine, IRQs off, each CPU for itself. */
void plugsched_clear_rq(int cpu, const struct plugsched_module *from, bool heal);
void plugsched_rebuild_rq(int cpu, const struct plugsched_module *to, bool heal);
extern const struct plugsched_rq_ops plugsched_rq_ops;

/* settings.c: see there for the context. */
void plugsched_settings_keep(void);
void plugsched_settings_restore(void);

/* hooks.c: process context, may sleep. */
int plugsched_hooks_init(void);
void plugsched_hooks_exit(void);
int plugsched_retire(void);

/* leftovers.c: process context, may sleep. */
int plugsched_leftovers_find(void);
ssize_t plugsched_leftovers_show(char *buf);

/* data.c: process context, may sleep. */
void plugsched_data_exit(void);
ssize_t plugsched_data_show(char *buf);

/* heal.c: see there for the contexts. */
void plugsched_heal_queued(struct task_struct *p);
void plugsched_heal_sleeper(struct task_struct *p);

/* features.c: process context, may sleep. */
void plugsched_carry_features(const struct plugsched_module *from,
			      const struct plugsched_module *to, bool changed_only);
extern const struct plugsched_features plugsched_features;

/* text.c */
int plugsched_text_prepare(struct plugsched_update *u);
void plugsched_text_finish(struct plugsched_update *u);
void plugsched_text_release(void);
bool plugsched_text_unchanged(struct plugsched_update *u);
void plugsched_text_poke(const struct plugsched_update *u, unsigned int phase);
void plugsched_tables_write(const struct plugsched_update *u);
const struct plugsched_redirect *plugsched_find_site(unsigned long addr);

/* rescue.c: goes back without being asked by a process. */
int plugsched_rescue_init(void);
void plugsched_rescue_exit(void);
void plugsched_rescue_arm(bool fresh);
void plugsched_rescue_disarm(void);
__printf(2, 3) void plugsched_rescue(bool sick, const char *fmt, ...);
bool plugsched_rescued(void);
bool plugsched_rescue_pending(void);
unsigned int plugsched_try_left(void);
extern unsigned int plugsched_try_ms;

/* What a reason begins with that was found in the kernel's log. */
#define PLUGSCHED_FROM_LOG "the kernel says: "

/* report.c: why it went back. */
__printf(1, 2) void plugsched_note(const char *fmt, ...);
void plugsched_note_stack(const unsigned long *stack, unsigned int nr);
void plugsched_report_clear(void);
void plugsched_report_log(void);	/* process context */
extern struct bin_attribute plugsched_report_attr;

/* watchdog.c: finds tasks and CPUs that the scheduler has forgotten. */
int plugsched_watchdog_init(void);
void plugsched_watchdog_exit(void);
void plugsched_watchdog_start(void);
void plugsched_watchdog_stop(void);
void plugsched_watchdog_tick(unsigned int ms);
void plugsched_watchdog_repair(void);
extern unsigned int plugsched_watchdog_ms;
extern struct task_struct *plugsched_watchdog_task;

/* kmsg.c: reads the kernel's log. */
void plugsched_kmsg_start(bool anew);
void plugsched_kmsg_stop(void);
void plugsched_kmsg_read(void);

/* arch */
DECLARE_PER_CPU(unsigned long, plugsched_frame);
extern const unsigned int plugsched_jump_size;
extern const unsigned int plugsched_poke_phases;
int plugsched_arch_init(void);
void plugsched_arch_exit(void);
bool plugsched_arch_hooked(const struct plugsched_redirect *r, const u8 *site);
void plugsched_arch_jump(const struct plugsched_redirect *r, u8 *insn);
void plugsched_arch_poke(u8 *site, u8 *alias, const u8 *insn, unsigned int phase);
void plugsched_arch_write(void *to, void *alias, const void *from, size_t size);
void plugsched_arch_sync(void);

#endif /* PLUGSCHED_H */
