// SPDX-License-Identifier: GPL-2.0-only
/*
 * Settings that the scheduler computes anew whenever a run queue goes offline or online
 * (update_sysctl(), kernel/sched/fair.c), which in an update all of them do. What the
 * administrator has written there is to stay.
 */
#include <linux/kernel.h>

#include "config.h"
#include "plugsched.h"

#define PLUGSCHED_DECLARE(name) extern unsigned int name;
PLUGSCHED_SETTINGS(PLUGSCHED_DECLARE)

#define PLUGSCHED_ADDRESS(name) &name,
static unsigned int *const settings[] = { PLUGSCHED_SETTINGS(PLUGSCHED_ADDRESS) };
static unsigned int kept[ARRAY_SIZE(settings)];

/* Context of both: stopped machine, one CPU, before and after all others' work. */
void plugsched_settings_keep(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		kept[i] = *settings[i];
}

void plugsched_settings_restore(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		*settings[i] = kept[i];
}
