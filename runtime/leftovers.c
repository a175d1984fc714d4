// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds what would lead into the module after it is gone. The scheduler's own timers,
 * files and so on are the kernel's; these come from what a developer added. What is
 * looked for, and what not, is in docs/develop/hooks.md.
 */
#include <linux/errno.h>
#include <linux/kernel.h>

#include "leftovers.h"
#include "plugsched.h"

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
	plugsched_found_begin();
	err = look_everywhere();
	if (plugsched_found_end() && !err)
		err = -ENOTEMPTY;
	return err;
}

/*
 * Name who holds the module by a file, before anything is undone for its unloading:
 * -ENOTEMPTY, or -EBUSY when nobody is found. Context: process, may sleep.
 */
int plugsched_holders_find(void)
{
	might_sleep();
	plugsched_found_begin();
	plugsched_look_at_open();
	return plugsched_found_end() ? -ENOTEMPTY : -EBUSY;
}
