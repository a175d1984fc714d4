// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks of a scheduling class of the module's own, when its scheduler is left. After
 * plugsched_leaving() there should be none. In a rollback nobody was asked before, and there
 * may be any number.
 */
#include <linux/sched/signal.h>

#include "config.h"
#include "internal.h"
#include "leftovers.h"
#include "plugsched.h"

/* Whether the kernel knows a policy (include/uapi/linux/sched.h). */
static bool kernel_has(unsigned int policy)
{
	switch (policy) {
	case SCHED_NORMAL:
	case SCHED_FIFO:
	case SCHED_RR:
	case SCHED_BATCH:
	case SCHED_IDLE:
	case SCHED_DEADLINE:
#ifdef SCHED_EXT
	case SCHED_EXT:
#endif
		return true;
	}
	return false;
}

/*
 * What it has of its place among fair tasks is relative (switched_from_fair()), and its load
 * is in no queue's sum: it is added where the task is queued next (update_load_avg()).
 */
static void make_fair(struct task_struct *p)
{
	p->sched_class = &fair_sched_class;
#ifdef CONFIG_SMP
	p->se.avg.last_update_time = 0;
#endif
}

/*
 * Take a run queue's tasks of the module's classes off it, by the class's own method, as those
 * of the kernel's are, and make them fair; sleepers that were there last, too. A task that is
 * boosted into a class of the kernel's would go back to its policy's class: it gets another
 * policy. Tasks that are being made have a class of the kernel's, and who exits leaves his
 * class while he is on the list of tasks (docs/develop/hooks.md): this finds all.
 * Context: stopped machine, IRQs off, rq->lock held.
 */
void plugsched_own_take(struct rq *rq, struct list_head *list,
			void (*take)(struct rq *rq, struct task_struct *p, struct list_head *list))
{
	struct task_struct *g, *p;

	lockdep_assert_irqs_disabled();
	for_each_process_thread(g, p) {
		if (task_rq(p) != rq)
			continue;
		if (plugsched_foreign_class(p)) {
			if (p->on_rq == TASK_ON_RQ_QUEUED)
				take(rq, p, list);
			make_fair(p);
		}
		if (!kernel_has(p->policy))
			p->policy = SCHED_NORMAL;
	}
}
