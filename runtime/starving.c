// SPDX-License-Identifier: GPL-2.0-only
/*
 * What counts as starving. A task that waits is entitled to CPU time: of what its CPU
 * had, the part that its weight has among all that compete with it, on every level of
 * groups. A fair scheduler may owe it some of that, but no more than a bound that
 * follows from how it works; docs/operate/rollback.md derives it.
 *
 * Competitors are counted as the watchdog passes: whoever is queued, and who has run
 * since the last look, because tasks that sleep and wake may take turns in keeping a
 * CPU busy whose queue is always short.
 */
#include <linux/hash.h>
#include <linux/kernel_stat.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/stat.h>

#include "api.h"
#include "config.h"
#include "internal.h"
#include "plugsched.h"

#define PROBES		16
#define QUEUES_PER_CPU	64

/* A CPU that takes fewer of its ticks than one in so many is as good as dead. */
#define LEAST_GIVEN	16

#define FORKS_MAX	100000UL

/* Products of time and weight stay below 2^64. */
#define NS_MAX		BIT_ULL(36)
#define ONE_SHIFT	20

/* What belongs to a CPU, in ns; the timer adds to it. */
struct cpu_time {
	u64 accounted;	/* by the kernel's ticks, at the last look */
	u64 had;	/* while the machine's host ran it */
	u64 fair;	/* of that, what was left for fair tasks */
	/* Both when this round of looking at tasks began, and the one before. */
	u64 had_at[2], fair_at[2];
};

static DEFINE_PER_CPU(struct cpu_time, cpu_time);

static u64 clock_ns;			/* of the timer's periods */

/* Those that compete for a queue's time. The queue is only compared. */
struct competition {
	const void *queue;
	u64 weight;
	unsigned int nr;
};

/* Hashed by queue: what this round counts, and what the one before has counted. */
static struct competition *counting, *counted;
static unsigned int table_bits;
static u64 counting_since, counted_since;	/* in clock_ns */

/* Tasks that may have come and gone unseen between two rounds, for each CPU. */
static unsigned long forks, forks_seen;

static bool throttled(struct task_struct *p)
{
	bool ret = false;

#ifdef CONFIG_CFS_BANDWIDTH
	/* A group that the task leaves meanwhile may be freed. */
	rcu_read_lock();
	ret = READ_ONCE(READ_ONCE(p->se.cfs_rq)->throttle_count);
	rcu_read_unlock();
#endif
	return ret;
}

/* What fair tasks are sure to get of a CPU's time, whatever others want: of a period, in ns. */
struct guarantee {
	u64 runtime, period;
};

static struct guarantee guarantee_of(const struct rq *rq)
{
	struct guarantee g = {};

#ifdef PLUGSCHED_HAVE_FAIR_SERVER
	g.period = READ_ONCE(rq->fair_server.dl_period);
	/* Its first start sets both, in no order. */
	g.runtime = g.period ? READ_ONCE(rq->fair_server.dl_runtime) : 0;
#else
	unsigned int period = READ_ONCE(sysctl_sched_rt_period);
	int runtime = READ_ONCE(sysctl_sched_rt_runtime);

	/* sched_rt_handler() stores what makes no sense too, and then takes it back. */
	if (runtime < 0 || runtime > period)
		return g;
	g.period = (u64)period * NSEC_PER_USEC;
	g.runtime = g.period - (u64)runtime * NSEC_PER_USEC;
#endif
	return g;
}

/* A realtime burst may rightly take all but the last bit of a period. */
static bool burst_allowed(const struct rq *rq)
{
	struct guarantee g = guarantee_of(rq);

	return !g.runtime || plugsched_watchdog_ms * NSEC_PER_MSEC < 2 * g.period;
}

/* Whether realtime tasks have had what they may take of a period. */
static bool realtime_throttled(const struct rq *rq)
{
#ifdef PLUGSCHED_HAVE_RT_THROTTLED
	return READ_ONCE(rq->rt.rt_throttled);
#else
	return false;
#endif
}

