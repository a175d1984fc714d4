// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tree of cgroups is made flat: what each level's weights come to is a share of the whole machine, and a
 * task's is that of its group by its weight among those that are runnable there. All tasks wait in one queue,
 * in order of the time that they have had by their shares. So the levels cost nothing when a task is picked.
 *
 * A group counts as long as somebody below it is runnable. Tasks that are in a group which has others
 * in it are together as one group more there, of weight 100.
 */
#include "scx.h"

#define QUEUE 0
#define DEEPEST 16	   /* levels of groups that are looked at */
#define MOST_GROUPS 16384
#define OWN_WEIGHT 100
#define ALL (1ull << 24) /* the share of all */

struct group {
	u64 above;    /* the number of the group that it is in, 0: it is the root */
	u64 weight;
	s64 users;    /* its runnable tasks, and the groups in it that count */
	u64 counted;  /* what of its weight counts in the group above */
	s64 children; /* weights of groups in it that count */
	s64 tasks;    /* weights of its runnable tasks */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_GROUPS);
	__type(key, u64);
	__type(value, struct group);
} groups SEC(".maps");

/* What is known of a task. */
struct about {
	u64 group;
	u64 weight; /* that counts in its group, 0: it is not runnable */
	u64 began;  /* to run */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct about);
} abouts SEC(".maps");

/* The time of the task that was picked last. As in simple. */
static u64 now;

static __always_inline struct about *about(struct task_struct *p)
{
	return bpf_task_storage_get(&abouts, p, NULL, 0);
}

static __always_inline struct group *group(u64 number)
{
	return bpf_map_lookup_elem(&groups, &number);
}

/*
 * The kernel goes round loops (bpf_loop) whose body the verifier looks at once. What changes on the way up is
 * in a structure.
 */
struct climb {
	u64 number; /* of the group */
	s64 more;   /* users that it has more, or fewer */
	u64 share;
};

/*
 * Lets a group count in the one above, with its weight as it is now, or not, and says whether that has one user
 * more (1), or one less (-1). Of several who do that at once the last looks again, so that what counts in the
 * end is right.
 */
static int count(u32 i, struct climb *c)
{
	struct group *g = group(c->number), *above;
	u64 weight, before;

	if (!g)
		return 1;
	above = group(g->above);
	weight = g->users > 0 ? g->weight : 0;
	if (!above || g->counted == weight)
		return 1;
	before = __sync_lock_test_and_set(&g->counted, weight);
	__sync_fetch_and_add(&above->children, weight - before);
	c->more += !!weight - !!before;
	return 0;
}

static int use_one(u32 i, struct climb *c)
{
	struct group *g = group(c->number);

	if (!g || !c->more)
		return 1;
	__sync_fetch_and_add(&g->users, c->more);
	c->more = 0;
	bpf_loop(8, count, c, 0);
	c->number = g->above;
	return 0;
}

/* A group has more users, or fewer, which may change those above. */
static __always_inline void use(u64 number, s64 more)
{
	struct climb c = {.number = number, .more = more};

	bpf_loop(DEEPEST, use_one, &c, 0);
}

/* Of a part, by its weight among others. */
static __always_inline u64 part(u64 share, u64 weight, s64 all)
{
	/* While others change what counts, it may be too little for a moment. */
	if (all < (s64)weight)
		all = weight;
	return all ? share * weight / all : share;
}

static int share_one(u32 i, struct climb *c)
{
	struct group *g = group(c->number), *above;

	if (!g)
		return 1;
	above = group(g->above);
	if (!above)
		return 1;
	c->share = part(c->share, g->weight, above->children + (above->tasks > 0 ? OWN_WEIGHT : 0));
	c->number = g->above;
	return 0;
}

/* A task's share of the machine, of ALL; at least 1. */
static u64 share_of(struct about *a)
{
	struct group *g = group(a->group);
	struct climb c = {.number = a->group, .share = ALL};

	if (!g || !a->weight)
		return ALL;
	c.share = part(c.share, a->weight, g->tasks);
	if (g->children > 0)
		c.share = part(c.share, OWN_WEIGHT, g->children + OWN_WEIGHT);
	bpf_loop(DEEPEST, share_one, &c, 0);
	return c.share ? c.share : 1;
}

/* What a time on a CPU is by the share. */
static __always_inline u64 by_share(u64 ns, struct about *a)
{
	return ns * ALL / share_of(a);
}

/* A task is runnable in its group, or not any more. */
static __always_inline void runs(struct about *a, u64 weight)
{
	struct group *g = group(a->group);
	u64 before = a->weight;

	a->weight = weight;
	if (!g)
		return;
	__sync_fetch_and_add(&g->tasks, weight - before);
	use(a->group, (s64)!!weight - !!before);
}

