// SPDX-License-Identifier: GPL-2.0-only
/*
 * Members of the edited scheduler in places where the kernel's structures have nothing: in
 * padding, or in the place of reserved members. What another module left there is cleared before
 * this one begins: nobody uses these bytes then, neither the kernel nor the module that is
 * left, unless that one has the same member, which is inherited like a variable.
 *
 * That is done before the machine is stopped, so that downtime does not grow with the number of
 * threads. Forks are in the way of it: dup_task_struct() copies what the parent has, and a task
 * that is being made is on no list. In this order, nothing is missed:
 *
 *  1. From now on a task that begins is cleared by its parent, at the end of copy_process()
 *     (task_newtask).
 *  2. All tasks are cleared, twice: one that takes its leader's number in exec can be missed
 *     once. From here on, forks copy zeros.
 *  3. Whoever is inside of copy_process() may have copied before that. Their forks are waited
 *     for, and end as in 1. Who sleeps, his stack tells; who is on a CPU is asked there.
 *
 * Groups are zeroed when they are made, and copied by nobody.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/delay.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "config.h"
#include "internal.h"
#include "kernel.h"
#include "plugsched.h"

#define WAIT_MS		1
#define WAITS_MAX	1000	/* for all forks; who is slower makes the update busy */
#define TRIES_MAX	100	/* to meet a task that is always just switched */

/* Who is left, NULL for the kernel's scheduler. Guarded by the lock. */
static const struct plugsched_module *left;

/* Whether two modules have the same member there, which needs no clearing. */
static bool same(const struct plugsched_hole *a, const struct plugsched_hole *b)
{
	return a->object == b->object && a->offset == b->offset && a->size == b->size &&
	       !strcmp(a->name, b->name);
}

static bool overlap(const struct plugsched_hole *a, const struct plugsched_hole *b)
{
	return a->object == b->object && a->offset < b->offset + b->size &&
	       b->offset < a->offset + a->size;
}

static bool has(const struct plugsched_module *m, const struct plugsched_hole *h)
{
	unsigned long i;

	for (i = 0; i < *m->nr_holes; i++)
		if (same(&m->holes[i], h))
			return true;
	return false;
}

/* What of m is where h is, or NULL. Bits of one byte are several members in one place. */
static const struct plugsched_hole *there(const struct plugsched_module *m,
					  const struct plugsched_hole *h)
{
	unsigned long i;

	for (i = 0; m && i < *m->nr_holes; i++)
		if (overlap(&m->holes[i], h))
			return &m->holes[i];
	return NULL;
}

/* Whether somebody who has been running, or may run again, has the same member. */
static bool inherited(const struct plugsched_hole *h)
{
	return there(left, h) || (left && there(left->previous, h));
}

static void clear(void *object, enum plugsched_hole_of kind)
{
	const struct plugsched_hole *h;
	unsigned long i;

	for (i = 0; i < plugsched_nr_holes; i++) {
		h = &plugsched_holes[i];
		/* Most are clear, and other CPUs' cache lines are left alone. */
		if (h->object == kind && !inherited(h) &&
		    memchr_inv(object + h->offset, 0, h->size))
			memset(object + h->offset, 0, h->size);
	}
}

static bool any(enum plugsched_hole_of kind)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_holes; i++)
		if (plugsched_holes[i].object == kind && !inherited(&plugsched_holes[i]))
			return true;
	return false;
}

/* Context: copy_process(), preemption off. */
static void task_begins(void *data, struct task_struct *p, unsigned long clone_flags)
{
	clear(p, PLUGSCHED_HOLE_TASK);
	/* Whoever waits for this fork sees that it is over. */
	if (READ_ONCE(*(struct task_struct **)data) == current)
		WRITE_ONCE(*(struct task_struct **)data, NULL);
}

static int clear_task(struct task_struct *p, void *data)
{
	clear(p, PLUGSCHED_HOLE_TASK);
	return 0;
}

static unsigned long trace[PLUGSCHED_STACK_DEPTH];	/* guarded by the lock */

static bool in_fork(unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (plugsched_in_copy_process(trace[i]))
			return true;
	return false;
}

struct question {
	struct task_struct *p;
	int answer;
};

/* Context: interrupt, on the CPU on which the task was seen: its stack is below this one. */
static void ask(void *data)
{
	struct question *q = data;

	if (current == q->p)
		q->answer = in_fork(stack_trace_save(trace, ARRAY_SIZE(trace), 0));
}

