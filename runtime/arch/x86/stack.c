// SPDX-License-Identifier: GPL-2.0-only
/* x86: where a task's stack is. */
#include <linux/sched.h>

#include "plugsched.h"

unsigned long *plugsched_arch_stack(struct task_struct *p)
{
	return (unsigned long *)READ_ONCE(p->thread.sp);
}
