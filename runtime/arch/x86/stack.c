// SPDX-License-Identifier: GPL-2.0-only
/* x86: where a task's stack is. */
#include <linux/sched.h>

#include "leftovers.h"

unsigned long plugsched_arch_stack_pointer(const struct task_struct *p)
{
	return READ_ONCE(p->thread.sp);
}
