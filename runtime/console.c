// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads along what the kernel prints: a warning from the scheduler, or about what
 * only a scheduler can cause, is a reason to go back. The console trace event sees
 * every message, whatever the console's log level.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "plugsched.h"

extern struct tracepoint __tracepoint_console;

/* Said by a kernel whose scheduler is broken, wherever the code is. */
static const char * const alarms[] = {
	"BUG: scheduling while atomic",			/* __schedule_bug() */
	"BUG: sleeping function called from invalid",	/* __might_resched() */
	"BUG: soft lockup",				/* watchdog_timer_fn() */
	"BUG: workqueue lockup",			/* wq_watchdog_timer_fn() */
	"Watchdog detected hard LOCKUP",
	"rcu: INFO: rcu_",				/* stalls */
	"sched: Unexpected reschedule of offline CPU",
};

/* What begins a report that names a function later on. */
static const char * const openings[] = {
	"WARNING: ", "BUG: ", "Oops: ", "general protection fault",
};

/* A report's lines follow each other; another one's do not take this long to begin. */
#define REPORT_JIFFIES	HZ

static char opening[100];
static unsigned long opened;
static bool probing;

static bool holds(const char *text, size_t len, const char *part)
{
	return strnstr(text, part, len);
}

/* Context: any that prints, NMI included. */
static void read_along(void *data, const char *text, size_t len)
{
	char name[MODULE_NAME_LEN + 3];
	bool fresh = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(alarms); i++) {
		if (holds(text, len, alarms[i])) {
			plugsched_rescue(true, "the kernel says: %.*s", (int)len, text);
			return;
		}
	}
	for (i = 0; i < ARRAY_SIZE(openings); i++) {
		if (holds(text, len, openings[i])) {
			scnprintf(opening, sizeof(opening), "%.*s", (int)len, text);
			opened = jiffies;
			fresh = true;
		}
	}
	if (!opening[0] || time_after(jiffies, opened + REPORT_JIFFIES))
		return;
	scnprintf(name, sizeof(name), "[%s]", THIS_MODULE->name);
	if (!holds(text, len, name))
		return;
	if (fresh)
		plugsched_rescue(true, "the kernel says: %.*s", (int)len, text);
	else
		plugsched_rescue(true, "the kernel says: %s, below %.*s", opening, (int)len,
				 skip_spaces(text));
}

/* Context: process. */
void plugsched_console_start(void)
{
	opening[0] = '\0';
	probing = !tracepoint_probe_register(&__tracepoint_console, read_along, NULL);
	if (!probing)
		pr_warn("warnings of the kernel are not watched\n");
}

void plugsched_console_stop(void)
{
	if (!probing)
		return;
	probing = false;
	tracepoint_probe_unregister(&__tracepoint_console, read_along, NULL);
	tracepoint_synchronize_unregister();
}
