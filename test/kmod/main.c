// SPDX-License-Identifier: GPL-2.0-only
/*
 * schedtest: what a test needs inside of a kernel to prove hard things about a
 * live update of the scheduler. See README.md. For test guests only: a mistake in
 * what is written to it ends the machine.
 */
#define pr_fmt(fmt) "schedtest: " fmt

#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/module.h>

#include "schedtest.h"

static struct dentry *dir;
static unsigned long (*lookup_name)(const char *name);

unsigned long schedtest_lookup(const char *name)
{
	return lookup_name(name);
}

/* kallsyms_lookup_name() is not exported since 5.7, but a kprobe finds it. */
static int find_lookup(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int err = register_kprobe(&probe);

	if (err)
		return err;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);
	return 0;
}

static int __init schedtest_init(void)
{
	int err = find_lookup();

	if (err) {
		pr_err("cannot find kallsyms_lookup_name: %d\n", err);
		return err;
	}
	dir = debugfs_create_dir("schedtest", NULL);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	err = trap_setup(dir);
	if (err)
		goto out_dir;
	err = fail_setup(dir);
	if (err)
		goto out_trap;
	ret_setup(dir);
	fork_setup(dir);
	return 0;

out_trap:
	trap_cleanup();
out_dir:
	debugfs_remove_recursive(dir);
	return err;
}

static void __exit schedtest_exit(void)
{
	/* Waits for readers and writers; from here nobody can start anything. */
	debugfs_remove_recursive(dir);
	ret_cleanup();
	fail_cleanup();
	trap_cleanup();
}

module_init(schedtest_init);
module_exit(schedtest_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Traps in replaced code, failing allocations return probes and odd stacks, for tests of a live update");
