// SPDX-License-Identifier: GPL-2.0-only
/* What was found that leads into the module, one line each. */
#include <linux/kernel.h>
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

/* A search begins, and ends with how many were found. Context of both: process. */
void plugsched_found_begin(void)
{
	mutex_lock(&found_lock);
	nr_found = 0;
}

unsigned int plugsched_found_end(void)
{
	unsigned int nr = nr_found;

	mutex_unlock(&found_lock);
	return nr;
}

/* One line each. Context: process. */
ssize_t plugsched_found_show(char *buf)
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
