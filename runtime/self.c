// SPDX-License-Identifier: GPL-2.0-only
/* What this module says of itself to other schedulers. */
#include <linux/module.h>

#include "api.h"
#include "plugsched.h"

static DEFINE_MUTEX(update_lock);

struct plugsched_module plugsched_self = {
	.abi = PLUGSCHED_ABI,
	.owner = THIS_MODULE,
	.lock = &update_lock,
	.redirects = plugsched_redirects,
	.nr_redirects = &plugsched_nr_redirects,
	.ranges = plugsched_ranges,
	.nr_ranges = &plugsched_nr_ranges,
	.tables = plugsched_tables,
	.nr_tables = &plugsched_nr_tables,
	.holes = plugsched_holes,
	.nr_holes = &plugsched_nr_holes,
	.runtime_start = plugsched_runtime_start,
	.runtime_end = plugsched_runtime_end,
	.features = &plugsched_features,
	.values = plugsched_values,
	.nr_values = &plugsched_nr_values,
	.rq_ops = &plugsched_rq_ops,
	.leaving = plugsched_hooks_leaving,
	.staying = plugsched_staying,
	.rebuild = plugsched_rebuild,
	.has_classes = plugsched_has_classes,
	.entered = plugsched_guard_enter,
	.left = plugsched_guard_leave,
};

/* Where another module finds it. Context: any. */
struct plugsched_module *plugsched_self_here(void)
{
	return &plugsched_self;
}

/*
 * Whether an address is in the code of m's scheduler. The runtime's own code is not: it
 * has nothing of the scheduler on the stack, and unloading waits for it by other means
 * (files are drained, threads stopped, timers and probes synchronised with).
 * Context: any.
 */
bool plugsched_is_scheduler(const struct plugsched_module *m, unsigned long addr)
{
	return within_module(addr, m->owner) &&
	       !(addr >= (unsigned long)m->runtime_start &&
		 addr < (unsigned long)m->runtime_end);
}

/* Context: any. */
const char *plugsched_name_of(const struct plugsched_module *m)
{
	return m ? m->owner->name : "the kernel's own scheduler";
}
