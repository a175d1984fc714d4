// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads the kernel's log: a warning from the scheduler, or about what only a
 * scheduler can cause, is a reason to roll back. It is read from the timer, not
 * where it is printed: that may be an NMI, and the console trace event warns there.
 */
#include <linux/ctype.h>
#include <linux/jiffies.h>
#include <linux/kmsg_dump.h>
#include <linux/module.h>
#include <linux/string.h>

#include "config.h"
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
	"------------[ cut here ]",	/* BUG(), WARN() */
};

/* A report's lines follow each other; another one's do not take this long to begin. */
#define REPORT_JIFFIES	(2 * HZ)

/* Notices are the least that count: what is below may repeat what a user wrote. */
#define LEVEL_MAX	5

/* At most so many lines a time: it is an interrupt. */
#define LINES_MAX	200

static char opening[128];
static unsigned long opened;
#ifdef PLUGSCHED_HAVE_KMSG_NOLOCK
static struct kmsg_dumper position = { .active = true };
#else
static struct kmsg_dump_iter position;
#endif
static bool positioned;

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

static void judge(const char *text, size_t len)
{
	char name[MODULE_NAME_LEN + 3];
	bool first = false;

	if (starts_any(text, len, alarms, ARRAY_SIZE(alarms))) {
		plugsched_alarm(true, PLUGSCHED_FROM_LOG "%.*s", (int)len, text);
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
	/* Behind a question mark: left on the stack by something earlier. */
	if (!strnstr(text, name, len) || *skip_spaces(text) == '?')
		return;
	if (first)
		plugsched_alarm(true, PLUGSCHED_FROM_LOG "%s", opening);
	else
		plugsched_alarm(true, PLUGSCHED_FROM_LOG "%s, below %.*s", opening,
				(int)len, text);
}

/*
 * The text of a line "<4>[   12.345678] text", or NULL: what user space has written
 * has a facility in the upper bits of the number. Behind the time there may be the
 * caller, "[    T1]" (CONFIG_PRINTK_CALLER).
 */
static const char *text_of(const char *line)
{
	unsigned int priority;
	int skip = 0;

	if (sscanf(line, "<%u>%n", &priority, &skip) != 1 || !skip || priority > LEVEL_MAX)
		return NULL;
	line += skip;
	while (*line == '[') {
		line = strchr(line, ']');
		if (!line)
			return NULL;
		line++;
	}
	return *line == ' ' ? line + 1 : line;
}

/* Look at what was printed since the last call. Context: hard interrupt, one at a time. */
void plugsched_kmsg_read(void)
{
	static char line[256];
	const char *text;
	unsigned int i;
	size_t len;

	for (i = 0; i < LINES_MAX; i++) {
		if (!kmsg_dump_get_line(&position, true, line, sizeof(line) - 1, &len))
			return;
		if (len && line[len - 1] == '\n')
			len--;
		line[len] = '\0';
		text = text_of(line);
		if (text)
			judge(text, strlen(text));
	}
}

/*
 * From now on, unless there is a position already. Context: nobody reads: process before
 * the switch, or stopped machine.
 */
void plugsched_kmsg_start(bool anew)
{
	if (positioned && !anew)
		return;
	positioned = true;
	opening[0] = '\0';
	kmsg_dump_rewind(&position);
	position.cur_seq = position.next_seq;
}

/* Context: as above. */
void plugsched_kmsg_stop(void)
{
	positioned = false;
}
