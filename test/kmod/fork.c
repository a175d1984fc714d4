// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stack as that of a task that makes another one, for as long as the writer sleeps: a
 * return address in copy_process(), and a word that leads to what has a scheduling class.
 */
#define pr_fmt(fmt) "schedtest: fork: " fmt

#include <linux/compiler.h>
#include <linux/debugfs.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "schedtest.h"

/* Context: process, until a signal comes. */
static void sleep_over(unsigned long code, unsigned long data)
{
	volatile unsigned long words[] = { code + 16, data };

	barrier_data(words);
	schedule_timeout_interruptible(MAX_SCHEDULE_TIMEOUT);
	barrier_data(words);
}

/* "task" is a task with a stack of its own; "word" is anything else. */
static int look_like_fork(const char *kind, const char *symbol)
{
	unsigned long code = schedtest_lookup("copy_process"), class = schedtest_lookup(symbol);
	unsigned long *stack = (void *)get_zeroed_page(GFP_KERNEL);
	struct task_struct *p = kzalloc(sizeof(*p), GFP_KERNEL);
	int err = -ENOMEM;

	if (stack && p) {
		*stack = STACK_END_MAGIC;
		p->sched_class = (void *)class;
		p->stack = strcmp(kind, "task") ? p : (void *)stack;
		err = code && class ? 0 : -ENOENT;
	}
	if (!err)
		sleep_over(code, (unsigned long)p);
	kfree(p);
	free_page((unsigned long)stack);
	return err;
}

static ssize_t fork_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	char line[128] = "", *symbol = line, *kind;
	int err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, count))
		return -EFAULT;
	kind = strsep(&symbol, " ");
	if (!symbol)
		return -EINVAL;
	err = look_like_fork(kind, strim(symbol));
	return err ? err : count;
}

static const struct file_operations fork_fops = {
	.owner = THIS_MODULE,
	.write = fork_write,
};

void fork_setup(struct dentry *dir)
{
	debugfs_create_file("fork", 0200, dir, NULL, &fork_fops);
}
