// SPDX-License-Identifier: GPL-2.0-only
/*
 * No scheduler: says of each task that waits for a CPU in which queue it does, whoever's the scheduler is. It takes no
 * locks, so a task may have gone on when it is told of.
 */
#include "scx.h"

/* As queues.go reads it. */
struct waiting {
	u64 queue;
	s32 cpu;
	u32 held; /* by the scheduler, which has it in no queue of the kernel's */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct scx_dispatch_q {
	u64 id;
};

struct thread_info {
	u32 cpu;
};

/* The kernel's, again: only here more of it is looked at. */
struct sched_ext_entity___queues {
	struct scx_dispatch_q *dsq;
	u32 flags;
};

struct task_struct___queues {
	struct thread_info thread_info;
	s32 on_cpu;
	struct sched_ext_entity___queues scx;
};

#pragma clang attribute pop

#define SCX_TASK_QUEUED 1 /* include/linux/sched/ext.h, enum scx_ent_flags */

#define BPF_FIELD_BYTE_SIZE 1 /* libbpf's bpf_core_read.h, enum bpf_field_info_kind */

static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_seq_write)(struct seq_file *seq, const void *data, u32 len) = (void *)127;

/* It is of 4 bytes or of 1, which differs between kernels. */
static __always_inline bool runs(struct task_struct___queues *p)
{
	u32 on_cpu = 0;

	bpf_probe_read_kernel(&on_cpu, __builtin_preserve_field_info(p->on_cpu, BPF_FIELD_BYTE_SIZE), &p->on_cpu);
	return on_cpu;
}

SEC("iter/task")
int plugsched_queues(u64 *ctx)
{
	struct bpf_iter_meta *meta = ARG(ctx, 0, struct bpf_iter_meta *);
	struct task_struct___queues *p = ARG(ctx, 1, struct task_struct___queues *);
	struct scx_dispatch_q *q;
	struct waiting w = {};

	/* The last call is without a task. */
	if (!p || !(p->scx.flags & SCX_TASK_QUEUED) || runs(p))
		return 0;
	w.cpu = p->thread_info.cpu;
	q = p->scx.dsq;
	if (q)
		w.queue = q->id;
	else
		w.held = 1;
	bpf_seq_write(meta->seq, &w, sizeof(w));
	return 0;
}

SCHEDULER_LICENSE;