/* Whether a realtime task runs that need not make room. */
static bool outranked(const struct rq *rq, const struct task_struct *p)
{
	bool ret;

	rcu_read_lock();
	ret = rcu_dereference(rq->curr)->prio <= p->prio;
	rcu_read_unlock();
	return ret;
}

/* Whether the edited scheduler says so. */
static bool hinted(struct task_struct *p)
{
	bool ret;

	rcu_read_lock();
	ret = plugsched_may_starve(p);
	rcu_read_unlock();
	return ret;
}

/*
 * Whether others rightly run instead, however long: what is throttled, what a
 * realtime task keeps off the CPU, what the edited scheduler lets wait.
 * Context: process, no locks.
 */
bool plugsched_waits_rightly(struct task_struct *p)
{
	const struct rq *rq = task_rq(p);

	if (dl_task(p))
		return p->dl.dl_throttled || p->dl.dl_yielded;
	if (rt_task(p))
		return outranked(rq, p) || realtime_throttled(rq) || plugsched_nr_deadline(rq);
	/* A BPF scheduler has a watchdog of its own. */
	if (plugsched_bpf_task(p))
		return true;
	return throttled(p) || hinted(p) ||
	       (burst_allowed(rq) &&
		(READ_ONCE(rq->rt.rt_nr_running) || plugsched_nr_deadline(rq)));
}

static struct sched_entity *parent_of(const struct sched_entity *se)
{
#ifdef CONFIG_FAIR_GROUP_SCHED
	return READ_ONCE(se->parent);
#else
	return NULL;
#endif
}

/* Context: RCU, which keeps the queue of a group that the task leaves. */
static struct cfs_rq *queue_of(struct sched_entity *se)
{
#ifdef CONFIG_FAIR_GROUP_SCHED
	return READ_ONCE(se->cfs_rq);
#else
	return &task_rq(task_of(se))->cfs;
#endif
}

/*
 * The queue whose virtual time se follows: its own, or the CPU's, where the tasks of all
 * groups are in one tree. Context: RCU.
 */
static struct cfs_rq *timeline_of(struct sched_entity *se)
{
#ifdef PLUGSCHED_HAVE_H_LOAD
	return &task_rq(task_of(se))->cfs;
#else
	return queue_of(se);
#endif
}

/* What is in a queue: its own entities, or where there is one tree, all tasks of the CPU. */
static unsigned int nr_in(const struct cfs_rq *queue)
{
#if defined(PLUGSCHED_HAVE_H_LOAD)
	return READ_ONCE(queue->h_nr_queued);
#elif defined(PLUGSCHED_HAVE_NR_QUEUED)
	return READ_ONCE(queue->nr_queued);
#else
	return READ_ONCE(queue->nr_running);
#endif
}

/* The queue's virtual time, which each of its entities follows. */
static u64 virtual_time(const struct cfs_rq *queue)
{
#ifdef PLUGSCHED_HAVE_ZERO_VRUNTIME
	return READ_ONCE(queue->zero_vruntime);
#else
	return READ_ONCE(queue->min_vruntime);
#endif
}

static u64 weight_of(const struct sched_entity *se)
{
	return max(READ_ONCE(se->load.weight), 1UL);
}

/* By which virtual time passes for se: in one tree for all, its part of the whole CPU. */
static u64 pace_of(const struct sched_entity *se)
{
#ifdef PLUGSCHED_HAVE_H_LOAD
	return max(READ_ONCE(se->h_load.weight), 1UL);
#else
	return weight_of(se);
#endif
}

/* How far the scheduler places others ahead, or lets them stay there. */
static u64 ahead_ns(void)
{
#ifdef PLUGSCHED_HAVE_VLAG
	/* A request of the longest slice that can be asked for. */
	return 100 * NSEC_PER_MSEC;
#else
	return sysctl_sched_latency + sysctl_sched_wakeup_granularity;
#endif
}

/* How long one that has become the running one stays it, at most. */
static u64 turn_ns(void)
{
#ifdef PLUGSCHED_HAVE_VLAG
	return TICK_NSEC + sysctl_sched_base_slice;
#else
	return TICK_NSEC + 2 * sysctl_sched_min_granularity;
#endif
}

