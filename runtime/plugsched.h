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
#include <linux/sysfs.h>
#include <linux/types.h>

#include "arch.h"

struct cpu_stop_work;
struct irq_work;
struct kobject;
struct rq;

/*
 * A function that is redirected. The table is generated at build time in the
 * order of @old; only @saved and what follows change after that.
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
	u8 *via;			/* where it leads first, if @new may be out of its reach */
	unsigned long left_alone;	/* somebody has hooked that place; of one update */
};

/* What internal/develop/module/tables.go writes. */
static_assert(sizeof(struct plugsched_redirect) == 6 * 8 + 8 + 2 * PLUGSCHED_JUMP_MAX);

/* What an update that is prepared writes at a jump's place. */
struct plugsched_write {
	u8 *site, *alias;
	u8 was[PLUGSCHED_JUMP_MAX];	/* what is there before */
	u8 is[PLUGSCHED_JUMP_MAX];	/* and afterwards */
};

/* A piece of the kernel's text that the module replaces, in order of @start. */
struct plugsched_range {
	unsigned long start;
	unsigned long size;
	unsigned long allow;	/* offset of the one return address that may stay, or 0 */
	const char *name;
};

static_assert(sizeof(struct plugsched_range) == 4 * 8);

/* A scheduling class. Tasks point at @old, so that it is rewritten in place. */
struct plugsched_table {
	void *old;
	const void *new;
	unsigned long size;
	void *saved;		/* what the kernel had there before its first update */
	void *alias;		/* where @old can be written, from its first update on */
};

static_assert(sizeof(struct plugsched_table) == 5 * 8);

/*
 * Bytes of an object in which the module has a member and the kernel nothing. Of objects inside
 * of others, each place in each outer one is an entry.
 */
enum plugsched_hole_of {
	PLUGSCHED_HOLE_TASK,	/* struct task_struct */
	PLUGSCHED_HOLE_RQ,	/* struct rq */
	PLUGSCHED_HOLE_GROUP,	/* struct task_group */
	PLUGSCHED_HOLE_CFS_RQ,	/* struct cfs_rq */
	PLUGSCHED_HOLE_ENTITY,	/* struct sched_entity of a group */
};

struct plugsched_hole {
	u64 object;		/* enum plugsched_hole_of */
	u64 offset, size;
	const char *name;	/* with its type */
};

static_assert(sizeof(struct plugsched_hole) == 4 * 8);

/* A feature that its project wants to be set, or not to be, with its scheduler. */
struct plugsched_wish {
	const char *name;
	unsigned long set;
};

/* Scheduler features, which two schedulers may number differently. */
struct plugsched_features {
	const char * const *names;
	unsigned int *bits;
	struct static_key *keys;
	unsigned long nr;
	const struct plugsched_wish *wishes;
	const unsigned long *nr_wishes;
	bool *granted;			/* once, that is */
};

/* A number that its project wants in a variable of the kernel with its scheduler. */
struct plugsched_value {
	void *at;
	unsigned long size;
	u64 wanted;
	u64 saved;			/* what comes back with the next scheduler */
};

static_assert(sizeof(struct plugsched_value) == 4 * 8);

/* What the kernel has somewhere, for those who look through its data. */
struct plugsched_place {
	const void *at;
	u64 size;
	const char *name;
};

static_assert(sizeof(struct plugsched_place) == 3 * 8);

/*
 * What a module's scheduler does with its own code while the machine is stopped. There
 * is no such table of the kernel's functions, which are called by name: the kernel may
 * have removed the landing instruction that an indirect call needs.
 */
struct plugsched_rq_ops {
	void (*update_clock)(struct rq *rq);
	void (*finish_delayed)(struct rq *rq, struct sched_entity *se);
	void (*stop_servers)(struct rq *rq);
};

/*
 * Grows with every change of struct plugsched_module, or of what it points to:
 * a module is only replaced by one that understands it.
 */
