// SPDX-License-Identifier: GPL-2.0-only
/* Broken on purpose: it gives up as soon as it is asked to begin. */
#include "scx.h"

SEC("struct_ops.s/gives_up_init")
s32 gives_up_init(u64 *ctx)
{
	return -ENOSPC;
}

SEC("struct_ops/gives_up_exit")
int gives_up_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops gives_up = {
	.init = (void *)gives_up_init,
	.exit = (void *)gives_up_exit,
	.name = "gives_up",
};

SCHEDULER_LICENSE;