/* Return the place of a queue in a table: its own, or a free one, or NULL. */
static struct competition *place(struct competition *table, const void *queue)
{
	unsigned int slot = hash_ptr(queue, table_bits), i;

	for (i = 0; i < PROBES; i++, slot = (slot + 1) & (BIT(table_bits) - 1))
		if (!table[slot].queue || table[slot].queue == queue)
			return &table[slot];
	return NULL;
}

/* One more in the tree of a CPU. */
static void count_task(struct sched_entity *se)
{
#ifdef PLUGSCHED_HAVE_H_LOAD
	struct competition *c = place(counting, timeline_of(se));

	if (!c)
		return;
	c->queue = timeline_of(se);
	c->nr++;
#endif
}

/* With the first of a group, the group competes too. */
static void compete(struct sched_entity *se)
{
	bool first = true;

	count_task(se);
	for (; se && first; se = parent_of(se)) {
		struct cfs_rq *queue = queue_of(se);
		struct competition *c = place(counting, queue);

		if (!c)
			return;
		first = !c->weight;
		c->queue = queue;
		c->weight += weight_of(se);
#ifndef PLUGSCHED_HAVE_H_LOAD
		c->nr++;
#endif
	}
}

/* What competes in a queue, with one of a weight among them. */
static struct competition competition_in(struct cfs_rq *queue, u64 weight)
{
	const struct competition *c = place(counted, queue);
	struct competition now = {
		.weight = max_t(u64, READ_ONCE(queue->load.weight), weight),
		.nr = max(nr_in(queue), 1U),
	};

	if (c && c->queue) {
		now.weight = max(now.weight, c->weight);
		now.nr = max(now.nr, c->nr);
	}
	return now;
}

/* The competition that se meets, itself included. */
static struct competition competition_of(struct sched_entity *se)
{
	struct competition c = competition_in(queue_of(se), weight_of(se));

	if (entity_is_task(se)) {
		c.weight += forks * NICE_0_LOAD;
		c.nr += forks;
	}
	return c;
}

/*
 * How far se is ahead of its queue in virtual time. It took this when it last ran,
 * perhaps with the lightest weight of all; no rule makes more of it.
 */
static u64 lead_of(struct sched_entity *se)
{
	s64 lead = READ_ONCE(se->vruntime) - virtual_time(timeline_of(se));
	u64 ran = READ_ONCE(se->sum_exec_runtime) - READ_ONCE(se->prev_sum_exec_runtime);
	u64 lightest = turn_ns() * scale_load_down(NICE_0_LOAD) / WEIGHT_IDLEPRIO;
	u64 own;

	ran = min3(ran, (u64)plugsched_watchdog_ms * NSEC_PER_MSEC, NS_MAX);
	own = div64_u64(ran * NICE_0_LOAD, pace_of(se));
	if (lead <= 0)
		return 0;
	return min((u64)lead <= own + lightest ? (u64)lead : own, NS_MAX);
}

/* Virtual time as what se runs meanwhile. */
static u64 from_virtual(const struct sched_entity *se, u64 ns)
{
	return div64_u64(min(ns, NS_MAX) * pace_of(se), NICE_0_LOAD);
}

/* What se is entitled to of its CPU's time. Context: RCU. */
static u64 entitled(struct sched_entity *se, u64 ns)
{
	ns = min(ns, NS_MAX);
	for (; se; se = parent_of(se))
		ns = div64_u64(ns * weight_of(se), competition_of(se).weight);
	return ns;
}

