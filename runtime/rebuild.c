// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data rebuild: the old scheduler takes every queued task off its run queue, the
 * new one puts it back, so that whatever a class keeps per queue is the new
 * one's work.
 *
 * Context of everything here: stopped machine, IRQs off; each CPU works on its
 * own run queue, and one of them on those of CPUs that are offline, with one queue's
 * lock held at a time. rq->curr is the stopper or, offline, the idle task, so that no
 * other task is running. Which code a class method is depends on the class tables,
 * which are rewritten between clear and rebuild.
 *
 * No CPU comes or goes: the classes' methods rq_offline and rq_online are not called.
 * They look at every task group, and forget about limits, which last over an update:
 * - A throttled fair group stays throttled. Its tasks are in its own queue and on
 *   rq->cfs_tasks, and the fair class takes them off and puts them back up to the first
 *   throttled level, as when they sleep and wake. Where throttled tasks are on no queue
 *   themselves, they stay where they are. The group's timers go on.
 * - The same holds for realtime tasks while their queue is throttled, and a throttled
 *   deadline task is on no queue but has a timer.
 * - Tasks of a BPF scheduler (sched_ext), and the server that they have, stay where they
 *   are. Only a rollback meets them, and only the developer's edits could make the class
 *   see their queues in another way.
 * - What others ask about a run queue (cpupri, cpudl, overload) the classes keep with
 *   each task that is taken or put back.
 */
#include <linux/cpumask.h>
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

/* Servers are no tasks. They have been stopped, but a broken scheduler may leave one. */
static struct rb_node *first_deadline_task(const struct rq *rq)
{
	struct rb_node *node = rb_first_cached(&rq->dl.root);

	while (node && plugsched_is_server(rb_entry(node, struct sched_dl_entity, rb_node)))
		node = rb_next(node);
	return node;
}

static void take_deadline(struct rq *rq, struct list_head *list)
{
	struct rb_node *node;

	while ((node = first_deadline_task(rq)))
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

/*
 * What is taken last is put back first. So each comes back to the queue that it left: where
 * a task's place is kept as its lag, that is a distance from the mean of all others that
 * are queued. And as enqueue_entity() adds at the head, rq->cfs_tasks stays in order too.
 */
static void take_fair(const struct plugsched_module *from, struct rq *rq, struct list_head *list)
{
	struct task_struct *p;
	LIST_HEAD(reversed);

	plugsched_finish_delayed(from, rq);
	while (!list_empty(&rq->cfs_tasks)) {
		p = list_first_entry(&rq->cfs_tasks, struct task_struct, se.group_node);
		p->sched_class->dequeue_task(rq, p, CLEAR_FLAGS);
		/* A broken scheduler may have left it there: no reason to meet it again for ever. */
		list_del_init(&p->se.group_node);
		list_add(&p->se.group_node, &reversed);
		plugsched_finish_emptied(from, rq, p);
	}
	list_splice_tail(&reversed, list);
}

/*
 * The stopper notes who queued a work, to print it in a backtrace. Nobody follows
 * it, but it would name a module that is gone.
 */
static void forget_caller(struct cpu_stop_work *work, const struct module *owner)
{
#ifdef PLUGSCHED_HAVE_STOP_WORK_CALLER
	if (within_module_core(work->caller, owner))
		work->caller = 0;
#endif
}

/* Where a run queue has works. All others are on the stack of a task that waits for them. */
static const size_t rq_stop_works[] = { PLUGSCHED_RQ_STOP_WORKS };

static void forget_callers(struct rq *rq, const struct module *owner)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rq_stop_works); i++)
		forget_caller((void *)rq + rq_stop_works[i], owner);
#ifdef PLUGSCHED_HAVE_PUSH_WORK
	forget_caller(per_cpu_ptr(&push_work, cpu_of(rq)), owner);
#endif
}

static void update_clock(const struct plugsched_module *m, struct rq *rq)
{
	if (m)
		m->rq_ops->update_clock(rq);
	else
		__orig_update_rq_clock(rq);
}

