/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What plugsched offers to an edited scheduler: hooks, and data beside the kernel's
 * structures, whose layout cannot change. #include <plugsched/api.h>
 */
#ifndef PLUGSCHED_API_H
#define PLUGSCHED_API_H

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/rhashtable-types.h>

struct rq;
struct task_struct;

/*
 * Hooks. Define those that are needed, without static, in any of the scheduler's
 * files.
 */

/*
 * When the module is loaded, before its scheduler runs. An error forbids the
 * install. What is registered here gets THIS_MODULE for its owner, as in any module.
 * Context: process, may sleep.
 */
int plugsched_init(void);

/*
 * When its scheduler does not run any more, before the module is unloaded: undo
 * what plugsched_init() did. Context: process, may sleep.
 */
void plugsched_exit(void);

/*
 * Before an update that leaves this scheduler for another one: end what keeps processes in
 * its code, and take tasks out of a class of its own. An error forbids the update: -EBUSY while
 * somebody uses it, who is then named by the files of the scheduler's that he has open, and
 * who is to be ended with force. A rollback does not call it. Whoever adds a class has to
 * define it (docs/develop/hooks.md). Context: process, may sleep.
 */
int plugsched_leaving(bool force);

/* The update did not come about after all. Context: process, may sleep. */
void plugsched_staying(void);

/*
 * During an update, once for each possible CPU, while no task is queued on rq: with
 * live before this scheduler gets the tasks, without after it gave them away. A rollback
 * does not call it on the way out, because the scheduler is not to be trusted.
 *
 * The class methods rq_online and rq_offline are not called in an update. For a CPU that
 * is offline another one calls this, and nobody does when it returns: cpu_of(rq) is the
 * CPU that is meant. rq->curr is the stopper or, offline, the idle task; the clock is up
 * to date. Groups that are throttled stay so. Other CPUs' calls run at the same time, and
 * their queues may have tasks.
 * Context: stopped machine, IRQs off, rq->lock held. It may not allocate, free or fail.
 */
void plugsched_rebuild(struct rq *rq, bool live);

/*
 * Whether a task of the fair class that waits rightly does so, however long: the
 * watchdog lets it. Context: the watchdog's work, RCU; without rq->lock.
 */
bool plugsched_may_starve(struct task_struct *p);

/*
 * Whether this module's scheduler runs. That only changes while the machine is stopped: with
 * preemption off, an answer holds. Context: any.
 */
bool plugsched_active(void);

/*
 * Data that belongs to objects of the kernel: one zeroed piece for each key, which is
 * the object's address. What is left is freed after plugsched_exit().
 */
struct plugsched_data {
	const char *name;	/* in messages */
	size_t size;		/* of one piece, bytes */
	/* Optional, for a new piece. Context: that of its creation; may not sleep. */
	void (*init)(const void *key, void *piece);

	/* The rest is private. */
	struct rhashtable table;
	struct list_head list;
	atomic_t pieces;
	atomic_t missed;
	bool tasks;
};

/* From plugsched_init(). Context of both: process, may sleep. 0, or -ENOMEM. */
int plugsched_data_create(struct plugsched_data *d);

/*
 * The same for data of tasks: every task has a piece from when it is first woken, idle
 * tasks too, until it is gone. Only when memory runs out during its fork it has none.
 */
int plugsched_task_data_create(struct plugsched_data *d);

/*
 * The piece of a key, or NULL. It is freed a grace period of RCU after its key's end.
 * Context: any with preemption off or under rcu_read_lock().
 */
void *plugsched_data_get(struct plugsched_data *d, const void *key);

/*
 * The piece of a key, a new one if there was none; NULL when memory runs out.
 * Context: as gfp allows, but never with a run queue's lock held.
 */
void *plugsched_data_add(struct plugsched_data *d, const void *key, gfp_t gfp);

/* The key goes away. Context: any but with a run queue's lock held. */
void plugsched_data_del(struct plugsched_data *d, const void *key);

#endif /* PLUGSCHED_API_H */
