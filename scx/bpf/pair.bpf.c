// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two threads of a core run tasks of one cgroup at a time, so that a group learns nothing of another by
 * what they share. Whoever takes the first task decides for a slice; the other thread takes from the same
 * group, or nothing. When the slice is over both let go, and the group that has waited longest is next.
 *
 * Threads that the kernel has bound to a CPU are of no group, and run at once.
 */
#include "scx.h"

#define MOST_CPUS 1024
#define MOST_GROUPS 256
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

/* Set before it is loaded. */
const volatile u64 slice_ns = SLICE_NS;

/* The loader puts in the other thread of each CPU's core, or the CPU itself if it is alone. */
const volatile s32 plugsched_siblings[MOST_CPUS];

/* An index that the verifier sees to be one. */
#define CPU(cpu) ((u32)(cpu) & (MOST_CPUS - 1))
#define SLOT(slot) ((u32)(slot) & (MOST_GROUPS - 1))

/* Of a core, by its first CPU: the group and how many of its threads have a task of it. Changed by compare and swap only. */
#define STATE(slot, threads) ((u64)(slot) << 32 | (threads))
static volatile u64 state[MOST_CPUS];
static volatile u64 until[MOST_CPUS]; /* when its group has to let go */

static volatile bool has[MOST_CPUS]; /* of each CPU: it is one of those threads; only it changes that */

/* Groups have a place each, which is also the number of their queue. */
static volatile u64 taken[MOST_GROUPS];
static volatile u64 served[MOST_GROUPS]; /* when a task was taken last */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_GROUPS);
	__type(key, u64); /* the cgroup's number */
	__type(value, u32);
} slots SEC(".maps");

struct about {
	u32 slot;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct about);
} abouts SEC(".maps");

static __always_inline s32 sibling_of(s32 cpu)
{
	return plugsched_siblings[CPU(cpu)];
}

static __always_inline u32 core_of(s32 cpu)
{
	s32 other = sibling_of(cpu);

	return CPU(other < cpu ? other : cpu);
}

SEC("struct_ops/pair_select_cpu")
s32 pair_select_cpu(u64 *ctx)
{
	/* Where a task may run is only known when a CPU asks. */
	return ARG(ctx, 1, s32);
}

SEC("struct_ops/pair_enqueue")
int pair_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	u64 flags = ARG(ctx, 1, u64);
	struct about *a;
	s32 cpu;

	if ((p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_ns, flags | SCX_ENQ_PREEMPT);
		return 0;
	}
	a = bpf_task_storage_get(&abouts, p, NULL, 0);
	if (!a)
		return 0;
	scx_bpf_dsq_insert(p, a->slot, slice_ns, flags);
	/* Its CPU is about to be idle, and would not ask again. */
	if (flags & SCX_ENQ_LAST)
		scx_bpf_kick_cpu(scx_bpf_task_cpu(p), 0);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return 0;
}

/* A core becomes the group's, or its second thread joins. Not if the other thread does something just now. */
static __always_inline bool join(u32 core, u32 slot, u64 now)
{
	u64 before = state[core], after;

	if (!(u32)before)
		after = STATE(slot, 1);
	else if (before >> 32 == slot && (s64)(until[core] - now) > 0)
		after = before + 1;
	else
		return false;
	if (__sync_val_compare_and_swap(&state[core], before, after) != before)
		return false;
	if ((u32)after == 1)
		until[core] = now + slice_ns;
	return true;
}

/* Takes a task of the group, if the core is its or nobody's. */
static __always_inline bool take(s32 cpu, u32 core, u32 slot, u64 now)
{
	if (!join(core, slot, now))
		return false;
	if (scx_bpf_dsq_move_to_local(slot)) {
		has[CPU(cpu)] = true;
		served[SLOT(slot)] = now;
		return true;
	}
	__sync_fetch_and_sub(&state[core], 1);
	return false;
}

/* Loops whose body the verifier looks at once have what changes in a structure. */
struct choice {
	u64 time; /* only groups after this time and place, */
	u32 place;
	u32 best; /* and of those the first */
	u64 when;
};

static int choose(u32 i, struct choice *c)
{
	u64 s = served[SLOT(i)];

	if (!taken[SLOT(i)] || s >= c->when || s < c->time || (s == c->time && i <= c->place && c->place < MOST_GROUPS))
		return 0;
	if (scx_bpf_dsq_nr_queued(i) <= 0)
		return 0;
	c->best = i;
	c->when = s;
	return 0;
}

/* The group that waits and was served longest ago, but after that of a time and a place; MOST_GROUPS if there is none. */
static u32 next_group(u64 time, u32 place)
{
	struct choice c = {.time = time, .place = place, .best = MOST_GROUPS, .when = ~0ull};

	bpf_loop(MOST_GROUPS, choose, &c, 0);
	return c.best;
}

