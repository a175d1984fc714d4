// SPDX-License-Identifier: GPL-2.0-only
/*
 * A livepatch of a harmless function of the scheduler: procs_blocked in /proc/stat
 * is 4242 while it is in effect. A plain livepatch in all else, controlled through
 * /sys/kernel/livepatch/schedtest_livepatch/.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

/* Replaces nr_iowait() (kernel/sched/core.c). */
static unsigned int patched_nr_iowait(void)
{
	return 4242;
}

static struct klp_func funcs[] = {
	{ .old_name = "nr_iowait", .new_func = patched_nr_iowait },
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = funcs },	/* no name: the kernel itself */
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init schedtest_livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

/* The patch is disabled and no task is in it: until then the kernel holds the module. */
static void __exit schedtest_livepatch_exit(void)
{
}

module_init(schedtest_livepatch_init);
module_exit(schedtest_livepatch_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch of nr_iowait, for tests of a live update");
MODULE_INFO(livepatch, "Y");
