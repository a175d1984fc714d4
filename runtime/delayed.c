// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delayed dequeue: a task that goes to sleep, or a group that has none left (but not where
 * the tasks of all groups are in one tree), stays on its
 * queue while it has had more than its share, and is taken off when it would be picked
 * (pick_next_entity()). What is delayed is not to run, so that it need not be put back
 * after an update: it is taken off for good, as if it had been picked.
 */
#include "config.h"
#include "internal.h"
#include "plugsched.h"

#ifdef PLUGSCHED_HAVE_SCHED_DELAYED

#define FINISH_FLAGS	(DEQUEUE_SLEEP | DEQUEUE_DELAYED)

/* Behind this a task is not queued any more. */
#ifdef PLUGSCHED_GROUPS_DELAYED
/* What this module's scheduler does. */
void plugsched_finish_own(struct rq *rq, struct sched_entity *se)
{
	dequeue_entities(rq, se, FINISH_FLAGS);
}

static void finish(const struct plugsched_module *from, struct rq *rq, struct sched_entity *se)
{
	if (from)
		from->rq_ops->finish_delayed(rq, se);
	else
		__orig_dequeue_entities(rq, se, FINISH_FLAGS);
}
#else
/* Only tasks are delayed, and the class's own method is what ends it. */
void plugsched_finish_own(struct rq *rq, struct sched_entity *se)
{
	struct task_struct *p = task_of(se);

	p->sched_class->dequeue_task(rq, p, FINISH_FLAGS);
}

/* The class table is still the one of the scheduler that is left. */
static void finish(const struct plugsched_module *from, struct rq *rq, struct sched_entity *se)
{
	plugsched_finish_own(rq, se);
}
#endif

static struct sched_entity *above(const struct sched_entity *se)
{
#ifdef CONFIG_FAIR_GROUP_SCHED
	return se->parent;
#else
	return NULL;
#endif
}

/* What was below them has left: groups that are empty now may be delayed themselves. */
static void finish_upwards(const struct plugsched_module *from, struct rq *rq,
			   struct sched_entity *se)
{
	for (; se; se = above(se))
		if (se->sched_delayed)
			finish(from, rq, se);
}

static void finish_tasks(const struct plugsched_module *from, struct rq *rq)
{
	struct task_struct *p, *n;

	list_for_each_entry_safe(p, n, &rq->cfs_tasks, se.group_node) {
		struct sched_entity *parent = above(&p->se);

		if (!p->se.sched_delayed)
			continue;
		finish(from, rq, &p->se);
		finish_upwards(from, rq, parent);
	}
}

#if defined(CONFIG_FAIR_GROUP_SCHED) && defined(PLUGSCHED_GROUPS_DELAYED)

static struct sched_entity *first_of(const struct cfs_rq *cfs_rq)
{
	struct rb_node *node = rb_first_cached(&cfs_rq->tasks_timeline);

	return node ? rb_entry(node, struct sched_entity, run_node) : NULL;
}

/*
 * The next in the tree of trees, each before what is below it. A scheduler may have the tasks
 * of all groups in the CPU's tree: then what is above them is in none.
 */
static struct sched_entity *following(struct sched_entity *se)
{
	struct rb_node *node;

	if (se->my_q && first_of(se->my_q))
		return first_of(se->my_q);
	for (; se && se->on_rq; se = se->parent) {
		node = rb_next(&se->run_node);
		if (node)
			return rb_entry(node, struct sched_entity, run_node);
	}
	return NULL;
}

/*
 * Nothing is below a delayed group. Of those above it some may go with it, but only when
 * there is nothing else below them, so that what follows stays. Below a throttled group,
 * which is in no tree itself, a delayed one may stay: its tree is looked at again when
 * the group is released, and has nothing in it that could run.
 */
static bool finish_groups_once(const struct plugsched_module *from, struct rq *rq)
{
	struct sched_entity *se, *next, *parent;
	bool found = false;

	for (se = first_of(&rq->cfs); se; se = next) {
		next = following(se);
		parent = se->parent;
		if (!se->sched_delayed)
			continue;
		finish(from, rq, se);
		finish_upwards(from, rq, parent);
		found = true;
	}
	return found;
}

/*
 * What has left a group may change its weight, and with it its place in the tree that is
 * being walked (update_cfs_group()): others may have been passed over. Each round but
 * the last takes at least one off.
 */
static void finish_groups(const struct plugsched_module *from, struct rq *rq)
{
	while (finish_groups_once(from, rq))
		;
}

#else

static void finish_groups(const struct plugsched_module *from, struct rq *rq)
{
}

#endif

/* Take what is delayed off a run queue. */
void plugsched_finish_delayed(const struct plugsched_module *from, struct rq *rq)
{
	finish_tasks(from, rq);
	finish_groups(from, rq);
}

/* The same for the groups of a task that has just been taken off. */
void plugsched_finish_emptied(const struct plugsched_module *from, struct rq *rq,
			      struct task_struct *p)
{
	finish_upwards(from, rq, above(&p->se));
}

#else

void plugsched_finish_own(struct rq *rq, struct sched_entity *se)
{
}

void plugsched_finish_delayed(const struct plugsched_module *from, struct rq *rq)
{
}

void plugsched_finish_emptied(const struct plugsched_module *from, struct rq *rq,
			      struct task_struct *p)
{
}

#endif /* PLUGSCHED_HAVE_SCHED_DELAYED */
