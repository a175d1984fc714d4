// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUs that share a cache are a domain with a queue of its own, in which tasks wait in order of the time that they
 * have had, by their weights. A task stays in its domain, where its memory is cached. Which tasks are in which is for a
 * process to see to, which looks every second or so at what each wants, and can take its time (balance.go): what it wishes
 * becomes of a task when that is queued the next time. Without that process all goes on; a CPU that would be idle
 * takes tasks of other domains meanwhile.
 */
#include "scx.h"

#define MOST_CPUS 1024
#define MOST_DOMAINS 64
#define MOST_TASKS 65536

/* Set before it is loaded, the first three by the loader: of each CPU its domain, how many domains there are, and a CPU of each. */
const volatile u32 plugsched_domains[MOST_CPUS];
const volatile u32 plugsched_domain_count = 1;
const volatile u32 plugsched_domain_first[MOST_DOMAINS];
const volatile u64 slice_ns = SLICE_NS;
const volatile bool steal = true;

/* What is known of a task, as balance.go reads it. The kernel's half alone writes it. */
struct member {
	u32 domain;
	u32 weight;
	u64 since;    /* it is runnable, CLOCK_MONOTONIC; 0: it is not */
	u64 runnable; /* for how long it was before, ns */
	u32 fixed;    /* it may not run on every CPU: nobody moves it */
	u32 pad;
};

/* By the numbers of threads. Those for whom there was no room are in the domain of their CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_TASKS);
	__type(key, u32);
	__type(value, struct member);
} plugsched_members SEC(".maps");

/* To which domain the process wants a task to go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_TASKS);
	__type(key, u32);
	__type(value, u32);
} plugsched_wishes SEC(".maps");

struct done {
	u64 moved;  /* as the process wished */
	u64 stolen; /* by CPUs that would have been idle */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct done);
} plugsched_done SEC(".maps");

/* Of each domain the time of the task that was picked last. As in simple. */
static volatile u64 now[MOST_DOMAINS];

/* Indices that the verifier sees to be some. */
#define CPU(cpu) ((u32)(cpu) & (MOST_CPUS - 1))
#define DOMAIN(d) ((u32)(d) & (MOST_DOMAINS - 1))

static __always_inline u32 domain_of_cpu(s32 cpu)
{
	return DOMAIN(plugsched_domains[CPU(cpu)]);
}

static __always_inline bool fixed(struct task_struct *p)
{
	return p->nr_cpus_allowed < (s32)scx_bpf_nr_cpu_ids();
}

static __always_inline struct done *done(void)
{
	u32 key = 0;

	return bpf_map_lookup_elem(&plugsched_done, &key);
}

static __always_inline struct member *member(struct task_struct *p)
{
	u32 pid = p->pid;

	return bpf_map_lookup_elem(&plugsched_members, &pid);
}

/* The domain of a task, after what the process wished. One that may not run everywhere is in that of a CPU on which it may. */
static __always_inline u32 domain_of(struct task_struct *p)
{
	struct member *m = member(p);
	u32 pid = p->pid, *wish, to, from = domain_of_cpu(scx_bpf_task_cpu(p));
	struct done *d;

	if (!m)
		return from;
	m->fixed = fixed(p);
	if (m->fixed) {
		to = from;
	} else {
		to = m->domain;
		wish = bpf_map_lookup_elem(&plugsched_wishes, &pid);
		if (wish) {
			if (*wish < plugsched_domain_count)
				to = *wish;
			bpf_map_delete_elem(&plugsched_wishes, &pid);
			d = done();
			if (d && to != m->domain)
				__sync_fetch_and_add(&d->moved, 1);
		}
	}
	/* What it has had more or less than others goes along. */
	if (to != m->domain)
		p->scx.dsq_vtime += now[DOMAIN(to)] - now[DOMAIN(m->domain)];
	m->domain = to;
	return DOMAIN(to);
}

struct search {
	u32 domain;
	s32 cpu; /* that was idle, and is the caller's; -1: none */
};

static int look_at(u32 cpu, struct search *s)
{
	if (domain_of_cpu(cpu) != s->domain || !scx_bpf_test_and_clear_cpu_idle(cpu))
		return 0;
	s->cpu = cpu;
	return 1;
}

static __always_inline s32 idle_cpu_of(u32 domain)
{
	struct search s = {.domain = domain, .cpu = -1};

	bpf_loop(scx_bpf_nr_cpu_ids(), look_at, &s, 0);
	return s.cpu;
}

SEC("struct_ops/hybrid_select_cpu")
s32 hybrid_select_cpu(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	s32 prev = ARG(ctx, 1, s32), cpu;
	bool idle = false;
	u32 domain;

	if (fixed(p)) {
		cpu = scx_bpf_select_cpu_dfl(p, prev, ARG(ctx, 2, u64), &idle);
		if (idle)
			scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_ns, 0);
		return cpu;
	}
	domain = domain_of(p);
	if (domain_of_cpu(prev) == domain && scx_bpf_test_and_clear_cpu_idle(prev))
		cpu = prev;
	else
		cpu = idle_cpu_of(domain);
	if (cpu >= 0) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_ns, 0);
		return cpu;
	}
	return domain_of_cpu(prev) == domain ? prev : (s32)plugsched_domain_first[domain];
}

