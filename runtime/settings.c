// SPDX-License-Identifier: GPL-2.0-only
/*
 * Settings that the scheduler computes anew whenever a run queue goes offline or online
 * (update_sysctl(), kernel/sched/fair.c), which in an update all of them do. What the
 * administrator has written there is to stay.
 *
 * Context of everything here: stopped machine, one CPU, while no other touches a run
 * queue.
 */
#include <linux/string.h>

#include "plugsched.h"

void plugsched_settings_keep(void)
{
	struct plugsched_setting *s = plugsched_settings;

	for (; s < plugsched_settings + plugsched_nr_settings; s++)
		memcpy(&s->kept, s->value, s->size);
}

void plugsched_settings_restore(void)
{
	struct plugsched_setting *s = plugsched_settings;

	for (; s < plugsched_settings + plugsched_nr_settings; s++)
		memcpy(s->value, &s->kept, s->size);
}
