// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads along what the kernel prints: a warning from the scheduler, or about what
 * only a scheduler can cause, is a reason to go back. The console trace event sees
 * every message, whatever the console's log level.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/ctype.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "kernel.h"
#include "plugsched.h"

/*
 * Said by a kernel whose scheduler is broken, wherever the code is. A message may
 * begin with the name of a program that crashed, at most 15 characters that a user
 * chose: whatever is looked for at the beginning is longer.
 */
static const char * const alarms[] = {
	"BUG: scheduling while atomic: ",			/* __schedule_bug() */
	"BUG: sleeping function called from invalid context",	/* __might_resched() */
	"watchdog: BUG: soft lockup - CPU#",			/* watchdog_timer_fn() */
	"watchdog: Watchdog detected hard LOCKUP",		/* watchdog_hardlockup_check() */
	"NMI watchdog: Watchdog detected hard LOCKUP",		/* before 6.5 */
	"BUG: workqueue lockup - pool",				/* wq_watchdog_timer_fn() */
	"rcu: INFO: rcu_sched ",				/* stalls */
	"rcu: INFO: rcu_preempt ",
};

/* What begins a report that names functions later on. */
static const char * const openings[] = {
	"BUG: unable to handle page fault",
	"BUG: kernel NULL pointer dereference",
	"general protection fault, ",
	"kernel BUG at ",
};

/* A report's lines follow each other; another one's do not take this long to begin. */
#define REPORT_JIFFIES	HZ

static char opening[128];
static unsigned long opened;
static bool probing;

static bool starts(const char *text, size_t len, const char *part)
{
	return len >= strlen(part) && !memcmp(text, part, strlen(part));
}

static bool starts_any(const char *text, size_t len, const char * const *parts, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (starts(text, len, parts[i]))
			return true;
	return false;
}

/*
 * The first line of WARN(): "WARNING: CPU: 1 PID: 2 at " and, from 6.19 on,
 * "WARNING: file.c:3 at ". Behind a program's name there would be a bracket first.
 */
static bool is_warning(const char *text, size_t len)
{
	const char *at = strnstr(text, " at ", len);

	return starts(text, len, "WARNING: ") && at && at - text >= TASK_COMM_LEN &&
	       isdigit(at[-1]) && !memchr(text, '[', at - text);
}

/* Context: any that prints, NMI included. */
static void read_along(void *data, const char *text, size_t len)
{
	char name[MODULE_NAME_LEN + 3];
	bool first = false;

	if (starts_any(text, len, alarms, ARRAY_SIZE(alarms))) {
		plugsched_rescue(true, "the kernel says: %.*s", (int)len, text);
		return;
	}
	if (is_warning(text, len) || starts_any(text, len, openings, ARRAY_SIZE(openings))) {
		scnprintf(opening, sizeof(opening), "%.*s", (int)len, text);
		opened = jiffies;
		first = true;
	}
	if (!opening[0] || time_after(jiffies, opened + REPORT_JIFFIES))
		return;
	scnprintf(name, sizeof(name), "[%s]", THIS_MODULE->name);
	if (!strnstr(text, name, len))
		return;
	if (first)
		plugsched_rescue(true, "the kernel says: %s", opening);
	else
		plugsched_rescue(true, "the kernel says: %s, below %.*s", opening, (int)len, text);
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
