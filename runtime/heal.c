// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a broken scheduler may have left in fair tasks: a place so far behind all
 * others, or before them, that the next scheduler would starve somebody for it.
 * The limit is far beyond what the lightest weight makes of a tick.
 */
#include "config.h"
#include "internal.h"
#include "plugsched.h"

#define FAR_NS	(10LL * NSEC_PER_SEC)

static bool far(s64 distance)
{
	return distance > FAR_NS || distance < -FAR_NS;
}

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
#else
	if (far(se->vruntime))
		se->vruntime = 0;
#endif
#if defined(CONFIG_FAIR_GROUP_SCHED) && !defined(PLUGSCHED_HAVE_VLAG)
	for (se = se->parent; se; se = se->parent)
		if (!se->on_rq && far(se->vruntime - se->cfs_rq->min_vruntime))
			se->vruntime = se->cfs_rq->min_vruntime;
#endif
}

/*
 * A sleeper that is ahead would stay so when it wakes (place_entity()); one that
 * is behind would not.
 * Context: process.
 */
void plugsched_heal_sleeper(struct task_struct *p)
{
#if defined(CONFIG_FAIR_GROUP_SCHED) && !defined(PLUGSCHED_HAVE_VLAG)
	struct rq_flags rf;
	struct rq *rq;

	/* The scheduler that was left is not to be trusted with this. */
	rq = __orig_task_rq_lock(p, &rf);
	if (!p->on_rq && p->sched_class == &fair_sched_class &&
	    (s64)(p->se.vruntime - p->se.cfs_rq->min_vruntime) > FAR_NS)
		p->se.vruntime = p->se.cfs_rq->min_vruntime;
	rq_unpin_lock(rq, &rf);
	__orig_raw_spin_rq_unlock(rq);
	raw_spin_unlock_irqrestore(&p->pi_lock, rf.flags);
#endif
}
