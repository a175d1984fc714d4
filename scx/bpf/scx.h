/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a scheduler in BPF needs of the kernel and of plugsched's loader, and no more.
 *
 * Structures have only the members that are used. Where they are is found out when an object is
 * loaded, from the running kernel's own type information, so that one object is for all kernels.
 */
#ifndef PLUGSCHED_SCX_H
#define PLUGSCHED_SCX_H

typedef unsigned char u8;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define SEC(name) __attribute__((section(name), used))
#define __ksym __attribute__((section(".ksyms")))
#define __always_inline inline __attribute__((always_inline))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name

#define BPF_MAP_TYPE_ARRAY 2 /* include/uapi/linux/bpf.h, enum bpf_map_type */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_F_NO_PREALLOC 1
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

#define SCHEDULER_LICENSE char _license[] SEC("license") = "GPL"

struct task_struct;

/* Helpers, by their numbers in include/uapi/linux/bpf.h, ___BPF_FUNC_MAPPER. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static void *(*bpf_task_storage_get)(void *map, struct task_struct *p, void *value, u64 flags) = (void *)156;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;

/* The verifier knows this one by its name, size and alignment. */
struct bpf_timer {
	u64 opaque[2];
} __attribute__((aligned(8)));

static long (*bpf_timer_init)(struct bpf_timer *timer, void *map, u64 clock) = (void *)169;
static long (*bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
static long (*bpf_timer_start)(struct bpf_timer *timer, u64 ns, u64 flags) = (void *)171;

static long (*bpf_loop)(u32 times, void *callback, void *context, u64 flags) = (void *)181;

#define ENOENT 2 /* include/uapi/asm-generic/errno-base.h */
#define ENOMEM 12
#define EBUSY 16
#define EINVAL 22
#define ENOSPC 28
#define CLOCK_MONOTONIC 1 /* include/uapi/linux/time.h */
#define CLOCK_BOOTTIME 7

/* The kernel's, found by name when the object is loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_ext_entity {
	u32 weight;    /* 100 is a task of nice 0 */
	u64 slice;     /* what is left of it, ns */
	u64 dsq_vtime; /* by which queues in order of time are sorted */
};

struct cpumask;

struct task_struct {
	u32 flags; /* PF_* */
	s32 pid; /* a thread's number */
	s32 nr_cpus_allowed;
	const struct cpumask *cpus_ptr;
	char comm[16];
	struct sched_ext_entity scx;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	s32 level; /* 0 is the root */
	struct kernfs_node *kn;
};

struct scx_cgroup_init_args {
	u32 weight; /* 100 is what a group has unless told */
};

struct scx_exit_task_args;

struct scx_init_task_args {
	struct cgroup *cgroup;
};

/* To go through a queue. Not found by its members: the verifier knows it by name and size. */
#pragma clang attribute pop
struct bpf_iter_scx_dsq {
	u64 opaque[6];
} __attribute__((aligned(8)));
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* A type of its own in the kernel, too: a member is only found if it is of the same sort there. */
enum scx_exit_kind { SCX_EXIT_NONE };

struct scx_exit_info {
	enum scx_exit_kind kind;
	s64 exit_code;
	const char *reason;
	char *msg;
	char *dump;
};

#pragma clang attribute pop

/*
 * kernel/sched/ext, struct sched_ext_ops. The loader looks for members by their names; one that
 * the kernel does not have must be empty.
 */
struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*runnable)(struct task_struct *p, u64 enq_flags);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*quiescent)(struct task_struct *p, u64 deq_flags);
	void (*enable)(struct task_struct *p);
	s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	void (*exit_task)(struct task_struct *p, struct scx_exit_task_args *args);
	s32 (*cgroup_init)(struct cgroup *cgrp, struct scx_cgroup_init_args *args);
	void (*cgroup_exit)(struct cgroup *cgrp);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_set_weight)(struct cgroup *cgrp, u32 weight);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	u64 flags;
	u32 timeout_ms;
	char name[128];
};

/* Queues that there always are: kernel/sched/ext, enum scx_dsq_id_flags and what follows it. */
#define SCX_DSQ_GLOBAL 0x8000000000000001ull
#define SCX_DSQ_LOCAL 0x8000000000000002ull
#define SCX_DSQ_LOCAL_ON 0xc000000000000000ull /* and the number of a CPU */

#define SCX_ENQ_WAKEUP (1ull << 0) /* enum scx_enq_flags */
#define SCX_ENQ_PREEMPT (1ull << 32)
#define SCX_ENQ_LAST (1ull << 41)
#define SCX_KICK_IDLE (1ull << 0) /* enum scx_kick_flags */
#define SCX_KICK_PREEMPT (1ull << 1)
#define SCX_OPS_ENQ_LAST (1ull << 1) /* enum scx_ops_flags */
#define SCX_SLICE_INF (~0ull)

#define SLICE_NS 20000000ull /* as the kernel's own SCX_SLICE_DFL */

