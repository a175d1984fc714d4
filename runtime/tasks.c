// SPDX-License-Identifier: GPL-2.0-only
/* A walk over all tasks that sleeps in between: there may be a hundred thousand. */
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched/task.h>

#include "plugsched.h"

/* Return the first task whose number is not below *nr, with a reference, and its number. */
static struct task_struct *next_task_from(pid_t *nr)
{
	struct task_struct *p = NULL;
	struct pid *pid;

	rcu_read_lock();
	while ((pid = find_ge_pid(*nr, &init_pid_ns))) {
		*nr = pid_nr(pid);
		p = pid_task(pid, PIDTYPE_PID);
		if (p) {
			get_task_struct(p);
			break;
		}
		++*nr;
	}
	rcu_read_unlock();
	return p;
}

/*
 * Call fn for every task but the idle ones, until it returns other than 0. A task
 * that appears during the walk may be missed, and one that takes its leader's
 * number in exec: both have run meanwhile.
 * Context: process, may sleep.
 */
int plugsched_for_each_task(int (*fn)(struct task_struct *p, void *data), void *data)
{
	struct task_struct *p;
	pid_t nr = 1;
	int ret = 0;

	while (!ret && (p = next_task_from(&nr))) {
		ret = fn(p, data);
		put_task_struct(p);
		nr++;
		cond_resched();
	}
	return ret;
}