SEC("struct_ops/pair_dispatch")
int pair_dispatch(u64 *ctx)
{
	s32 cpu = ARG(ctx, 0, s32), other = sibling_of(cpu);
	u32 core = core_of(cpu), slot, place = MOST_GROUPS;
	u64 now = bpf_ktime_get_ns(), time = 0, s;
	bool had = has[CPU(cpu)];

	/* Whoever was here goes, or waits as all others do (SCX_OPS_ENQ_LAST). */
	if (had) {
		has[CPU(cpu)] = false;
		__sync_fetch_and_sub(&state[core], 1);
	}
	for (int i = 0; i < 4; i++) {
		s = state[core];
		if ((u32)s) {
			/* The other thread has decided. */
			if (take(cpu, core, s >> 32, now))
				return 0;
			if (state[core] != s)
				continue;
			if ((s64)(until[core] - now) <= 0 && next_group(0, MOST_GROUPS) < MOST_GROUPS)
				scx_bpf_kick_cpu(other, SCX_KICK_PREEMPT);
			return 0;
		}
		slot = next_group(time, place);
		if (slot >= MOST_GROUPS)
			return 0;
		if (take(cpu, core, slot, now)) {
			if (other != cpu)
				scx_bpf_kick_cpu(other, SCX_KICK_IDLE);
			return 0;
		}
		/* None of it may run here: on the other thread, perhaps. That one does not hand it back, as it had none. */
		if (had && other != cpu) {
			scx_bpf_kick_cpu(other, SCX_KICK_IDLE);
			return 0;
		}
		time = served[SLOT(slot)];
		place = slot;
	}
	return 0;
}

SEC("struct_ops.s/pair_init_task")
s32 pair_init_task(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct scx_init_task_args *args = ARG(ctx, 1, struct scx_init_task_args *);
	struct about *a = bpf_task_storage_get(&abouts, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	u64 number = args->cgroup->kn->id;
	u32 *slot = bpf_map_lookup_elem(&slots, &number);

	if (!a || !slot)
		return -ENOMEM;
	a->slot = *slot;
	return 0;
}

struct place {
	u64 number;
	u32 slot;
};

static int find_place(u32 i, struct place *p)
{
	if (__sync_val_compare_and_swap(&taken[SLOT(i)], 0, p->number))
		return 0;
	p->slot = i;
	return 1;
}

SEC("struct_ops.s/pair_cgroup_init")
s32 pair_cgroup_init(u64 *ctx)
{
	struct place p = {.number = ARG(ctx, 0, struct cgroup *)->kn->id, .slot = MOST_GROUPS};

	bpf_loop(MOST_GROUPS, find_place, &p, 0);
	if (p.slot >= MOST_GROUPS)
		return -ENOSPC;
	return bpf_map_update_elem(&slots, &p.number, &p.slot, 0);
}

SEC("struct_ops.s/pair_cgroup_exit")
int pair_cgroup_exit(u64 *ctx)
{
	u64 number = ARG(ctx, 0, struct cgroup *)->kn->id;
	u32 *slot = bpf_map_lookup_elem(&slots, &number);

	if (!slot)
		return 0;
	taken[SLOT(*slot)] = 0;
	bpf_map_delete_elem(&slots, &number);
	return 0;
}

SEC("struct_ops/pair_cgroup_move")
int pair_cgroup_move(u64 *ctx)
{
	struct about *a = bpf_task_storage_get(&abouts, ARG(ctx, 0, struct task_struct *), NULL, 0);
	u64 number = ARG(ctx, 2, struct cgroup *)->kn->id;
	u32 *slot = bpf_map_lookup_elem(&slots, &number);

	/* The kernel has taken it out of its queue for that, and puts it into one again afterwards. */
	if (a && slot)
		a->slot = *slot;
	return 0;
}

SEC("struct_ops.s/pair_init")
s32 pair_init(u64 *ctx)
{
	s32 err = begin_trial();

	if (!err && scx_bpf_nr_cpu_ids() > MOST_CPUS)
		err = -EINVAL;
	for (u32 i = 0; i < MOST_GROUPS && !err; i++)
		err = scx_bpf_create_dsq(i, -1);
	return err;
}

SEC("struct_ops/pair_exit")
int pair_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops pair = {
	.select_cpu = (void *)pair_select_cpu,
	.enqueue = (void *)pair_enqueue,
	.dispatch = (void *)pair_dispatch,
	.init_task = (void *)pair_init_task,
	.cgroup_init = (void *)pair_cgroup_init,
	.cgroup_exit = (void *)pair_cgroup_exit,
	.cgroup_move = (void *)pair_cgroup_move,
	.init = (void *)pair_init,
	.exit = (void *)pair_exit,
	.flags = SCX_OPS_ENQ_LAST,
	.name = "pair",
};

SCHEDULER_LICENSE;
