// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a broken scheduler may have left.
 *
 * In fair tasks: a place so far behind all others, or before them, that the next
 * scheduler would starve somebody for it. The limit is far beyond what the lightest
 * weight makes of a tick.
 *
 * In groups with a quota: one that is throttled, and no timer that would release it.
 */
#include <linux/hrtimer.h>
#include <linux/rcupdate.h>

#include "config.h"
#include "internal.h"
#include "plugsched.h"

#define FAR_NS	(10LL * NSEC_PER_SEC)

static bool far(s64 distance)
{
	return distance > FAR_NS || distance < -FAR_NS;
}

#ifdef CONFIG_FAIR_GROUP_SCHED
static void heal_group_place(struct sched_entity *se)
{
#ifdef PLUGSCHED_HAVE_VLAG
	if (far(se->vlag))
		se->vlag = 0;
#else
	if (far(se->vruntime - se->cfs_rq->min_vruntime))
		se->vruntime = se->cfs_rq->min_vruntime;
#endif
}
#endif

/*
 * A task between clear and rebuild: what it has is relative to its queue
 * (dequeue_entity()), except that the groups above it were dequeued as sleepers.
 * Context: stopped machine, run queue locked.
 */
void plugsched_heal_queued(struct task_struct *p)
{
	struct sched_entity *se = &p->se;

#ifdef PLUGSCHED_HAVE_VLAG
	if (far(se->vlag))
		se->vlag = 0;
#ifdef PLUGSCHED_HAVE_REL_DEADLINE
	/* Without, it gets one anew (place_entity()). */
	if (se->rel_deadline && far(se->deadline))
		se->rel_deadline = 0;
#endif
#else
	if (far(se->vruntime))
		se->vruntime = 0;
#endif
#ifdef CONFIG_FAIR_GROUP_SCHED
	for (se = se->parent; se; se = se->parent)
		if (!se->on_rq)
			heal_group_place(se);
#endif
}

/*
 * A sleeper that is ahead would stay so when it wakes (place_entity()); one that
 * is behind would not, but for a lag, which nobody limits then.
 */
static void heal_place(struct sched_entity *se)
{
#if defined(PLUGSCHED_HAVE_VLAG)
	if (far(se->vlag))
		se->vlag = 0;
#elif defined(CONFIG_FAIR_GROUP_SCHED)
	if ((s64)(se->vruntime - se->cfs_rq->min_vruntime) > FAR_NS)
		se->vruntime = se->cfs_rq->min_vruntime;
#endif
}

/* Context: process. */
void plugsched_heal_sleeper(struct task_struct *p)
{
	struct rq_flags rf;
	struct rq *rq;

	/* The scheduler that was left is not to be trusted with this. */
	rq = __orig_task_rq_lock(p, &rf);
	if (!p->on_rq && p->sched_class == &fair_sched_class)
		heal_place(&p->se);
	rq_unpin_lock(rq, &rf);
	plugsched_rq_unlock(rq);
	raw_spin_unlock_irqrestore(&p->pi_lock, rf.flags);
}

#ifdef CONFIG_CFS_BANDWIDTH

/* A timer that was marked as running and is not would never be started again. */
static void heal_timers(struct cfs_bandwidth *cfs_b)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&cfs_b->lock, flags);
	if (!hrtimer_active(&cfs_b->period_timer)) {
		cfs_b->period_active = 0;
		__orig_start_cfs_bandwidth(cfs_b);
	}
	if (!hrtimer_active(&cfs_b->slack_timer))
		cfs_b->slack_started = 0;
	raw_spin_unlock_irqrestore(&cfs_b->lock, flags);
}

/*
 * As when the quota is set anew, but a throttled group waits for the next period: the
 * scheduler that runs releases it. An offline CPU's queue is without a limit.
 */
static void heal_quota(struct cfs_rq *cfs_rq)
{
	struct rq *rq = rq_of(cfs_rq);
	struct rq_flags rf;

	local_irq_save(rf.flags);
	plugsched_rq_lock(rq);
	rq_pin_lock(rq, &rf);
	if (rq->online) {
		cfs_rq->runtime_enabled = 1;
		cfs_rq->runtime_remaining = 0;
	}
	rq_unpin_lock(rq, &rf);
	plugsched_rq_unlock(rq);
	local_irq_restore(rf.flags);
}

static void heal_group(struct task_group *tg)
{
	int cpu;

	if (READ_ONCE(tg->cfs_bandwidth.quota) == RUNTIME_INF)
		return;
	heal_timers(&tg->cfs_bandwidth);
	for_each_online_cpu(cpu)
		heal_quota(plugsched_group_queue(tg, cpu));
}

/* Context: process. */
void plugsched_heal_groups(void)
{
	struct task_group *tg;

	might_sleep();
	rcu_read_lock();
	list_for_each_entry_rcu(tg, &task_groups, list)
		heal_group(tg);
	rcu_read_unlock();
}

#else

void plugsched_heal_groups(void)
{
}

#endif /* CONFIG_CFS_BANDWIDTH */