#define PLUGSCHED_ABI	8

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
	const struct plugsched_hole *holes;
	const unsigned long *nr_holes;
	/* Of its code, what is the runtime's. */
	const char *runtime_start, *runtime_end;
	const struct plugsched_features *features;
	struct plugsched_value *values;
	const unsigned long *nr_values;
	const struct plugsched_rq_ops *rq_ops;
	/* The edited scheduler's hooks, see api.h. */
	int (*leaving)(bool force);
	void (*staying)(void);
	void (*rebuild)(struct rq *rq, bool live);
	/* Whether it may have scheduling classes that the kernel has not. Context: any. */
	bool (*has_classes)(void);
	/* It runs from now on, or does not any more. Context of both: stopped machine. */
	void (*entered)(void);
	void (*left)(void);
	struct kobject *files;
	bool kept;			/* another module would come back to it */
	bool active;			/* both only change while the machine is stopped */
	bool poking;			/* its jumps are being written or taken away */
	bool probes_held;		/* who updates from or to it holds kprobe_mutex; under that */
	bool settling;			/* a rollback has led from or to it, and is not done */
	/* What a rollback leads to, with two references; changes while none can begin. */
	struct plugsched_module *previous;
};

extern struct plugsched_module plugsched_self;

extern struct plugsched_redirect plugsched_redirects[];
extern const unsigned long plugsched_nr_redirects;
extern const struct plugsched_range plugsched_ranges[];
extern const unsigned long plugsched_nr_ranges;
extern struct plugsched_table plugsched_tables[];
extern const unsigned long plugsched_nr_tables;
extern const struct plugsched_hole plugsched_holes[];
extern const unsigned long plugsched_nr_holes;
extern const unsigned long plugsched_nr_orig_features;
extern const struct plugsched_wish plugsched_wishes[];
extern const unsigned long plugsched_nr_wishes;
extern struct plugsched_value plugsched_values[];
extern const unsigned long plugsched_nr_values;
extern const struct plugsched_place plugsched_layout[];
extern const unsigned long plugsched_nr_layout;
extern const char plugsched_runtime_start[], plugsched_runtime_end[];
extern const char plugsched_build_id[];
extern const char plugsched_release[];

