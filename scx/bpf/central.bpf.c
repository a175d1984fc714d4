// SPDX-License-Identifier: GPL-2.0-only
/*
 * One CPU decides for all. The others run what it gives them, without a slice that would end, so that those
 * of nohz_full= have no tick while they run one task. A timer looks whether somebody has run for long enough
 * while others wait. A CPU that has nothing asks the central one, and is served there.
 */
#include "scx.h"

#define WAITING 0 /* the queue that the central CPU serves all others from */
#define MOST_CPUS 1024
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

/* Set before it is loaded. */
const volatile s32 central_cpu;
const volatile u64 slice_ns = SLICE_NS;

#define LOOK_NS 5000000ull /* how often the timer looks */

/* Of each CPU: it has asked for a task; when it began with the one that it has, 0 if with none. */
static volatile bool asks[MOST_CPUS];
static volatile u64 began[MOST_CPUS];
static volatile bool ended;

struct clock {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct clock);
} central_clock SEC(".maps");

/* An index that the verifier sees to be one. */
#define CPU(cpu) ((u32)(cpu) & (MOST_CPUS - 1))

SEC("struct_ops/central_select_cpu")
s32 central_select_cpu(u64 *ctx)
{
	/* Who wakes up disturbs nobody but the central CPU. Where a task may not run there the kernel chooses. */
	return central_cpu;
}

SEC("struct_ops/central_enqueue")
int central_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	u64 flags = ARG(ctx, 1, u64);

	/* Without these nothing goes on, and their CPU is known. */
	if ((p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_INF, flags | SCX_ENQ_PREEMPT);
		return 0;
	}
	scx_bpf_dsq_insert(p, WAITING, SCX_SLICE_INF, flags);
	scx_bpf_kick_cpu(central_cpu, SCX_KICK_PREEMPT);
	return 0;
}

/* Gives a CPU the first task that waits and may run there. */
static __always_inline bool serve(s32 cpu)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	bool served = false;

	if (!bpf_iter_scx_dsq_new(&it, WAITING, 0)) {
		while (!served && (p = bpf_iter_scx_dsq_next(&it)))
			if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
				served = scx_bpf_dsq_move(&it, p, SCX_DSQ_LOCAL_ON | (u32)cpu, 0);
	}
	bpf_iter_scx_dsq_destroy(&it);
	return served;
}

struct serving {
	u32 cpus;
};

static int serve_one(u32 cpu, struct serving *s)
{
	if (!asks[CPU(cpu)])
		return 0;
	/* Cleared first: it may ask again as soon as it has something. */
	asks[CPU(cpu)] = false;
	if (serve(cpu))
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	else
		asks[CPU(cpu)] = true;
	return 0;
}

SEC("struct_ops/central_dispatch")
int central_dispatch(u64 *ctx)
{
	s32 cpu = ARG(ctx, 0, s32);
	struct serving s = {};

	if (cpu != central_cpu) {
		asks[CPU(cpu)] = true;
		scx_bpf_kick_cpu(central_cpu, SCX_KICK_PREEMPT);
		return 0;
	}
	bpf_loop(scx_bpf_nr_cpu_ids(), serve_one, &s, 0);
	scx_bpf_dsq_move_to_local(WAITING);
	return 0;
}

SEC("struct_ops/central_running")
int central_running(u64 *ctx)
{
	u64 now = bpf_ktime_get_ns();

	began[CPU(scx_bpf_task_cpu(ARG(ctx, 0, struct task_struct *)))] = now ? now : 1;
	return 0;
}

SEC("struct_ops/central_stopping")
int central_stopping(u64 *ctx)
{
	began[CPU(scx_bpf_task_cpu(ARG(ctx, 0, struct task_struct *)))] = 0;
	return 0;
}

struct looking {
	u64 now;
};

static int look_at(u32 cpu, struct looking *l)
{
	u64 since = began[CPU(cpu)];

	if (since && (s64)(l->now - since) >= (s64)slice_ns)
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
	return 0;
}

/* In an interrupt. The kernel runs the timer where it has one to spare, which is no CPU of nohz_full=. */
static int look(void *map, u32 *key, struct clock *c)
{
	struct looking l = {.now = bpf_ktime_get_ns()};

	if (ended)
		return 0;
	if (scx_bpf_dsq_nr_queued(WAITING) > 0)
		bpf_loop(scx_bpf_nr_cpu_ids(), look_at, &l, 0);
	bpf_timer_start(&c->timer, LOOK_NS, 0);
	return 0;
}

SEC("struct_ops.s/central_init")
s32 central_init(u64 *ctx)
{
	u32 key = 0;
	struct clock *c = bpf_map_lookup_elem(&central_clock, &key);
	s32 err = begin_trial();

	if (err)
		return err;
	if (!c || central_cpu < 0 || central_cpu >= scx_bpf_nr_cpu_ids() || scx_bpf_nr_cpu_ids() > MOST_CPUS)
		return -EINVAL;
	ended = false;
	err = scx_bpf_create_dsq(WAITING, -1);
	if (err)
		return err;
	err = bpf_timer_init(&c->timer, &central_clock, CLOCK_MONOTONIC);
	if (!err || err == -EBUSY) /* it has it from before, and begins again */
		err = bpf_timer_set_callback(&c->timer, look);
	if (!err)
		err = bpf_timer_start(&c->timer, LOOK_NS, 0);
	return err;
}

SEC("struct_ops/central_exit")
int central_exit(u64 *ctx)
{
	ended = true;
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops central = {
	.select_cpu = (void *)central_select_cpu,
	.enqueue = (void *)central_enqueue,
	.dispatch = (void *)central_dispatch,
	.running = (void *)central_running,
	.stopping = (void *)central_stopping,
	.init = (void *)central_init,
	.exit = (void *)central_exit,
	/* The last task of a CPU waits as all others do: it is not the CPU that decides. */
	.flags = SCX_OPS_ENQ_LAST,
	.name = "central",
};

SCHEDULER_LICENSE;