/* What a fair scheduler may owe se at most, in ns. Context: RCU. */
#ifdef PLUGSCHED_HAVE_H_LOAD
/* In one tree: for what the task is ahead, and its part of a turn of all tasks. */
static u64 bound_of(struct sched_entity *se)
{
	struct competition all = competition_in(timeline_of(se), pace_of(se));
	u64 own = from_virtual(se, lead_of(se) + ahead_ns());
	u64 turns = min(ahead_ns() + (all.nr + forks) * turn_ns(), NS_MAX);

	return min(own, NS_MAX) + entitled(se, turns);
}
#else
static u64 bound_of(struct sched_entity *se)
{
	u64 bound = 0, part = BIT_ULL(ONE_SHIFT);

	for (; se; se = parent_of(se)) {
		struct competition c = competition_of(se);
		u64 own = from_virtual(se, lead_of(se) + ahead_ns());
		u64 turns = min(ahead_ns() + c.nr * turn_ns(), NS_MAX);

		bound += (part * min(own, NS_MAX)) >> ONE_SHIFT;
		part = div64_u64(part * weight_of(se), c.weight);
		bound += (part * turns) >> ONE_SHIFT;
	}
	return bound;
}
#endif

/*
 * The part of a CPU's time that was not realtime's, by what the kernel believes
 * that each used lately; its limit on realtime guarantees a rest.
 */
static u64 left_for_fair(const struct rq *rq, u64 ns)
{
	u64 fair = READ_ONCE(rq->cfs.avg.util_avg);
	u64 others = READ_ONCE(rq->avg_rt.util_avg) + READ_ONCE(rq->avg_dl.util_avg);
	struct guarantee g = guarantee_of(rq);
	u64 rest = 0;

	if (g.runtime)
		rest = mul_u64_u64_div_u64(ns, g.runtime, g.period);
	if (fair + others)
		ns = div64_u64(ns * fair, fair + others);
	return max(ns, rest);
}

/*
 * How much of a period a CPU was run: the kernel accounts a tick when the CPU takes
 * it, and one that its host did not run takes one for all that were due meanwhile.
 */
static u64 given(int cpu, struct cpu_time *t, u64 ns)
{
	const u64 *stat = kcpustat_cpu(cpu).cpustat;
	u64 all = READ_ONCE(stat[CPUTIME_USER]) + READ_ONCE(stat[CPUTIME_NICE]) +
		  READ_ONCE(stat[CPUTIME_SYSTEM]) + READ_ONCE(stat[CPUTIME_SOFTIRQ]) +
		  READ_ONCE(stat[CPUTIME_IRQ]);
	u64 accounted = all - t->accounted;

	t->accounted = all;
	/* It takes no ticks, and does not need them. */
	if (is_idle_task(rcu_dereference_sched(cpu_rq(cpu)->curr)))
		return ns;
	return clamp(accounted, div_u64(ns, LEAST_GIVEN), ns);
}

/*
 * ms is how long the timer's last period was meant to be.
 * Context: hard interrupt, no locks.
 */
void plugsched_starving_tick(unsigned int ms)
{
	u64 ns = ms * NSEC_PER_MSEC;
	int cpu;

	WRITE_ONCE(clock_ns, clock_ns + ns);
	for_each_online_cpu(cpu) {
		struct cpu_time *t = per_cpu_ptr(&cpu_time, cpu);
		u64 had = given(cpu, t, ns);

		WRITE_ONCE(t->had, t->had + had);
		WRITE_ONCE(t->fair, t->fair + left_for_fair(cpu_rq(cpu), had));
	}
}

/* A round of looking at all tasks begins. */
void plugsched_starving_begin(void)
{
	int cpu;

	swap(counting, counted);
	memset(counting, 0, sizeof(*counting) << table_bits);
	counted_since = counting_since;
	counting_since = READ_ONCE(clock_ns);
	forks = min(total_forks - forks_seen, FORKS_MAX) / num_online_cpus();
	forks_seen = total_forks;
	for_each_possible_cpu(cpu) {
		struct cpu_time *t = per_cpu_ptr(&cpu_time, cpu);

		t->had_at[1] = t->had_at[0];
		t->fair_at[1] = t->fair_at[0];
		t->had_at[0] = READ_ONCE(t->had);
		t->fair_at[0] = READ_ONCE(t->fair);
	}
}

static bool fair(struct task_struct *p)
{
	return !rt_task(p) && !dl_task(p) && !plugsched_bpf_task(p);
}

