// SPDX-License-Identifier: GPL-2.0-only
/* Broken on purpose: it writes what is not its own, and the verifier refuses it. */
#include "scx.h"

SEC("struct_ops/refused_enqueue")
int refused_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);

	p->scx.weight = 1;
	return 0;
}

SEC("struct_ops/refused_exit")
int refused_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops refused = {
	.enqueue = (void *)refused_enqueue,
	.exit = (void *)refused_exit,
	.name = "refused",
};

SCHEDULER_LICENSE;