SEC("struct_ops/flatcg_select_cpu")
s32 flatcg_select_cpu(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, ARG(ctx, 1, s32), ARG(ctx, 2, u64), &idle);

	if (idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/flatcg_enqueue")
int flatcg_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct about *a = about(p);
	u64 vtime = p->scx.dsq_vtime, flags = ARG(ctx, 1, u64), least;

	/*
	 * Who slept saves up no more than a slice. Who comes from a CPU has saved up nothing: it may be far behind
	 * those of small shares, for which a slice is long.
	 */
	if (a && (flags & SCX_ENQ_WAKEUP)) {
		least = now - by_share(SLICE_NS, a);
		if ((s64)(vtime - least) < 0)
			vtime = least;
	}
	scx_bpf_dsq_insert_vtime(p, QUEUE, SLICE_NS, vtime, flags);
	return 0;
}

SEC("struct_ops/flatcg_dispatch")
int flatcg_dispatch(u64 *ctx)
{
	scx_bpf_dsq_move_to_local(QUEUE);
	return 0;
}

SEC("struct_ops/flatcg_runnable")
int flatcg_runnable(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct about *a = about(p);

	if (a)
		runs(a, p->scx.weight);
	return 0;
}

SEC("struct_ops/flatcg_quiescent")
int flatcg_quiescent(u64 *ctx)
{
	struct about *a = about(ARG(ctx, 0, struct task_struct *));

	if (a)
		runs(a, 0);
	return 0;
}

SEC("struct_ops/flatcg_running")
int flatcg_running(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct about *a = about(p);

	if (a)
		a->began = bpf_ktime_get_ns();
	if ((s64)(p->scx.dsq_vtime - now) > 0)
		now = p->scx.dsq_vtime;
	return 0;
}

SEC("struct_ops/flatcg_stopping")
int flatcg_stopping(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct about *a = about(p);

	/* What it has had, which may be more than its slice: that only ends with a tick. */
	if (a && a->began)
		p->scx.dsq_vtime += by_share(bpf_ktime_get_ns() - a->began, a);
	return 0;
}

SEC("struct_ops/flatcg_enable")
int flatcg_enable(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);

	p->scx.dsq_vtime = now;
	return 0;
}

SEC("struct_ops.s/flatcg_init_task")
s32 flatcg_init_task(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct scx_init_task_args *args = ARG(ctx, 1, struct scx_init_task_args *);
	struct about *a = bpf_task_storage_get(&abouts, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!a)
		return -ENOMEM;
	a->group = args->cgroup->kn->id;
	return 0;
}

SEC("struct_ops.s/flatcg_cgroup_init")
s32 flatcg_cgroup_init(u64 *ctx)
{
	struct cgroup *c = ARG(ctx, 0, struct cgroup *), *above;
	struct scx_cgroup_init_args *args = ARG(ctx, 1, struct scx_cgroup_init_args *);
	struct group g = {.weight = args->weight};
	u64 number = c->kn->id;

	if (c->level > 0) {
		above = bpf_cgroup_ancestor(c, c->level - 1);
		if (!above)
			return -ENOENT;
		g.above = above->kn->id;
		bpf_cgroup_release(above);
	}
	return bpf_map_update_elem(&groups, &number, &g, 0);
}

SEC("struct_ops.s/flatcg_cgroup_exit")
int flatcg_cgroup_exit(u64 *ctx)
{
	u64 number = ARG(ctx, 0, struct cgroup *)->kn->id;

	bpf_map_delete_elem(&groups, &number);
	return 0;
}

SEC("struct_ops/flatcg_cgroup_move")
int flatcg_cgroup_move(u64 *ctx)
{
	struct about *a = about(ARG(ctx, 0, struct task_struct *));

	/* The kernel has taken it out of its queue for that, so it does not count just now. */
	if (a)
		a->group = ARG(ctx, 2, struct cgroup *)->kn->id;
	return 0;
}

SEC("struct_ops/flatcg_cgroup_set_weight")
int flatcg_cgroup_set_weight(u64 *ctx)
{
	struct climb c = {.number = ARG(ctx, 0, struct cgroup *)->kn->id};
	struct group *g = group(c.number);

	if (!g)
		return 0;
	g->weight = ARG(ctx, 1, u32);
	bpf_loop(8, count, &c, 0);
	use(g->above, c.more);
	return 0;
}

SEC("struct_ops.s/flatcg_init")
s32 flatcg_init(u64 *ctx)
{
	s32 err = begin_trial();

	return err ? err : scx_bpf_create_dsq(QUEUE, -1);
}

SEC("struct_ops/flatcg_exit")
int flatcg_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops flatcg = {
	.select_cpu = (void *)flatcg_select_cpu,
	.enqueue = (void *)flatcg_enqueue,
	.dispatch = (void *)flatcg_dispatch,
	.runnable = (void *)flatcg_runnable,
	.running = (void *)flatcg_running,
	.stopping = (void *)flatcg_stopping,
	.quiescent = (void *)flatcg_quiescent,
	.enable = (void *)flatcg_enable,
	.init_task = (void *)flatcg_init_task,
	.cgroup_init = (void *)flatcg_cgroup_init,
	.cgroup_exit = (void *)flatcg_cgroup_exit,
	.cgroup_move = (void *)flatcg_cgroup_move,
	.cgroup_set_weight = (void *)flatcg_cgroup_set_weight,
	.init = (void *)flatcg_init,
	.exit = (void *)flatcg_exit,
	.name = "flatcg",
};

SCHEDULER_LICENSE;
