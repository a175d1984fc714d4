// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data rebuild: the old scheduler takes every queued task off its run queue, the
 * new one puts it back, so that whatever a class keeps per queue is the new
 * one's work.
 *
 * Context of everything here: stopped machine, IRQs off; each CPU works on its
 * own run queue. rq->curr is the stopper, so that no other task is running.
 * Which code a class method is depends on the class tables, which are rewritten
 * between clear and rebuild.
 */
#include <linux/module.h>

#include "config.h"
#include "internal.h"
#include "plugsched.h"

/*
 * Realtime tasks are only taken off their list with MOVE (move_entity()). Fair
 * tasks keep their place by SAVE alone: with MOVE, dequeue_entity() would advance
 * min_vruntime under the ones that follow.
 */
#define CLEAR_FLAGS	(DEQUEUE_SAVE | DEQUEUE_NOCLOCK)
#define REBUILD_FLAGS	(ENQUEUE_RESTORE | ENQUEUE_NOCLOCK)

static int move_flag(const struct task_struct *p, int flag)
{
	return p->sched_class == &fair_sched_class ? 0 : flag;
}

/*
 * Tasks between clear and rebuild, in queue order. They are linked by
 * se.group_node, which is on rq->cfs_tasks while a fair task is queued and
 * unused otherwise.
 */
static DEFINE_PER_CPU(struct list_head, taken);

static void take(struct rq *rq, struct task_struct *p, struct list_head *list)
{
	p->sched_class->dequeue_task(rq, p, CLEAR_FLAGS | move_flag(p, DEQUEUE_MOVE));
	list_add_tail(&p->se.group_node, list);
}

static void take_deadline(struct rq *rq, struct list_head *list)
{
	struct rb_node *node;

	while ((node = rb_first_cached(&rq->dl.root)))
		take(rq, container_of(node, struct task_struct, dl.rb_node), list);
}

static void take_realtime(struct rq *rq, struct list_head *list)
{
	struct rt_prio_array *array = &rq->rt.active;
	struct sched_rt_entity *se;
	int prio;

	while ((prio = sched_find_first_bit(array->bitmap)) < MAX_RT_PRIO) {
		se = list_first_entry(array->queue + prio, struct sched_rt_entity, run_list);
		take(rq, container_of(se, struct task_struct, rt), list);
	}
}

static void take_fair(struct rq *rq, struct list_head *list)
{
	struct task_struct *p;

	while (!list_empty(&rq->cfs_tasks)) {
		/* enqueue_entity() adds at the head: from the tail keeps the order */
		p = list_last_entry(&rq->cfs_tasks, struct task_struct, se.group_node);
		take(rq, p, list);
	}
}

/*
 * The stopper notes who queued a work, to print it in a backtrace. Nobody follows
 * it, but it would name a module that is gone.
 */
static void forget_callers(struct rq *rq, const struct module *owner)
{
#ifdef PLUGSCHED_HAVE_STOP_WORK_CALLER
	if (within_module_core(rq->active_balance_work.caller, owner))
		rq->active_balance_work.caller = 0;
#endif
}

/* What the kernel's own scheduler does, and what this module's. */
static const struct plugsched_rq_ops kernel_rq_ops = {
	.update_clock = __orig_update_rq_clock,
	.set_online = __orig_set_rq_online,
	.set_offline = __orig_set_rq_offline,
};

const struct plugsched_rq_ops plugsched_rq_ops = {
	.update_clock = update_rq_clock,
	.set_online = set_rq_online,
	.set_offline = set_rq_offline,
};

static const struct plugsched_rq_ops *ops_of(const struct plugsched_module *m)
{
	return m ? m->rq_ops : &kernel_rq_ops;
}

/*
 * set_rq_offline() makes the classes unthrottle their groups, so that every
 * queued task can be reached.
 */
void plugsched_clear_rq(int cpu, const struct plugsched_module *from, bool heal)
{
	struct list_head *list = per_cpu_ptr(&taken, cpu);
	struct rq *rq = cpu_rq(cpu);
	struct rq_flags rf;

	INIT_LIST_HEAD(list);
	/* A console may want to wake somebody on the queue that is locked here. */
	printk_deferred_enter();
	rq_lock(rq, &rf);
	ops_of(from)->update_clock(rq);
	ops_of(from)->set_offline(rq);
	take_deadline(rq, list);
	take_realtime(rq, list);
	take_fair(rq, list);
	if (from && !heal)
		from->rebuild(rq, false);
	if (from)
		forget_callers(rq, from->owner);
	rq_unlock(rq, &rf);
	printk_deferred_exit();
}

void plugsched_rebuild_rq(int cpu, const struct plugsched_module *to, bool heal)
{
	struct list_head *list = per_cpu_ptr(&taken, cpu);
	struct rq *rq = cpu_rq(cpu);
	struct task_struct *p, *n;
	struct rq_flags rf;

	printk_deferred_enter();
	rq_lock(rq, &rf);
	ops_of(to)->update_clock(rq);
	ops_of(to)->set_online(rq);
	if (to)
		to->rebuild(rq, true);
	list_for_each_entry_safe(p, n, list, se.group_node) {
		list_del_init(&p->se.group_node);
		if (heal && p->sched_class == &fair_sched_class)
			plugsched_heal_queued(p);
		p->sched_class->enqueue_task(rq, p, REBUILD_FLAGS | move_flag(p, ENQUEUE_MOVE));
	}
	rq_unlock(rq, &rf);
	printk_deferred_exit();
}
