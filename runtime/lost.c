// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks that a broken scheduler has lost: awake, but on no queue, so that nobody will
 * ever run or wake them; and sleepers whose wake-up was dropped.
 */
#include <linux/llist.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>

#include "config.h"
#include "internal.h"
#include "kernel.h"
#include "plugsched.h"

#ifdef CONFIG_SMP

/*
 * Whether a CPU has been told to wake a task, and will (__ttwu_queue_wakelist()).
 * Context: stopped machine: nobody takes from a list.
 */
static bool on_wake_list(const struct task_struct *p)
{
	struct __call_single_node *n;
	int cpu;

	for_each_possible_cpu(cpu)
		llist_for_each_entry(n, per_cpu(call_single_queue, cpu).first, llist)
			if (n == &p->wake_entry)
				return true;
	return false;
}

#else

static bool on_wake_list(const struct task_struct *p)
{
	return false;
}

#endif

/*
 * Make a lost task one that sleeps, and can be woken like any other. What its wake-up
 * has counted already is not to be counted twice (ttwu_do_activate()).
 */
static void put_to_sleep(struct task_struct *p)
{
	if (plugsched_state(p) == TASK_RUNNING) {
		p->sched_contributes_to_load = 0;
		if (p->in_iowait)
			atomic_inc(&task_rq(p)->nr_iowait);
	}
	WRITE_ONCE(plugsched_state(p), TASK_IDLE);
	plugsched_note("task %d (%s) was in no queue and has been woken\n", task_pid_nr(p),
		       p->comm);
}

static void settle(struct plugsched_update *u, struct task_struct *p)
{
	if (!plugsched_lost(p) || on_wake_list(p))
		return;
	put_to_sleep(p);
	u->lost++;
}

/*
 * Find the lost tasks: with every CPU stopped, "awake, on no queue, on no wake list" needs
 * no second look. Whoever updates wakes them.
 * Context: stopped machine, one CPU.
 */
void plugsched_lost_settle(struct plugsched_update *u)
{
	struct task_struct *g, *p;
	unsigned int i;

	if (!u->from || plugsched_way != PLUGSCHED_OURS)
		return;
	if (!u->rollback && plugsched_scan_complete(u)) {
		for (i = 0; (p = plugsched_scan_awake(u, i)); i++)
			settle(u, p);
		return;
	}
	for_each_process_thread(g, p)
		settle(u, p);
}

/* Throttled tasks of a kernel that throttles them one by one are on no queue rightly. */
static bool in_limbo(const struct task_struct *p)
{
#ifdef PLUGSCHED_HAVE_THROTTLE_NODE
	return !list_empty(&p->throttle_node);
#else
	return false;
#endif
}

/* Whether a task says that it is queued, and is on no queue of its class. */
static bool claims(const struct rq *rq, const struct task_struct *p)
{
	if (task_rq(p) != rq || p->on_rq != TASK_ON_RQ_QUEUED || p == rq->stop ||
	    !list_empty(&p->se.group_node))
		return false;
	if (p->sched_class == &fair_sched_class)
		return !p->se.on_rq && !in_limbo(p);
	/* A deadline task that has used up its runtime is on no queue rightly. */
	return p->sched_class == &rt_sched_class && !p->rt.on_rq;
}

/*
 * Add the tasks to a list of those that were taken off a queue which a broken scheduler
 * did not put on theirs: they are enqueued like all others.
 * Context: stopped machine, run queue locked, nothing is queued on it any more.
 */
void plugsched_lost_adopt(struct rq *rq, struct list_head *list)
{
	struct task_struct *g, *p;

	for_each_process_thread(g, p) {
		if (!claims(rq, p))
			continue;
		list_add_tail(&p->se.group_node, list);
		plugsched_note("task %d (%s) was on no queue and has been put on one\n",
			       task_pid_nr(p), p->comm);
	}
}

/*
 * Whoever sleeps must cope with being woken for nothing, except a kernel thread
 * that waits for its first wake-up: kthread() takes any for that.
 */
static int wake(struct task_struct *p, void *heal)
{
	bool newborn = p->flags & PF_KTHREAD && p->nvcsw + p->nivcsw <= 1 &&
		       READ_ONCE(plugsched_state(p)) == TASK_UNINTERRUPTIBLE;

	if (heal)
		plugsched_heal_sleeper(p);
	if (!newborn)
		__orig_wake_up_process(p);
	return 0;
}

/*
 * Wake every task once: a wake-up that was dropped left no trace. With heal, sleepers
 * that were placed far ahead of all others get an ordinary place.
 * Context: process. It waits for no grace period.
 */
void plugsched_wake_everybody(bool heal)
{
	plugsched_for_each_task(wake, heal ? &heal : NULL);
}
