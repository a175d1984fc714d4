// SPDX-License-Identifier: GPL-2.0-only
/*
 * One queue for all CPUs. Tasks wait in it in order of the time that they have had, by their weights,
 * or first in, first out. A task that wakes up while a CPU is idle goes there at once.
 */
#include "scx.h"

#define QUEUE 0

/* Set before it is loaded: first in, first out. */
const volatile bool fifo;

/* The time that has been had by the task that was picked last. CPUs race for it, which is harmless: it
 * only says where those begin that come new or from a long sleep.
 */
static u64 now;

SEC("struct_ops/simple_select_cpu")
s32 simple_select_cpu(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, ARG(ctx, 1, s32), ARG(ctx, 2, u64), &idle);

	if (idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/simple_enqueue")
int simple_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	u64 flags = ARG(ctx, 1, u64), vtime;

	if (fifo) {
		scx_bpf_dsq_insert(p, QUEUE, SLICE_NS, flags);
		return 0;
	}
	/* Who slept saves up no more than a slice. */
	vtime = p->scx.dsq_vtime;
	if ((s64)(vtime - (now - SLICE_NS)) < 0)
		vtime = now - SLICE_NS;
	scx_bpf_dsq_insert_vtime(p, QUEUE, SLICE_NS, vtime, flags);
	return 0;
}

SEC("struct_ops/simple_dispatch")
int simple_dispatch(u64 *ctx)
{
	scx_bpf_dsq_move_to_local(QUEUE);
	return 0;
}

SEC("struct_ops/simple_running")
int simple_running(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);

	if ((s64)(p->scx.dsq_vtime - now) > 0)
		now = p->scx.dsq_vtime;
	return 0;
}

SEC("struct_ops/simple_stopping")
int simple_stopping(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);

	/* A task that yields has no slice left, and is charged all of it. */
	p->scx.dsq_vtime += (SLICE_NS - p->scx.slice) * 100 / p->scx.weight;
	return 0;
}

SEC("struct_ops/simple_enable")
int simple_enable(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);

	p->scx.dsq_vtime = now;
	return 0;
}

SEC("struct_ops.s/simple_init")
s32 simple_init(u64 *ctx)
{
	s32 err = begin_trial();

	return err ? err : scx_bpf_create_dsq(QUEUE, -1);
}

SEC("struct_ops/simple_exit")
int simple_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops simple = {
	.select_cpu = (void *)simple_select_cpu,
	.enqueue = (void *)simple_enqueue,
	.dispatch = (void *)simple_dispatch,
	.running = (void *)simple_running,
	.stopping = (void *)simple_stopping,
	.enable = (void *)simple_enable,
	.init = (void *)simple_init,
	.exit = (void *)simple_exit,
	.name = "simple",
};

SCHEDULER_LICENSE;