/* Functions of the kernel, kernel/sched/ext. */
s32 scx_bpf_create_dsq(u64 dsq, s32 node) __ksym;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags, bool *is_idle) __ksym;
void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 enq_flags) __ksym;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq, u64 slice, u64 vtime, u64 enq_flags) __ksym;
bool scx_bpf_dsq_move_to_local(u64 dsq) __ksym;
s32 scx_bpf_dsq_nr_queued(u64 dsq) __ksym;
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq, u64 flags) __ksym;
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;
bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq, u64 enq_flags) __ksym;
void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym;
s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
u32 scx_bpf_nr_cpu_ids(void) __ksym;
struct cgroup *bpf_cgroup_ancestor(struct cgroup *cgrp, int level) __ksym;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym;
bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __ksym;
void scx_bpf_exit_bstr(s64 code, char *format, u64 *data, u32 data__sz) __ksym;

/* Arguments of an operation are 64 bits each, whatever they are. */
#define ARG(ctx, n, type) ((type)(ctx)[n])

/*
 * Why a scheduler ended. The loader pins this map, so that it is there when scheduler and loader are
 * gone; it knows it by its name and by this layout (end.go).
 */
struct end {
	u32 kind; /* enum scx_exit_kind; 0 until all else is written */
	u32 pad;
	s64 code;
	u64 at; /* CLOCK_BOOTTIME, ns */
	char reason[128];
	char message[1024];
	char dump[32768]; /* as long as the kernel's are unless told otherwise */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct end);
} plugsched_end SEC(".maps");

/*
 * A trial: a timer in the kernel ends the scheduler, unless it is confirmed before. No process has a part
 * in that. The loader pins the map, without which the kernel would cancel the timer, and the program that
 * confirms; it knows both by their names, and the map by this layout (trial.go).
 */
enum trial_state { TRIAL_NONE, TRIAL_RUNS, TRIAL_CONFIRMED, TRIAL_LAPSED };

struct trial {
	struct bpf_timer timer;
	u64 until; /* CLOCK_BOOTTIME, ns */
	u32 state; /* enum trial_state; changed by compare and swap only, so that one of two wins */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct trial);
} plugsched_trial SEC(".maps");

/* How long it is; 0: there is none. Set before it is loaded. */
const volatile u64 plugsched_trial_ns;

#define TRIAL_CODE 1 /* of the scheduler's end, when the trial has lapsed */

static __always_inline struct trial *the_trial(void)
{
	u32 key = 0;

	return bpf_map_lookup_elem(&plugsched_trial, &key);
}

/* In the timer's interrupt. */
static int trial_over(void *map, u32 *key, struct trial *t)
{
	/* Not const: the kernel's function does not promise to leave it alone. */
	static char why[] = "the trial was not confirmed in time";
	u64 none = 0;

	if (__sync_val_compare_and_swap(&t->state, TRIAL_RUNS, TRIAL_LAPSED) == TRIAL_RUNS)
		scx_bpf_exit_bstr(TRIAL_CODE, why, &none, sizeof(none));
	return 0;
}

/* Begins the trial, if there is to be one. Every scheduler's init returns what it says, if that is not 0. */
static __always_inline s32 begin_trial(void)
{
	struct trial *t = the_trial();
	s32 err;

	/* One that was confirmed begins again if its successor does not begin. */
	if (!plugsched_trial_ns || !t || __sync_val_compare_and_swap(&t->state, TRIAL_NONE, TRIAL_RUNS) != TRIAL_NONE)
		return 0;
	t->until = bpf_ktime_get_boot_ns() + plugsched_trial_ns;
	err = bpf_timer_init(&t->timer, &plugsched_trial, CLOCK_BOOTTIME);
	if (!err)
		err = bpf_timer_set_callback(&t->timer, trial_over);
	if (!err)
		err = bpf_timer_start(&t->timer, plugsched_trial_ns, 0);
	return err;
}

/* The loader runs it. It says in which state the trial was. */
SEC("syscall")
int plugsched_confirm(void *ctx)
{
	struct trial *t = the_trial();

	return t ? __sync_val_compare_and_swap(&t->state, TRIAL_RUNS, TRIAL_CONFIRMED) : TRIAL_NONE;
}

/* Keeps what the kernel says of an end. Every scheduler's exit calls it. */
static __always_inline void keep_end(struct scx_exit_info *info)
{
	u32 key = 0;
	struct end *e = bpf_map_lookup_elem(&plugsched_end, &key);
	struct trial *t = the_trial();

	/* A kernel that does not ask whose program it is would let the timer end the next scheduler. */
	if (t)
		__sync_val_compare_and_swap(&t->state, TRIAL_RUNS, TRIAL_NONE);
	if (!e)
		return;
	e->code = info->exit_code;
	e->at = bpf_ktime_get_boot_ns();
	bpf_probe_read_kernel_str(e->reason, sizeof(e->reason), info->reason);
	bpf_probe_read_kernel_str(e->message, sizeof(e->message), info->msg);
	bpf_probe_read_kernel_str(e->dump, sizeof(e->dump), info->dump);
	*(volatile u32 *)&e->kind = info->kind;
}

#endif