/* Whether a task is inside of copy_process(); -EAGAIN: it was just switched to or from. */
static int forks(struct task_struct *p)
{
	unsigned long switches = READ_ONCE(p->nvcsw) + READ_ONCE(p->nivcsw);
	struct question q = { .p = p, .answer = -EAGAIN };
	bool yes;

	if (p == current)
		return false;
	/* Pairs with the release in finish_task(): the stack is complete. */
	if (smp_load_acquire(&p->on_cpu)) {
		smp_call_function_single(task_cpu(p), ask, &q, 1);
		return q.answer;
	}
	yes = in_fork(stack_trace_save_tsk(p, trace, ARRAY_SIZE(trace), 0));
	smp_rmb();	/* the stack, then whether it was still */
	if (READ_ONCE(p->on_cpu) || switches != READ_ONCE(p->nvcsw) + READ_ONCE(p->nivcsw))
		return -EAGAIN;
	return yes;
}

struct forkers {
	struct task_struct *awaited;	/* task_begins() takes it away */
	int waits;
};

/* Wait for the end of the fork that a task is in, if it is in one. */
static int outlast(struct task_struct *p, void *data)
{
	struct forkers *f = data;
	int answer, tries = 0;

	WRITE_ONCE(f->awaited, p);
	while (READ_ONCE(f->awaited)) {
		answer = forks(p);
		if (!answer || !pid_alive(p))
			break;
		if (answer < 0 && tries++ < TRIES_MAX) {
			cond_resched();
			continue;
		}
		if (f->waits++ == WAITS_MAX)
			return -EBUSY;
		msleep(WAIT_MS);
	}
	return 0;
}

static int clear_tasks(void)
{
	struct forkers f = {};
	int cpu, err;

	err = tracepoint_probe_register(&__tracepoint_task_newtask, task_begins, &f.awaited);
	if (err)
		return err;
	/* Whoever is past the event without having seen the probe is on the list of tasks. */
	tracepoint_synchronize_unregister();
	for_each_possible_cpu(cpu)
		if (cpu_rq(cpu)->idle)
			clear(cpu_rq(cpu)->idle, PLUGSCHED_HOLE_TASK);
	plugsched_for_each_task(clear_task, NULL);
	plugsched_for_each_task(clear_task, NULL);
	err = plugsched_for_each_task(outlast, &f);
	tracepoint_probe_unregister(&__tracepoint_task_newtask, task_begins, &f.awaited);
	tracepoint_synchronize_unregister();
	return err;
}

static void clear_queues(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		clear(cpu_rq(cpu), PLUGSCHED_HOLE_RQ);
}

static void clear_groups(void)
{
#ifdef CONFIG_FAIR_GROUP_SCHED
	struct task_group *tg;
	int cpu;

	rcu_read_lock();
	list_for_each_entry_rcu(tg, &task_groups, list) {
		clear(tg, PLUGSCHED_HOLE_GROUP);
		if (!any(PLUGSCHED_HOLE_CFS_RQ) && !any(PLUGSCHED_HOLE_ENTITY))
			continue;
		for_each_possible_cpu(cpu) {
			struct cfs_rq *queue = plugsched_group_queue(tg, cpu);
			struct sched_entity *se = plugsched_group_entity(tg, cpu);

			if (queue)
				clear(queue, PLUGSCHED_HOLE_CFS_RQ);
			if (se)
				clear(se, PLUGSCHED_HOLE_ENTITY);
		}
	}
	rcu_read_unlock();
#endif
}

/* Whether m has something else than this module in one of its holes, and what. */
static bool disagrees(const struct plugsched_module *m)
{
	const struct plugsched_hole *h;
	unsigned long i;

	for (i = 0; i < plugsched_nr_holes; i++) {
		h = there(m, &plugsched_holes[i]);
		if (!h || has(m, &plugsched_holes[i]))
			continue;
		pr_err("%s is where %s has %s\n", plugsched_holes[i].name, m->owner->name, h->name);
		return true;
	}
	return false;
}

/*
 * A task that has been released is on no list any more, and may still be queued.
 * Context: stopped machine, before this module takes over.
 */
void plugsched_holes_clear_released(struct list_head *queued)
{
	struct task_struct *p;

	if (!any(PLUGSCHED_HOLE_TASK))
		return;
	list_for_each_entry(p, queued, se.group_node)
		if (!pid_alive(p))
			clear(p, PLUGSCHED_HOLE_TASK);
}

/*
 * Clear what this module has in holes, before it takes over from another one, or from the
 * kernel's own scheduler if that is NULL. -ENOTUNIQ: both have something else in one place, or
 * one to which the other may still go back has. -EBUSY: a fork takes long.
 * Context: process, may sleep; this module's lock and the other one's held, and kprobe_mutex, so
 * that no third one takes over meanwhile.
 */
int plugsched_holes_clear(const struct plugsched_module *from)
{
	lockdep_assert_held(plugsched_self.lock);
	left = from;
	if (disagrees(from) || (from && disagrees(from->previous)))
		return -ENOTUNIQ;
	clear_queues();
	if (any(PLUGSCHED_HOLE_GROUP) || any(PLUGSCHED_HOLE_CFS_RQ) || any(PLUGSCHED_HOLE_ENTITY))
		clear_groups();
	return any(PLUGSCHED_HOLE_TASK) ? clear_tasks() : 0;
}
