// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ways of others, to compare with. No module that is installed has them.
 * Context of everything here: stopped machine, IRQs off.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>

#include "internal.h"
#include "plugsched.h"

unsigned int plugsched_way;
module_param_named(way, plugsched_way, uint, 0600);
MODULE_PARM_DESC(way, "0: as installed; 1: one CPU inspects all stacks; 2: all CPUs do, and walk all tasks");

/* Inspect every task's stack, on one CPU. */
void plugsched_bench_check(struct plugsched_update *u, unsigned int id, unsigned long *stack)
{
	struct task_struct *g, *p;

	if (id)
		return;
	for_each_process_thread(g, p)
		plugsched_check_task(u, p, stack);
}

/* Whether a class has the task on its queue. */
static bool on_queue(const struct task_struct *p)
{
	if (p->sched_class == &fair_sched_class)
		return p->se.on_rq;
	if (p->sched_class == &rt_sched_class)
		return p->rt.on_rq;
	return p->sched_class == &dl_sched_class && !RB_EMPTY_NODE(&p->dl.rb_node);
}

/*
 * Call fn for what a run queue has queued, or what was taken off it, found among all tasks.
 * A task that is on no list of tasks is left to the caller.
 */
void plugsched_bench_each(struct rq *rq, struct list_head *list,
			  void (*fn)(struct rq *rq, struct task_struct *p, struct list_head *list))
{
	struct task_struct *g, *p;

	for_each_process_thread(g, p) {
		if (task_rq(p) != rq || p->on_rq != TASK_ON_RQ_QUEUED || p == rq->stop)
			continue;
		if (on_queue(p) || !list_empty(&p->se.group_node))
			fn(rq, p, list);
	}
}
