// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds what would lead into the module after it is gone. The scheduler's own timers,
 * files and so on are the kernel's; these come from what a developer added. What is
 * looked for, and what not, is in docs/develop/hooks.md.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sysfs.h>

#include "leftovers.h"
#include "plugsched.h"

#define FOUND_MAX	24
#define FOUND_LENGTH	128

static DEFINE_MUTEX(found_lock);	/* guards the text, one search runs at a time */
static char found[FOUND_MAX][FOUND_LENGTH];
static unsigned int nr_found;

void plugsched_found(const char *fmt, ...)
{
	va_list args;

	/* A stopper may be at work for who holds it: lockdep_assert_held() would not do. */
	WARN_ON_ONCE(!mutex_is_locked(&found_lock));
	if (nr_found < FOUND_MAX) {
		va_start(args, fmt);
		vscnprintf(found[nr_found], FOUND_LENGTH, fmt, args);
		va_end(args);
	}
	nr_found++;
}

static void look_at_stopped(void)
{
	plugsched_look_at_armed();
	plugsched_look_at_classes();
}

static int look_everywhere(void)
{
	int err;

	plugsched_look_at_queues();
	err = plugsched_stop_others(look_at_stopped);
	if (!err)
		err = plugsched_look_at_stacks();
	plugsched_look_at_named();
	plugsched_look_at_open();
	plugsched_look_at_probes();
	return err;
}

/*
 * Returns -ENOTEMPTY when something was found.
 * Context: process, may sleep.
 */
int plugsched_leftovers_find(void)
{
	int err;

	might_sleep();
	mutex_lock(&found_lock);
	nr_found = 0;
	err = look_everywhere();
	if (!err && nr_found)
		err = -ENOTEMPTY;
	mutex_unlock(&found_lock);
	return err;
}

/*
 * Name who holds the module by a file, before anything is undone for its unloading:
 * -ENOTEMPTY, or -EBUSY when nobody is found. Context: process, may sleep.
 */
int plugsched_holders_find(void)
{
	int err = -EBUSY;

	might_sleep();
	mutex_lock(&found_lock);
	nr_found = 0;
	plugsched_look_at_open();
	if (nr_found)
		err = -ENOTEMPTY;
	mutex_unlock(&found_lock);
	return err;
}

/* One line each. Context: process. */
ssize_t plugsched_leftovers_show(char *buf)
{
	unsigned int i;
	ssize_t n = 0;

	mutex_lock(&found_lock);
	for (i = 0; i < min_t(unsigned int, nr_found, FOUND_MAX); i++)
		n += sysfs_emit_at(buf, n, "%s\n", found[i]);
	if (nr_found > FOUND_MAX)
		n += sysfs_emit_at(buf, n, "and %u more\n", nr_found - FOUND_MAX);
	mutex_unlock(&found_lock);
	return n;
}