/* Called for every task: does it compete with others? */
void plugsched_starving_count(struct task_struct *p)
{
	s64 ago;

	if (!fair(p))
		return;
	rcu_read_lock();
	ago = READ_ONCE(task_rq(p)->clock_task) - READ_ONCE(p->se.exec_start);
	if (READ_ONCE(p->on_rq) || ago <= (s64)(READ_ONCE(clock_ns) - counted_since))
		compete(&p->se);
	rcu_read_unlock();
}

/*
 * What the scheduler's own books say that p is entitled to since its last look. They
 * are exact, as long as p has kept its place. Context: RCU.
 */
static u64 passed(struct task_struct *p, struct plugsched_wait *w)
{
	struct cfs_rq *queue = timeline_of(&p->se);
	u64 now = virtual_time(queue), place = READ_ONCE(p->se.vruntime);
	s64 ns = now - w->virtual_time;
	bool stayed = w->queue == queue && w->place == place;

	w->queue = queue;
	w->place = place;
	w->virtual_time = now;
	return stayed && ns > 0 ? from_virtual(&p->se, ns) : 0;
}

/*
 * Look at a task that waits, once in a round; before is the last look if it has
 * waited since, or NULL. A CPU that it came to counts for it from the last round on.
 */
void plugsched_wait(struct task_struct *p, struct plugsched_wait *w,
		    const struct plugsched_wait *before)
{
	const struct cpu_time *t = per_cpu_ptr(&cpu_time, task_cpu(p));
	u64 now = READ_ONCE(clock_ns), since, fair_ns;

	*w = before ? *before : (struct plugsched_wait){ .at = now };
	since = now - w->at;
	w->at = now;
	w->had += min(READ_ONCE(t->had) - t->had_at[1], since);
	if (!fair(p))
		return;
	fair_ns = min(READ_ONCE(t->fair) - t->fair_at[1], since);
	rcu_read_lock();
	w->due += max(entitled(&p->se, fair_ns), passed(p, w));
	w->bound = max(w->bound, bound_of(&p->se));
	rcu_read_unlock();
}

/*
 * Whether it was not run though it should have been. All was read without locks,
 * and between two looks much can happen: it may be owed twice the bound.
 */
bool plugsched_starves(struct task_struct *p, const struct plugsched_wait *w)
{
	return w->had > plugsched_watchdog_ms * NSEC_PER_MSEC &&
	       (!fair(p) || w->due > 2 * w->bound);
}

/* What a queue may owe a task of nice 0, in time of the queue. */
static u64 newcomer_waits_ns(struct cfs_rq *queue)
{
	struct competition c = competition_in(queue, NICE_0_LOAD);

	return 2 * (div64_u64(min(c.weight, NS_MAX) * (ahead_ns() >> 10), NICE_0_LOAD >> 10) +
		    ahead_ns() + c.nr * turn_ns());
}

/*
 * Whether a task of nice 0, in no group, that is to run ns after the last round began
 * may still rightly wait on some CPU.
 * Context: hard interrupt, no locks.
 */
bool plugsched_newcomer_waits(u64 ns)
{
	int cpu;

	/* Whether it is a fair task at all is then not known. */
	if (plugsched_bpf_scheduler())
		return true;
	for_each_online_cpu(cpu) {
		const struct cpu_time *t = per_cpu_ptr(&cpu_time, cpu);
		u64 had = READ_ONCE(t->fair) - READ_ONCE(t->fair_at[0]);

		if (had <= ns + newcomer_waits_ns(&cpu_rq(cpu)->cfs))
			return true;
	}
	return false;
}

/* Context of both: process, may sleep. */
int plugsched_starving_init(void)
{
	table_bits = order_base_2(nr_cpu_ids * QUEUES_PER_CPU);
	counting = kvcalloc(BIT(table_bits), sizeof(*counting), GFP_KERNEL);
	counted = kvcalloc(BIT(table_bits), sizeof(*counted), GFP_KERNEL);
	if (counting && counted)
		return 0;
	plugsched_starving_exit();
	return -ENOMEM;
}

void plugsched_starving_exit(void)
{
	kvfree(counting);
	kvfree(counted);
	counting = NULL;
	counted = NULL;
}
