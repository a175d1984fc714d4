// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who asks for a rollback, and why. What carries it out is told by an irq_work, because
 * the one who asks may be an NMI, or hold any lock.
 */
#include <linux/irq_work.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "kernel.h"
#include "plugsched.h"

static atomic_t raised;
static bool repairs;		/* the scheduler is broken: repair what it did to tasks */
static struct irq_work *kick;

/*
 * Ask for a rollback; the first reason counts. With @repair, what the scheduler did to
 * its tasks is repaired. -ENODEV: this module's scheduler does not run; -EALREADY: a
 * rollback is due anyway.
 * Context: any, NMI included, whatever locks are held.
 */
int plugsched_alarm(bool repair, const char *fmt, ...)
{
	char reason[200];
	va_list args;

	if (!READ_ONCE(plugsched_self.active))
		return -ENODEV;
	if (atomic_cmpxchg(&raised, 0, 1))
		return -EALREADY;
	WRITE_ONCE(repairs, repair);
	va_start(args, fmt);
	vscnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	plugsched_note("%s\n", strim(reason));
	irq_work_queue(kick);
	return 0;
}

/* Context: any. */
bool plugsched_alarm_raised(void)
{
	return atomic_read(&raised);
}

/* Context: any, while the alarm is raised. */
bool plugsched_alarm_repairs(void)
{
	return READ_ONCE(repairs);
}

/* Context: stopped machine. */
void plugsched_alarm_reset(void)
{
	WRITE_ONCE(repairs, false);
	atomic_set(&raised, 0);
}

/*
 * fn is called in hard interrupt context after each alarm.
 *
 * The work is not in the module. Nodes of a queue or a tree lead to each other, and go on
 * doing so when they have left (irq_work_single(), rb_erase()): the kernel's own would seem
 * to lead to a module that is gone.
 *
 * Context: module loading, may sleep.
 */
int plugsched_alarm_init(void (*fn)(struct irq_work *work))
{
	kick = kmalloc(sizeof(*kick), GFP_KERNEL);
	if (!kick)
		return -ENOMEM;
	*kick = IRQ_WORK_INIT_HARD(fn);
	return 0;
}

/* Context: process, may sleep; no alarm can be raised any more. */
void plugsched_alarm_exit(void)
{
	irq_work_sync(kick);
	kfree(kick);
}
