// SPDX-License-Identifier: GPL-2.0-only
/* The report that a rollback leaves behind: symbols only, no addresses. */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/module.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "plugsched.h"

#define REPORT_SIZE	16384

static char report[REPORT_SIZE];
static atomic_t used;

/* Add a line; what does not fit is left out. Context: any, NMI included. */
void plugsched_note(const char *fmt, ...)
{
	char line[256];
	va_list args;
	int at, n;

	va_start(args, fmt);
	n = vscnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	at = atomic_read(&used);
	do {
		if (at + n > REPORT_SIZE)
			return;
	} while (!atomic_try_cmpxchg(&used, &at, at + n));
	memcpy(report + at, line, n);
}

void plugsched_note_stack(const unsigned long *stack, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		plugsched_note("\t%pS\n", (void *)stack[i]);
}

void plugsched_report_clear(void)
{
	atomic_set(&used, 0);
}

/*
 * Say why in the kernel's log, which outlives the module. A reason that is from there it
 * has already, and whoever reads it must not take it for another.
 */
void plugsched_report_log(void)
{
	const char *end = memchr(report, '\n', atomic_read(&used));

	if (end && strncmp(report, PLUGSCHED_FROM_LOG, strlen(PLUGSCHED_FROM_LOG)))
		pr_notice("%s is left: %.*s\n", THIS_MODULE->name, (int)(end - report), report);
}

static ssize_t report_read(struct file *file, struct kobject *kobj, plugsched_bin_attribute *attr,
			   char *buf, loff_t off, size_t count)
{
	return memory_read_from_buffer(buf, count, &off, report, atomic_read(&used));
}

struct bin_attribute plugsched_report_attr = {
	.attr = { .name = "report", .mode = 0400 },
	.read = report_read,
};
