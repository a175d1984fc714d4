// SPDX-License-Identifier: GPL-2.0-only
/*
 * Broken on purpose: tasks that are called "victim" wait in a queue from which nobody takes them. All
 * others are served first in, first out. It shows what the kernel's watchdog does.
 */
#include "scx.h"

#define NOWHERE 0

static const char victim[] = "victim";

SEC("struct_ops/stall_enqueue")
int stall_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	u64 queue = NOWHERE;

#pragma unroll
	for (int i = 0; i < sizeof(victim); i++)
		if (p->comm[i] != victim[i])
			queue = SCX_DSQ_GLOBAL;
	scx_bpf_dsq_insert(p, queue, SLICE_NS, ARG(ctx, 1, u64));
	return 0;
}

SEC("struct_ops.s/stall_init")
s32 stall_init(u64 *ctx)
{
	s32 err = begin_trial();

	return err ? err : scx_bpf_create_dsq(NOWHERE, -1);
}

SEC("struct_ops/stall_exit")
int stall_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops stall = {
	.enqueue = (void *)stall_enqueue,
	.init = (void *)stall_init,
	.exit = (void *)stall_exit,
	.name = "stall",
};

SCHEDULER_LICENSE;
