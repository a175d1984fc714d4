// SPDX-License-Identifier: GPL-2.0-only
/*
 * Five queues, by weight. A task waits in the queue of its weight, first in, first out. Each CPU goes round
 * the queues and takes 1 task from the first, 2 from the second, 4, 8 and 16 from the last: a queue gets
 * twice the slices of the one before it, however many tasks wait in either, and none gets nothing.
 */
#include "scx.h"

#define QUEUES 5

/* Set before it is loaded. */
const volatile u64 slice_ns = SLICE_NS;

/* How far a CPU is on its way round. Only that CPU changes it. */
struct round {
	u32 queue;
	u32 left; /* tasks that it may still take from there */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct round);
} rounds SEC(".maps");

/* A task of nice 0 has a weight of 100, and is in the middle. */
static __always_inline u64 queue_of(struct task_struct *p)
{
	u32 weight = p->scx.weight;

	if (weight <= 25)
		return 0;
	if (weight <= 50)
		return 1;
	if (weight < 200)
		return 2;
	if (weight < 400)
		return 3;
	return 4;
}

SEC("struct_ops/qmap_select_cpu")
s32 qmap_select_cpu(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, ARG(ctx, 1, s32), ARG(ctx, 2, u64), &idle);

	if (idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_ns, 0);
	return cpu;
}

SEC("struct_ops/qmap_enqueue")
int qmap_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);

	scx_bpf_dsq_insert(p, queue_of(p), slice_ns, ARG(ctx, 1, u64));
	return 0;
}

SEC("struct_ops/qmap_dispatch")
int qmap_dispatch(u64 *ctx)
{
	u32 key = 0;
	struct round *r = bpf_map_lookup_elem(&rounds, &key);

	if (!r)
		return 0;
	/* What is left of the first, all of the others, and the first once more. */
	for (int i = 0; i <= QUEUES; i++) {
		if (!r->left) {
			r->queue = (r->queue + 1) % QUEUES;
			r->left = 1 << r->queue;
		}
		if (scx_bpf_dsq_move_to_local(r->queue)) {
			r->left--;
			return 0;
		}
		r->left = 0; /* nobody waits there who could run here */
	}
	return 0;
}

SEC("struct_ops.s/qmap_init")
s32 qmap_init(u64 *ctx)
{
	s32 err = begin_trial();

	for (u64 i = 0; i < QUEUES && !err; i++)
		err = scx_bpf_create_dsq(i, -1);
	return err;
}

SEC("struct_ops/qmap_exit")
int qmap_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops qmap = {
	.select_cpu = (void *)qmap_select_cpu,
	.enqueue = (void *)qmap_enqueue,
	.dispatch = (void *)qmap_dispatch,
	.init = (void *)qmap_init,
	.exit = (void *)qmap_exit,
	.name = "qmap",
};

SCHEDULER_LICENSE;