/* The phases that are timed, in order. */
enum plugsched_time {
	PLUGSCHED_T_STOPPED,	/* every CPU is in the handler */
	PLUGSCHED_T_CHECKED,	/* stacks inspected */
	PLUGSCHED_T_CLEARED,	/* run queues emptied by the old scheduler */
	PLUGSCHED_T_REDIRECTED,	/* class tables and jumps written */
	PLUGSCHED_T_REBUILT,	/* run queues filled by the new scheduler */
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

/* What all CPUs do together while the machine is stopped. */
struct plugsched_job {
	/* All have come, and none has begun. Context: one stopper; optional. */
	void (*set_up)(struct plugsched_job *job);
	/* Context: every CPU's stopper, IRQs off. */
	int (*run)(struct plugsched_job *job);
	unsigned int cpus;		/* online, fixed while hotplug is frozen */
	unsigned int late;		/* how often a CPU did not come in time */
	u64 begun;			/* one CPU stopped, the others called */
	u64 gathered;			/* all have come */
	u64 ended;			/* every CPU is done */
};

struct plugsched_scan;

/*
 * One update. Everything that the stopped machine needs is allocated
 * beforehand.
 */
struct plugsched_update {
	struct plugsched_module *from, *to;	/* NULL is the kernel's own scheduler */
	struct plugsched_job job;
	bool rollback;			/* nobody has prepared it */
	bool over_tasks;		/* go ahead over stacks that are in the way */
	bool over_hooks;		/* leave places that somebody has hooked as they are */
	bool heal;			/* the scheduler that is left is not to be trusted */
	struct plugsched_scan *scan;	/* what was inspected before, NULL: nothing */
	atomic_t ids;			/* hands out CPU numbers 0 .. cpus - 1 */
	atomic_t arrived;		/* rendezvous counter, only grows */
	atomic_t verdict;		/* 0, or the first error */
	atomic_t nr_busy;		/* may exceed PLUGSCHED_BUSY_MAX */
	struct plugsched_busy *busy;
	unsigned long *stacks;		/* possible CPUs * PLUGSCHED_STACK_DEPTH */
	struct plugsched_write *writes;	/* NULL: nothing is prepared */
	unsigned long nr_writes;
	const char *conflict;		/* a function that something else has hooked */
	unsigned int left_alone;	/* how many of these were left */
	unsigned int lost;		/* tasks that were in no queue */
	atomic_t threads;		/* inspected in all */
	atomic_t stopped;		/* of them, while the machine was stopped */
	u64 scan_ns;
	u64 time[PLUGSCHED_T_NR];
};

/* self.c */
struct plugsched_module *plugsched_self_here(void);
bool plugsched_is_scheduler(const struct plugsched_module *m, unsigned long addr);
const char *plugsched_name_of(const struct plugsched_module *m);

/* stopped.c */
int plugsched_update_stopped(struct plugsched_job *job);

/* stop.c: see there for the contexts. */
int plugsched_stop(struct plugsched_job *job);
int plugsched_stop_patiently(struct plugsched_job *job);
int plugsched_stop_others(void (*fn)(void));
bool plugsched_ask_stopper(int (*fn)(void *), struct cpu_stop_work *work);
int plugsched_unstopped(int (*fn)(void));
int plugsched_absent_cpu(void);
void plugsched_stop_init(void);
void plugsched_stop_exit(void);

/* update.c: process context, may sleep, but for what asks for the stopper's. */
int plugsched_update_alloc(struct plugsched_update *u);
void plugsched_update_free(struct plugsched_update *u);
void plugsched_update_publish(struct plugsched_update *u, int err);
int plugsched_update(struct plugsched_module *from, struct plugsched_module *to, bool force);
void plugsched_let_go(struct plugsched_module *previous);
void plugsched_forget_previous(struct plugsched_module *m);
bool plugsched_lock_probes(void);
void plugsched_unlock_probes(void);
bool plugsched_probes_stand_still(void);

/* command.c: process context, may sleep. */
int plugsched_enable(void);
int plugsched_disable(bool force);
int plugsched_replace(const char *name);
int plugsched_try(unsigned int ms);
int plugsched_set_watchdog(unsigned int ms);
int plugsched_leave(void);
void plugsched_forced_exit(void);

/* outcome.c: process context, may sleep. */
void plugsched_outcome_publish(const struct plugsched_update *u, int err);
ssize_t plugsched_outcome_show(char *buf);
ssize_t plugsched_outcome_read_busy(char *buf, loff_t off, size_t count);

/* sysfs.c */
int plugsched_sysfs_init(void);
void plugsched_sysfs_exit(void);

/* peer.c */
struct plugsched_module *plugsched_peer_get(const char *name);
void plugsched_peer_put(struct plugsched_module *peer);

/* stack.c: see there for the contexts. */
int plugsched_inspect(const struct plugsched_update *u, struct task_struct *p,
		      unsigned long *stack, struct plugsched_busy *b);
void plugsched_report(struct plugsched_update *u, const struct plugsched_busy *b);
void plugsched_check_task(struct plugsched_update *u, struct task_struct *p, unsigned long *stack);

/* check.c: stopped machine. */
void plugsched_check_stacks(struct plugsched_update *u, unsigned int id);

/* scan.c: process context, may sleep. */
int plugsched_scan_begin(struct plugsched_update *u);
void plugsched_scan_end(struct plugsched_update *u);
/* scan.c: stopped machine. */
bool plugsched_scan_complete(const struct plugsched_update *u);
void plugsched_scan_check(struct plugsched_update *u, unsigned int id, unsigned long *stack);
struct task_struct *plugsched_scan_awake(const struct plugsched_update *u, unsigned int i);

/* lost.c: see there for the contexts. */
void plugsched_lost_settle(struct plugsched_update *u);
void plugsched_lost_adopt(struct rq *rq, struct list_head *list);
void plugsched_wake_everybody(bool heal);

/* tasks.c: process context, may sleep. */
int plugsched_for_each_task(int (*fn)(struct task_struct *p, void *data), void *data);

/* own.c: stopped machine, IRQs off, run queue locked. */
void plugsched_own_take(struct rq *rq, struct list_head *list,
			void (*take)(struct rq *rq, struct task_struct *p, struct list_head *list));

/* holes.c: process context, may sleep. */
int plugsched_holes_clear(const struct plugsched_module *from);
void plugsched_holes_clear_released(struct list_head *queued);

/* rebuild.c: context of both: stopped machine, IRQs off, on each online CPU. */
void plugsched_clear_rq(int cpu, const struct plugsched_update *u);
void plugsched_rebuild_rq(int cpu, const struct plugsched_update *u);
extern const struct plugsched_rq_ops plugsched_rq_ops;

/* delayed.c: context of all: stopped machine, IRQs off, run queue locked. */
void plugsched_finish_delayed(const struct plugsched_module *from, struct rq *rq);
void plugsched_finish_emptied(const struct plugsched_module *from, struct rq *rq,
			      struct task_struct *p);
void plugsched_finish_own(struct rq *rq, struct sched_entity *se);

/* hooks.c: process context, may sleep. */
int plugsched_hooks_init(void);
void plugsched_hooks_exit(void);
bool plugsched_retiring(void);
bool plugsched_has_classes(void);
int plugsched_hooks_leaving(bool force);
int plugsched_retire(void);

/* found.c: process context. */
ssize_t plugsched_found_show(char *buf);

/* leftovers.c: process context, may sleep. */
int plugsched_leftovers_find(void);
int plugsched_holders_find(void);

/* data.c: process context, may sleep. */
void plugsched_data_exit(void);
ssize_t plugsched_data_show(char *buf);

/* heal.c: see there for the contexts. */
void plugsched_heal_queued(struct task_struct *p);
void plugsched_heal_sleeper(struct task_struct *p);
void plugsched_heal_groups(void);

/* features.c: process context, may sleep. */
void plugsched_carry_features(const struct plugsched_module *from,
			      const struct plugsched_module *to, bool changed_only);
extern const struct plugsched_features plugsched_features;

/* values.c: process context. */
void plugsched_carry_values(const struct plugsched_module *from, const struct plugsched_module *to);

/* text.c */
int plugsched_text_prepare(struct plugsched_update *u);
void plugsched_text_finish(struct plugsched_update *u);
void plugsched_text_release(void);
bool plugsched_text_unchanged(struct plugsched_update *u);
void plugsched_text_poke(const struct plugsched_update *u, unsigned int phase);
void plugsched_tables_write(const struct plugsched_update *u);

/*
 * How stacks are inspected and queues rebuilt. A module that is installed knows the first
 * only; the others are what a benchmark compares it with, and are in bench/.
 */
enum plugsched_way {
	PLUGSCHED_OURS,
	PLUGSCHED_SERIAL,	/* one CPU inspects all, each address in an unsorted list */
	PLUGSCHED_PARALLEL,	/* all CPUs inspect all; queues from the list of tasks */
};

#ifdef PLUGSCHED_BENCH
extern unsigned int plugsched_way;
/* Context: process, may sleep; between the update and plugsched_text_finish(). */
void plugsched_bench_floor(const struct plugsched_update *u);
#else
#define plugsched_way	((unsigned int)PLUGSCHED_OURS)
static inline void plugsched_bench_floor(const struct plugsched_update *u) {}
#endif

/* bench/: context: stopped machine, IRQs off. */
void plugsched_bench_check(struct plugsched_update *u, unsigned int id, unsigned long *stack);
const struct plugsched_range *plugsched_bench_find(const struct plugsched_module *m,
						   unsigned long addr);
void plugsched_bench_each(struct rq *rq, struct list_head *list,
			  void (*fn)(struct rq *rq, struct task_struct *p, struct list_head *list));

/* layout.c: process context. */
ssize_t plugsched_layout_show(char *buf);

/* redirect.c: any context. */
struct plugsched_redirect *plugsched_find_redirect(const struct plugsched_module *m, const u8 *old);
const struct plugsched_redirect *plugsched_find_site(unsigned long addr);

/* Where the jump is, or will be. */
static inline u8 *plugsched_site_of(const struct plugsched_redirect *r)
{
	return r->old + r->offset;
}

/* alarm.c: see there for the contexts. */
__printf(2, 3) int plugsched_alarm(bool repair, const char *fmt, ...);
bool plugsched_alarm_raised(void);
bool plugsched_alarm_repairs(void);
void plugsched_alarm_reset(void);
int plugsched_alarm_init(void (*fn)(struct irq_work *work));
void plugsched_alarm_exit(void);

/* guard.c: see there for the contexts. */
int plugsched_guard_init(void);
void plugsched_guard_exit(void);
void plugsched_guard_enter(void);
void plugsched_guard_leave(void);
int plugsched_guard_confirm(void);
void plugsched_guard_log(void);
unsigned int plugsched_try_left(void);
extern unsigned int plugsched_try_ms;

/* rollback.c: rolls back without being asked by a process. */
int plugsched_rollback_init(void);
void plugsched_rollback_exit(void);
void plugsched_rollback_attempt(u64 now);
void plugsched_rollback_reset(void);
bool plugsched_rollback_pending(const struct plugsched_module *m);
bool plugsched_rolled_back(void);
bool plugsched_pinned(void);

/* What a reason begins with that was found in the kernel's log. */
#define PLUGSCHED_FROM_LOG "the kernel says: "

/* report.c: why it was rolled back. */
__printf(1, 2) void plugsched_note(const char *fmt, ...);
void plugsched_note_stack(const unsigned long *stack, unsigned int nr);
void plugsched_report_clear(void);
void plugsched_report_log(void);	/* process context */
extern struct bin_attribute plugsched_report_attr;

/* What a file's functions are given: newer kernels forbid them to change it. */
typedef typeof(*_Generic(((struct bin_attribute *)NULL)->read,
			 ssize_t (*)(struct file *, struct kobject *, struct bin_attribute *,
				     char *, loff_t, size_t) : (struct bin_attribute *)NULL,
			 default : (const struct bin_attribute *)NULL)) plugsched_bin_attribute;

/* watchdog.c: finds tasks and CPUs that the scheduler has forgotten. */
int plugsched_watchdog_init(void);
void plugsched_watchdog_exit(void);
void plugsched_watchdog_reset(void);
void plugsched_watchdog_set(unsigned int ms);
void plugsched_watchdog_tick(unsigned int ms);
extern unsigned int plugsched_watchdog_ms;

/* What is remembered of a task from the first look at which it waits, in ns. */
struct plugsched_wait {
	u64 at;			/* of the last look */
	u64 had;		/* time that its CPU had */
	u64 due;		/* time that it is entitled to */
	u64 bound;		/* time that it may rightly be owed */
	/* At the last look, its queue, that one's virtual time, and its own. */
	const void *queue;
	u64 virtual_time, place;
};

/* starving.c: what counts as not being run; see there for the contexts. */
int plugsched_starving_init(void);
void plugsched_starving_exit(void);
void plugsched_starving_tick(unsigned int ms);
void plugsched_starving_begin(void);
void plugsched_starving_count(struct task_struct *p);
bool plugsched_waits_rightly(struct task_struct *p);
void plugsched_wait(struct task_struct *p, struct plugsched_wait *w,
		    const struct plugsched_wait *before);
bool plugsched_newcomer_waits(u64 ns);
bool plugsched_starves(struct task_struct *p, const struct plugsched_wait *w);

/* kmsg.c: reads the kernel's log. */
void plugsched_kmsg_start(bool anew);
void plugsched_kmsg_stop(void);
void plugsched_kmsg_read(void);

#endif /* PLUGSCHED_H */
