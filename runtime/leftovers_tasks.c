// SPDX-License-Identifier: GPL-2.0-only
/* Tasks that are inside of the module, or will be. */
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/stacktrace.h>

#include "config.h"
#include "leftovers.h"
#include "plugsched.h"

/* A kernel thread that has not begun has nothing on its stack. */
static const void *future_of(struct task_struct *p)
{
#ifdef PLUGSCHED_HAVE_KTHREAD_FUNC
	if (p->flags & PF_KTHREAD)
		return kthread_func(p);
#endif
	return NULL;
}

static int look_at_stack(struct task_struct *p, void *stack)
{
	const void *begin = future_of(p);
	unsigned long *frames = stack;
	int i, nr;

	if (p == current)
		return 0;
	nr = stack_trace_save_tsk(p, frames, PLUGSCHED_STACK_DEPTH, 0);
	for (i = 0; i < nr; i++) {
		if (plugsched_is_scheduler(&plugsched_self, frames[i])) {
			plugsched_found("task %d (%.16s) is in %ps", task_pid_nr(p), p->comm,
					(void *)frames[i]);
			return 0;
		}
	}
	if (begin && plugsched_is_scheduler(&plugsched_self, (unsigned long)begin))
		plugsched_found("task %d (%.16s) is to run %ps", task_pid_nr(p), p->comm, begin);
	return 0;
}

int plugsched_look_at_stacks(void)
{
	unsigned long *stack = kvmalloc_array(PLUGSCHED_STACK_DEPTH, sizeof(*stack), GFP_KERNEL);

	if (!stack)
		return -ENOMEM;
	plugsched_for_each_task(look_at_stack, stack);
	kvfree(stack);
	return 0;
}
