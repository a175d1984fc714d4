// SPDX-License-Identifier: GPL-2.0-only
/*
 * What counts as starving: how long a task that waits for a CPU may rightly wait.
 */
#include <linux/minmax.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

#include "api.h"
#include "config.h"
#include "internal.h"
#include "plugsched.h"

#define PATIENCE_MAX_MS	(24ULL * 60 * 60 * MSEC_PER_SEC)

static bool throttled(struct task_struct *p)
{
#ifdef CONFIG_CFS_BANDWIDTH
	return READ_ONCE(p->se.cfs_rq->throttle_count);
#else
	return false;
#endif
}

/* A realtime burst may rightly take all but the last bit of a period. */
static bool burst_allowed(void)
{
	return sysctl_sched_rt_runtime < 0 ||
	       plugsched_watchdog_ms < 2 * sysctl_sched_rt_period / USEC_PER_MSEC;
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
		return outranked(rq, p) || READ_ONCE(rq->rt.rt_throttled) ||
		       READ_ONCE(rq->dl.dl_nr_running);
	return throttled(p) || hinted(p) ||
	       (burst_allowed() && (READ_ONCE(rq->rt.rt_nr_running) ||
				    READ_ONCE(rq->dl.dl_nr_running)));
}

/*
 * How long a fair task may wait, in ms: twice a tick for each of its weight that
 * competes, on every level of groups.
 */
static u64 fair_share_ms(struct task_struct *p)
{
	u64 ms = 2 * TICK_NSEC / NSEC_PER_MSEC;
	struct sched_entity *se = &p->se;

#ifdef CONFIG_FAIR_GROUP_SCHED
	rcu_read_lock();
	for (; se && ms < PATIENCE_MAX_MS; se = se->parent)
		ms *= READ_ONCE(se->cfs_rq->load.weight) / max(se->load.weight, 1UL) + 1;
	rcu_read_unlock();
#else
	ms *= READ_ONCE(task_rq(p)->cfs.load.weight) / max(se->load.weight, 1UL) + 1;
#endif
	return ms;
}

/* How long it may have to wait until it is run. Context: as above. */
u64 plugsched_patience_ms(struct task_struct *p)
{
	u64 ms = plugsched_watchdog_ms;

	if (fair_policy(p->policy) || idle_policy(p->policy))
		ms = max(ms, fair_share_ms(p));
	return ms;
}