SEC("struct_ops/hybrid_enqueue")
int hybrid_enqueue(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	u32 domain = domain_of(p);
	u64 vtime = p->scx.dsq_vtime, least = now[domain] - slice_ns;
	s32 cpu;

	/* Who slept saves up no more than a slice. */
	if ((s64)(vtime - least) < 0)
		vtime = least;
	scx_bpf_dsq_insert_vtime(p, domain, slice_ns, vtime, ARG(ctx, 1, u64));
	/* Somebody who is idle has to be told. */
	if (fixed(p)) {
		scx_bpf_kick_cpu(scx_bpf_task_cpu(p), SCX_KICK_IDLE);
		return 0;
	}
	cpu = idle_cpu_of(domain);
	if (cpu < 0 && steal)
		cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return 0;
}

struct stealing {
	u32 mine;
	bool stolen;
};

static int steal_from(u32 i, struct stealing *s)
{
	u32 domain = (s->mine + 1 + i) % plugsched_domain_count;

	if (scx_bpf_dsq_nr_queued(domain) <= 0 || !scx_bpf_dsq_move_to_local(domain))
		return 0;
	s->stolen = true;
	return 1;
}

SEC("struct_ops/hybrid_dispatch")
int hybrid_dispatch(u64 *ctx)
{
	struct stealing s = {.mine = domain_of_cpu(ARG(ctx, 0, s32))};
	struct done *d;

	if (scx_bpf_dsq_move_to_local(s.mine) || !steal)
		return 0;
	bpf_loop(plugsched_domain_count - 1, steal_from, &s, 0);
	d = done();
	if (s.stolen && d)
		__sync_fetch_and_add(&d->stolen, 1);
	return 0;
}

SEC("struct_ops/hybrid_runnable")
int hybrid_runnable(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct member *m = member(p);

	if (m) {
		m->weight = p->scx.weight;
		m->since = bpf_ktime_get_ns();
	}
	return 0;
}

SEC("struct_ops/hybrid_running")
int hybrid_running(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct member *m = member(p);
	u32 domain = m ? DOMAIN(m->domain) : domain_of_cpu(scx_bpf_task_cpu(p));

	if ((s64)(p->scx.dsq_vtime - now[domain]) > 0)
		now[domain] = p->scx.dsq_vtime;
	return 0;
}

SEC("struct_ops/hybrid_stopping")
int hybrid_stopping(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct member *m = member(p);

	/* A task that yields has no slice left, and is charged all of it. */
	p->scx.dsq_vtime += (slice_ns - p->scx.slice) * 100 / p->scx.weight;
	if (m)
		m->weight = p->scx.weight;
	return 0;
}

SEC("struct_ops/hybrid_quiescent")
int hybrid_quiescent(u64 *ctx)
{
	struct member *m = member(ARG(ctx, 0, struct task_struct *));

	if (m && m->since) {
		m->runnable += bpf_ktime_get_ns() - m->since;
		m->since = 0;
	}
	return 0;
}

/* Of tasks that there are, and of those that are born: these are where their parents were. */
SEC("struct_ops.s/hybrid_init_task")
s32 hybrid_init_task(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct member m = {.domain = domain_of_cpu(scx_bpf_task_cpu(p)), .weight = p->scx.weight};
	u32 pid = p->pid;

	/* Without room it is nobody's to move. */
	bpf_map_update_elem(&plugsched_members, &pid, &m, 0);
	return 0;
}

SEC("struct_ops/hybrid_exit_task")
int hybrid_exit_task(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	u32 pid = p->pid;

	bpf_map_delete_elem(&plugsched_members, &pid);
	bpf_map_delete_elem(&plugsched_wishes, &pid);
	return 0;
}

SEC("struct_ops/hybrid_enable")
int hybrid_enable(u64 *ctx)
{
	struct task_struct *p = ARG(ctx, 0, struct task_struct *);
	struct member *m = member(p);

	p->scx.dsq_vtime = now[m ? DOMAIN(m->domain) : domain_of_cpu(scx_bpf_task_cpu(p))];
	return 0;
}

SEC("struct_ops.s/hybrid_init")
s32 hybrid_init(u64 *ctx)
{
	s32 err = begin_trial();

	if (!err && (scx_bpf_nr_cpu_ids() > MOST_CPUS || !plugsched_domain_count || plugsched_domain_count > MOST_DOMAINS))
		err = -EINVAL;
	for (u64 i = 0; i < MOST_DOMAINS && !err; i++)
		if (i < plugsched_domain_count)
			err = scx_bpf_create_dsq(i, -1);
	return err;
}

SEC("struct_ops/hybrid_exit")
int hybrid_exit(u64 *ctx)
{
	keep_end(ARG(ctx, 0, struct scx_exit_info *));
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops hybrid = {
	.select_cpu = (void *)hybrid_select_cpu,
	.enqueue = (void *)hybrid_enqueue,
	.dispatch = (void *)hybrid_dispatch,
	.runnable = (void *)hybrid_runnable,
	.running = (void *)hybrid_running,
	.stopping = (void *)hybrid_stopping,
	.quiescent = (void *)hybrid_quiescent,
	.init_task = (void *)hybrid_init_task,
	.exit_task = (void *)hybrid_exit_task,
	.enable = (void *)hybrid_enable,
	.init = (void *)hybrid_init,
	.exit = (void *)hybrid_exit,
	.name = "hybrid",
};

SCHEDULER_LICENSE;
