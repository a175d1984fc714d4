// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading prepares and changes nothing: the update is ordered through the module's
 * files, see sysfs.c.
 */
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "plugsched.h"

static int __init load(void)
{
	int err;

	err = plugsched_guard_init();
	if (err)
		return err;
	plugsched_stop_init();
	err = plugsched_watchdog_init();
	if (err)
		goto out_guard;
	err = plugsched_rollback_init();
	if (err)
		goto out_watchdog;
	err = plugsched_arch_init();
	if (err)
		goto out_rollback;
	err = plugsched_hooks_init();
	if (err)
		goto out_arch;
	err = plugsched_sysfs_init();
	if (err)
		goto out_hooks;
	return 0;

out_hooks:
	plugsched_hooks_exit();
out_arch:
	plugsched_arch_exit();
out_rollback:
	plugsched_rollback_exit();
out_watchdog:
	plugsched_watchdog_exit();
out_guard:
	plugsched_guard_exit();
	return err;
}

/* Not in .exit.text: a forced unload is found here by the update, see self.c. */
static void unload(void)
{
	plugsched_forced_exit();
	plugsched_sysfs_exit();
	plugsched_hooks_exit();
	plugsched_guard_exit();
	plugsched_rollback_exit();
	plugsched_stop_exit();
	plugsched_watchdog_exit();
	plugsched_arch_exit();
	plugsched_text_release();
	/* Callbacks that the module's scheduler has ordered lead to the kernel's text; be sure. */
	rcu_barrier();
}

module_init(load);
module_exit(unload);
MODULE_DESCRIPTION("A replacement for the kernel's scheduler");
MODULE_LICENSE("GPL");