/*
 * A server gives tasks of another class a part of the CPU. It starts with the first of
 * them that is queued (enqueue_task_fair()), and goes on with what it had left.
 */
static void stop_own_servers(struct rq *rq)
{
#ifdef PLUGSCHED_HAVE_FAIR_SERVER
	if (rq->fair_server.dl_server_active)
		dl_server_stop(&rq->fair_server);
#endif
}

static void stop_servers(const struct plugsched_module *m, struct rq *rq)
{
	if (m) {
		m->rq_ops->stop_servers(rq);
		return;
	}
#ifdef PLUGSCHED_HAVE_FAIR_SERVER
	if (rq->fair_server.dl_server_active)
		__orig_dl_server_stop(&rq->fair_server);
#endif
}

const struct plugsched_rq_ops plugsched_rq_ops = {
	.update_clock = update_rq_clock,
	.finish_delayed = plugsched_finish_own,
	.stop_servers = stop_own_servers,
};

static void clear(int cpu, const struct plugsched_update *u)
{
	const struct plugsched_module *from = u->from;
	struct list_head *list = per_cpu_ptr(&taken, cpu);
	struct rq *rq = cpu_rq(cpu);
	struct rq_flags rf;

	INIT_LIST_HEAD(list);
	rq_lock(rq, &rf);
	update_clock(from, rq);
	stop_servers(from, rq);
	if (plugsched_way == PLUGSCHED_PARALLEL) {
		plugsched_finish_delayed(from, rq);
		plugsched_bench_each(rq, list, take);
	}
	take_deadline(rq, list);
	take_realtime(rq, list);
	take_fair(from, rq, list);
	if (from && from->has_classes())
		plugsched_own_take(rq, list, take);
	if (u->rollback)
		plugsched_lost_adopt(rq, list);
	else if (u->to == &plugsched_self)
		plugsched_holes_clear_released(list);
	if (from && !u->heal)
		from->rebuild(rq, false);
	if (from)
		forget_callers(rq, from->owner);
	rq_unlock(rq, &rf);
}

static void put_back(struct rq *rq, struct task_struct *p, struct list_head *unused)
{
	list_del_init(&p->se.group_node);
	p->sched_class->enqueue_task(rq, p, REBUILD_FLAGS | move_flag(p, ENQUEUE_MOVE));
}

static void rebuild(int cpu, const struct plugsched_update *u)
{
	const struct plugsched_module *to = u->to;
	struct list_head *list = per_cpu_ptr(&taken, cpu);
	struct rq *rq = cpu_rq(cpu);
	struct task_struct *p, *n;
	struct rq_flags rf;

	rq_lock(rq, &rf);
	update_clock(to, rq);
	if (to)
		to->rebuild(rq, true);
	if (plugsched_way == PLUGSCHED_PARALLEL)
		plugsched_bench_each(rq, list, put_back);
	list_for_each_entry_safe(p, n, list, se.group_node) {
		if (u->heal && p->sched_class == &fair_sched_class)
			plugsched_heal_queued(p);
		put_back(rq, p, list);
	}
	rq_unlock(rq, &rf);
}

/*
 * An offline CPU has no tasks, but what a scheduler keeps for it is to be the new
 * one's when it returns. One CPU does that for all of them, after its own.
 */
static void each_rq_of(int cpu, const struct plugsched_update *u,
		       void (*fn)(int cpu, const struct plugsched_update *u))
{
	int other;

	lockdep_assert_irqs_disabled();
	/* A console may want to wake somebody on a queue that is locked here. */
	printk_deferred_enter();
	fn(cpu, u);
	if (cpu == cpumask_first(cpu_online_mask))
		for_each_possible_cpu(other)
			if (!cpu_online(other))
				fn(other, u);
	printk_deferred_exit();
}

void plugsched_clear_rq(int cpu, const struct plugsched_update *u)
{
	each_rq_of(cpu, u, clear);
}

void plugsched_rebuild_rq(int cpu, const struct plugsched_update *u)
{
	each_rq_of(cpu, u, rebuild);
}
