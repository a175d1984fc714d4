// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the kernel has the data that is looked through when this module is gone, and the
 * code that its jumps lead through, if they do not lead to it at once.
 */
#include <linux/minmax.h>
#include <linux/sched/task.h>
#include <linux/sysfs.h>

#include "plugsched.h"

static int show(char *buf, int at, const void *start, u64 size, const char *name)
{
	return sysfs_emit_at(buf, at, "%lx %llu %s\n", (unsigned long)start, size, name);
}

/* Context: process. */
ssize_t plugsched_layout_show(char *buf)
{
	const u8 *first = NULL, *end = NULL;
	unsigned long i;
	int n = 0;

	for (i = 0; i < plugsched_nr_layout; i++)
		n += show(buf, n, plugsched_layout[i].at, plugsched_layout[i].size,
			  plugsched_layout[i].name);
	n += show(buf, n, &init_task.thread, sizeof(init_task.thread), "init_task.thread");
	for (i = 0; i < plugsched_nr_redirects; i++) {
		const u8 *via = plugsched_redirects[i].via;

		if (!via)
			continue;
		first = first ? min(first, via) : via;
		end = max(end, via + PLUGSCHED_JUMP_MAX);
	}
	if (first)
		n += show(buf, n, first, end - first, "plugsched_via");
	return n;
}
