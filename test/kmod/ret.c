// SPDX-License-Identifier: GPL-2.0-only
/*
 * A return probe, as SystemTap sets them: not through ftrace's files, which look at
 * the symbol first, but with register_kretprobe().
 */
#define pr_fmt(fmt) "schedtest: ret: " fmt

#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "schedtest.h"

/* Protects the probe and its name. */
static DEFINE_MUTEX(ret_mutex);
static struct kretprobe probe;
static char symbol[128];
static bool probing;
static atomic_t returns;

static int ret_handler(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	atomic_inc(&returns);
	return 0;
}

/* ret_mutex is held. */
static void stop(void)
{
	if (probing)
		unregister_kretprobe(&probe);
	probing = false;
}

/* ret_mutex is held. */
static int start(const char *name)
{
	int err;

	strscpy(symbol, name, sizeof(symbol));
	atomic_set(&returns, 0);
	probe = (struct kretprobe){
		.kp.symbol_name = symbol,
		.handler = ret_handler,
	};
	err = register_kretprobe(&probe);
	probing = !err;
	return err;
}

static ssize_t ret_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	char line[sizeof(symbol)] = "";
	char *name;
	int err = 0;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, count))
		return -EFAULT;
	name = strim(line);
	mutex_lock(&ret_mutex);
	stop();
	if (strcmp(name, "off"))
		err = start(name);
	mutex_unlock(&ret_mutex);
	return err ? err : count;
}

static int ret_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%d\n", atomic_read(&returns));
	return 0;
}

static int ret_open(struct inode *inode, struct file *file)
{
	return single_open(file, ret_show, NULL);
}

static const struct file_operations ret_fops = {
	.owner = THIS_MODULE,
	.open = ret_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
	.write = ret_write,
};

void ret_setup(struct dentry *dir)
{
	debugfs_create_file("ret", 0600, dir, NULL, &ret_fops);
}

void ret_cleanup(void)
{
	mutex_lock(&ret_mutex);
	stop();
	mutex_unlock(&ret_mutex);
}
