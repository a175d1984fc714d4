// SPDX-License-Identifier: GPL-2.0-only
/* What came of the last update: its figures, and what forbade it. */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/kallsyms.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/timekeeping.h>

#include "plugsched.h"

/*
 * Guards what is shown of the last update. It is not held while the machine
 * stops: a reader that waits has a frame in this module, which would forbid the
 * removal that it waits for.
 */
static DEFINE_MUTEX(figures_lock);
static struct plugsched_update last;	/* the last finished update */
static u64 last_finished;		/* CLOCK_BOOTTIME, 0: there was none */
static struct plugsched_busy busy[PLUGSCHED_BUSY_MAX];
static unsigned int nr_busy;
static char conflict[KSYM_NAME_LEN];	/* a copy: the module that named it may go */

/* Let /sys/kernel/plugsched lead to the running scheduler's files. A failure only costs that. */
static void link_to(const struct plugsched_module *to)
{
	sysfs_remove_link(kernel_kobj, "plugsched");
	if (to && sysfs_create_link(kernel_kobj, to->files, "plugsched"))
		pr_warn("no link in /sys/kernel\n");
}

/* Context: process. */
void plugsched_outcome_publish(const struct plugsched_update *u, int err)
{
	mutex_lock(&figures_lock);
	nr_busy = min_t(unsigned int, atomic_read(&u->nr_busy), PLUGSCHED_BUSY_MAX);
	memcpy(busy, u->busy, nr_busy * sizeof(*busy));
	strscpy(conflict, u->conflict ?: "", sizeof(conflict));
	if (!err) {
		last = *u;
		/* A rollback is published later than it was. */
		last_finished = ktime_get_boottime_ns() -
				(ktime_get_ns() - u->job.ended);
	}
	mutex_unlock(&figures_lock);
	if (!err)
		link_to(u->to);
}

static u64 span(enum plugsched_time from, enum plugsched_time to)
{
	return last.time[to] - last.time[from];
}

static ssize_t show_last(char *buf)
{
	const struct { const char *name; u64 value; } figures[] = {
		{ "cpus", last.job.cpus },
		{ "threads", atomic_read(&last.threads) + atomic_read(&last.stopped) },
		{ "threads_stopped", atomic_read(&last.stopped) },
		{ "scan_ns", last.scan_ns },
		{ "stop_machine_ns", last.job.ended - last.job.begun },
		{ "gather_ns", last.job.gathered - last.job.begun },
		{ "enter_ns", last.time[PLUGSCHED_T_STOPPED] - last.job.gathered },
		{ "handler_ns", span(PLUGSCHED_T_STOPPED, PLUGSCHED_T_REBUILT) },
		{ "stack_check_ns", span(PLUGSCHED_T_STOPPED, PLUGSCHED_T_CHECKED) },
		{ "clear_ns", span(PLUGSCHED_T_CHECKED, PLUGSCHED_T_CLEARED) },
		{ "redirect_ns", span(PLUGSCHED_T_CLEARED, PLUGSCHED_T_REDIRECTED) },
		{ "rebuild_ns", span(PLUGSCHED_T_REDIRECTED, PLUGSCHED_T_REBUILT) },
		{ "leave_ns", last.job.ended - last.time[PLUGSCHED_T_REBUILT] },
		{ "finished_boottime_ns", last_finished },
	};
	unsigned int i;
	ssize_t n;

	n = sysfs_emit_at(buf, 0, "direction %s\n",
			  !last.to ? "remove" : last.from ? "replace" : "install");
	for (i = 0; i < ARRAY_SIZE(figures); i++)
		n += sysfs_emit_at(buf, n, "%s %llu\n", figures[i].name, figures[i].value);
	return n;
}

/* One figure a line. Context: process. */
ssize_t plugsched_outcome_show(char *buf)
{
	ssize_t n;

	mutex_lock(&figures_lock);
	n = last_finished ? show_last(buf) : 0;
	mutex_unlock(&figures_lock);
	return n;
}

static size_t show_busy(char *text, size_t size)
{
	size_t n = 0;
	unsigned int i, j;

	if (conflict[0])
		n += scnprintf(text, size, "function %s is hooked by something else\n", conflict);
	for (i = 0; i < nr_busy; i++) {
		const struct plugsched_busy *b = &busy[i];

		n += scnprintf(text + n, size - n, "task %d (%s): ", b->pid, b->comm);
		if (b->err)
			n += scnprintf(text + n, size - n, "stack cannot be unwound (%d)\n",
				       b->err);
		else
			n += scnprintf(text + n, size - n, "is in %pS\n", (void *)b->frame);
		for (j = 0; j < b->nr; j++)
			n += scnprintf(text + n, size - n, "\t%pS\n", (void *)b->stack[j]);
	}
	return n;
}

/*
 * Read from what forbade the last update. Symbols only: no addresses.
 * Context: process, may sleep.
 */
ssize_t plugsched_outcome_read_busy(char *buf, loff_t off, size_t count)
{
	const size_t size = PLUGSCHED_BUSY_MAX * (PLUGSCHED_BUSY_DEPTH + 1) * 160;
	ssize_t ret;
	char *text;
	size_t n;

	text = kvmalloc(size, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	mutex_lock(&figures_lock);
	n = show_busy(text, size);
	mutex_unlock(&figures_lock);
	ret = memory_read_from_buffer(buf, count, &off, text, n);
	kvfree(text);
	return ret;
}
