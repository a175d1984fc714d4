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

#define SCHEDULER_LICENSE char _license[] SEC("license") = "GPL"

/* Helpers, by their numbers in include/uapi/linux/bpf.h, ___BPF_FUNC_MAPPER. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;

/* The kernel's, found by name when the object is loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_ext_entity {
	u32 weight;    /* 100 is a task of nice 0 */
	u64 slice;     /* what is left of it, ns */
	u64 dsq_vtime; /* by which queues in order of time are sorted */
};

struct task_struct {
	char comm[16];
	struct sched_ext_entity scx;
};

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
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*enable)(struct task_struct *p);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	u64 flags;
	u32 timeout_ms;
	char name[128];
};

/* Queues that there always are: kernel/sched/ext, enum scx_dsq_id_flags and what follows it. */
#define SCX_DSQ_GLOBAL 0x8000000000000001ull
#define SCX_DSQ_LOCAL 0x8000000000000002ull

#define SLICE_NS 20000000ull /* as the kernel's own SCX_SLICE_DFL */

/* Functions of the kernel, kernel/sched/ext. */
s32 scx_bpf_create_dsq(u64 dsq, s32 node) __ksym;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags, bool *is_idle) __ksym;
void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 enq_flags) __ksym;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq, u64 slice, u64 vtime, u64 enq_flags) __ksym;
bool scx_bpf_dsq_move_to_local(u64 dsq) __ksym;

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

/* Keeps what the kernel says of an end. Every scheduler's exit calls it. */
static __always_inline void keep_end(struct scx_exit_info *info)
{
	u32 key = 0;
	struct end *e = bpf_map_lookup_elem(&plugsched_end, &key);

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
