/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler's own declarations. Its sched.h relies on what its units include
 * before it.
 */
#ifndef PLUGSCHED_INTERNAL_H
#define PLUGSCHED_INTERNAL_H

#include <linux/sched/autogroup.h>
#include <linux/sched/clock.h>
#include <linux/sched/cputime.h>
#include <linux/sched/hotplug.h>
#include <linux/sched/isolation.h>
#if __has_include(<linux/sched/posix-timers.h>) /* later than 5.10, whose sched.h needs none of it */
#include <linux/sched/posix-timers.h>
#endif
#include <linux/sched/rt.h>
/* 5.10's hides from modules what inline functions of the scheduler's header call. */
#pragma push_macro("MODULE")
#undef MODULE
#include <asm/tlbflush.h>
#pragma pop_macro("MODULE")

#include "config.h"
#include "sched.h"

/* The kernel's own copies of what the module has too; the plain names are its. */
int __orig_wake_up_process(struct task_struct *p);
int __orig_sched_setscheduler_nocheck(struct task_struct *p, int policy,
				      const struct sched_param *param);
#ifdef task_rq_lock /* a macro, for static analysis, over a function */
struct rq *__orig__task_rq_lock(struct task_struct *p, struct rq_flags *rf);
#define __orig_task_rq_lock __orig__task_rq_lock
#else
struct rq *__orig_task_rq_lock(struct task_struct *p, struct rq_flags *rf);
#endif
#ifndef PLUGSCHED_HAVE_RQ_SPINLOCK
void __orig_raw_spin_rq_lock_nested(struct rq *rq, int subclass);
#ifdef PLUGSCHED_HAVE_RQ_UNLOCK
void __orig_raw_spin_rq_unlock(struct rq *rq);
#endif
#endif
void __orig_update_rq_clock(struct rq *rq);
#ifdef PLUGSCHED_HAVE_FAIR_SERVER
void __orig_dl_server_stop(struct sched_dl_entity *dl_se);
#endif
#ifdef CONFIG_CFS_BANDWIDTH
void __orig_start_cfs_bandwidth(struct cfs_bandwidth *cfs_b);
#endif

/* A run queue's lock, without the module's functions. Context: interrupts off. */
static inline void plugsched_rq_lock(struct rq *rq)
{
#ifdef PLUGSCHED_HAVE_RQ_SPINLOCK
	raw_spin_lock(&rq->lock);
#else
	__orig_raw_spin_rq_lock_nested(rq, 0);
#endif
}

static inline void plugsched_rq_unlock(struct rq *rq)
{
#ifdef PLUGSCHED_HAVE_RQ_SPINLOCK
	raw_spin_unlock(&rq->lock);
#elif defined(PLUGSCHED_HAVE_RQ_UNLOCK)
	__orig_raw_spin_rq_unlock(rq);
#else
	raw_spin_rq_unlock(rq);
#endif
}

/* kernel/sched/core.c: how a CPU that goes offline gets rid of its tasks. */
#ifdef PLUGSCHED_HAVE_PUSH_WORK
DECLARE_PER_CPU(struct cpu_stop_work, push_work);
#endif

#ifdef PLUGSCHED_HAVE_FEATURES
extern const char * const sched_feat_names[];
extern const char * const __orig_sched_feat_names[];
extern unsigned int __orig_sysctl_sched_features;
extern struct static_key __orig_sched_feat_keys[];
#endif

#ifdef CONFIG_FAIR_GROUP_SCHED
/* What a group has for a CPU; the root group has the run queue's, and no entity. */
static inline struct cfs_rq *plugsched_group_queue(struct task_group *tg, int cpu)
{
#ifdef PLUGSCHED_HAVE_GROUP_ENTITIES
	return tg->cfs_rq[cpu];
#else
	return tg_cfs_rq(tg, cpu);
#endif
}

static inline struct sched_entity *plugsched_group_entity(struct task_group *tg, int cpu)
{
#ifdef PLUGSCHED_HAVE_GROUP_ENTITIES
	return tg->se[cpu];
#else
	return tg_se(tg, cpu);
#endif
}
#endif

/* Where groups have places of their own in trees, they may be delayed as tasks are. */
#if defined(PLUGSCHED_HAVE_SCHED_DELAYED) && !defined(PLUGSCHED_HAVE_H_LOAD)
#define PLUGSCHED_GROUPS_DELAYED
/* kernel/sched/fair.c: static; the build makes the module's known to the linker. */
int dequeue_entities(struct rq *rq, struct sched_entity *se, int flags);
int __orig_dequeue_entities(struct rq *rq, struct sched_entity *se, int flags);
#endif

#ifdef PLUGSCHED_HAVE_SCX
/* kernel/sched/ext/internal.h */
extern struct scx_sched *scx_root;
#endif

/*
 * Whether a BPF scheduler (sched_ext) runs. Before this says so, and when it does not say
 * so any more, one that begins or ends has no tasks and nothing in the run queues; whoever
 * makes it begin is inside of a function that an update replaces. Context: any.
 */
static inline bool plugsched_bpf_scheduler(void)
{
#ifdef PLUGSCHED_HAVE_SCX
	return READ_ONCE(scx_root);
#else
	return false;
#endif
}

/* Context: any. */
static inline bool plugsched_bpf_task(const struct task_struct *p)
{
#ifdef PLUGSCHED_HAVE_SCX
	return READ_ONCE(p->sched_class) == &ext_sched_class;
#else
	return false;
#endif
}

/* A sleeper that is only kept on its queue until it has paid what it owes others. */
static inline bool plugsched_delayed(const struct task_struct *p)
{
#ifdef PLUGSCHED_HAVE_SCHED_DELAYED
	return READ_ONCE(p->se.sched_delayed);
#else
	return false;
#endif
}

/* What is on the deadline queue for tasks of another class, and is no task. */
static inline bool plugsched_is_server(const struct sched_dl_entity *dl_se)
{
#ifdef PLUGSCHED_HAVE_DL_SERVER
	return dl_se->dl_server;
#else
	return false;
#endif
}

/* Tasks on the deadline queue. Context: any. */
static inline unsigned long plugsched_nr_deadline(const struct rq *rq)
{
	unsigned long nr = READ_ONCE(rq->dl.dl_nr_running);

#ifdef PLUGSCHED_HAVE_FAIR_SERVER
	if (nr && !RB_EMPTY_NODE(&rq->fair_server.rb_node))
		nr--;
#endif
#ifdef PLUGSCHED_HAVE_EXT_SERVER
	if (nr && !RB_EMPTY_NODE(&rq->ext_server.rb_node))
		nr--;
#endif
	return nr;
}

#ifdef PLUGSCHED_HAVE_TASK_STATE
#define plugsched_state(p) ((p)->__state)
#else
#define plugsched_state(p) ((p)->state)
#endif

/*
 * Awake, but on no queue: a broken scheduler has lost it. A wake-up or a fork passes
 * through this, quickly. Context: any.
 */
static inline bool plugsched_lost(const struct task_struct *p)
{
	unsigned int state = READ_ONCE(plugsched_state(p));

	return !READ_ONCE(p->on_cpu) && !READ_ONCE(p->on_rq) &&
	       (state == TASK_RUNNING || state == TASK_WAKING);
}

#endif /* PLUGSCHED_INTERNAL_H */
