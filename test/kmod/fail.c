// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failing allocations: the Nth that the scheduler module makes itself, seen by its
 * return address, gets NULL. With N = 1, 2, ... a test meets every step at which an
 * update can run out of memory.
 */
#define pr_fmt(fmt) "schedtest: fail: " fmt

#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "schedtest.h"

/*
 * What the allocating macros and inline functions of 5.10 to 6.12 call, and
 * kobject_create_and_add(), whose failure is an allocation's. Each returns NULL on
 * failure, and none of them ends in a jump to another.
 */
static const char * const names[] = {
	"__kmalloc", "__kmalloc_noprof",
	"__kmalloc_node", "__kmalloc_node_noprof",
	"kmalloc_trace", "kmalloc_trace_noprof", "__kmalloc_cache_noprof",
	"kmalloc_node_trace", "kmalloc_node_trace_noprof", "__kmalloc_cache_node_noprof",
	"kmem_cache_alloc_trace", "kmem_cache_alloc_node_trace",
	"kmalloc_large", "kmalloc_large_noprof", "__kmalloc_large_noprof",
	"kmalloc_order", "kmalloc_order_trace",
	"kvmalloc_node", "kvmalloc_node_noprof", "__kvmalloc_node_noprof",
	"kmem_cache_alloc", "kmem_cache_alloc_noprof",
	"kmemdup", "kmemdup_noprof", "kstrdup", "kstrdup_noprof",
	"vmalloc", "vmalloc_noprof", "vzalloc", "vzalloc_noprof",
	"__vmalloc", "__vmalloc_noprof", "vmap",
	"__alloc_percpu", "pcpu_alloc_noprof", "alloc_cpumask_var_node",
	"kobject_create_and_add",
};

static struct kprobe probes[ARRAY_SIZE(names)];
static bool probing[ARRAY_SIZE(names)];

/* Protects the probes and what they look for; that only changes while there are none. */
static DEFINE_MUTEX(fail_mutex);
static unsigned int nth;	/* 0: only count */
static char comm[TASK_COMM_LEN];
static bool active;

static atomic_t seen;
/* Which call failed, in words, because the module may be gone when they are read. */
static char failed[128] = "none";

static struct module *(*module_at)(unsigned long addr);

/* Stands in for the function that fails. */
static notrace noinline void *return_null(void)
{
	return NULL;
}

/* Preemption is off, so that the module stays. */
static bool called_by_scheduler(unsigned long caller)
{
	struct module *m = module_at(caller);

	return m && (!strcmp(m->name, "scheduler") || strstarts(m->name, "plugsched_"));
}

static int fail_entry(struct kprobe *p, struct pt_regs *regs)
{
	unsigned long caller = regs_get_kernel_stack_nth(regs, 0);

	if (!called_by_scheduler(caller))
		return 0;
	if (strcmp(comm, "*") && strcmp(comm, current->comm))
		return 0;
	if (atomic_inc_return(&seen) != nth)
		return 0;
	snprintf(failed, sizeof(failed), "%s called from %pS", p->symbol_name, (void *)caller);
	instruction_pointer_set(regs, (unsigned long)return_null);
	return 1;
}

/* A probe with this is never optimised into a jump, which could not lead elsewhere. */
static void fail_post(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

/* fail_mutex is held. */
static void stop(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (probing[i])
			unregister_kprobe(&probes[i]);
		probing[i] = false;
	}
	active = false;
}

/* fail_mutex is held. Functions that the kernel does not have are passed over. */
static int start(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!schedtest_lookup(names[i]))
			continue;
		probes[i] = (struct kprobe){
			.symbol_name = names[i],
			.pre_handler = fail_entry,
			.post_handler = fail_post,
		};
		err = register_kprobe(&probes[i]);
		if (err) {
			pr_err("%s cannot be probed: %d\n", names[i], err);
			stop();
			return err;
		}
		probing[i] = true;
	}
	active = true;
	return 0;
}

static int configure(char *line)
{
	char *number = strsep(&line, " ");
	unsigned int n;

	if (!line && !strcmp(number, "off"))
		return 0;
	if (!line || !*line || strlen(line) >= sizeof(comm) || kstrtouint(number, 10, &n))
		return -EINVAL;
	strscpy(comm, line, sizeof(comm));
	nth = n;
	strscpy(failed, "none", sizeof(failed));
	atomic_set(&seen, 0);
	return start();
}

static ssize_t fail_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	char line[32] = "";
	int err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buf, count))
		return -EFAULT;
	mutex_lock(&fail_mutex);
	stop();
	err = configure(strim(line));
	mutex_unlock(&fail_mutex);
	return err ? err : count;
}

static int fail_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	mutex_lock(&fail_mutex);
	seq_printf(m, "seen %d\n", atomic_read(&seen));
	seq_printf(m, "failed %s\n", failed);
	if (active) {
		seq_puts(m, "watching");
		for (i = 0; i < ARRAY_SIZE(names); i++)
			if (probing[i])
				seq_printf(m, " %s", names[i]);
		seq_puts(m, "\n");
	}
	mutex_unlock(&fail_mutex);
	return 0;
}

static int fail_open(struct inode *inode, struct file *file)
{
	return single_open(file, fail_show, NULL);
}

static const struct file_operations fail_fops = {
	.owner = THIS_MODULE,
	.open = fail_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
	.write = fail_write,
};

int fail_setup(struct dentry *dir)
{
	module_at = (void *)schedtest_lookup("__module_address");
	if (!module_at) {
		pr_err("the kernel lacks __module_address\n");
		return -ENOENT;
	}
	debugfs_create_file("fail", 0600, dir, NULL, &fail_fops);
	return 0;
}

void fail_cleanup(void)
{
	mutex_lock(&fail_mutex);
	stop();
	mutex_unlock(&fail_mutex);
	/* Somebody may be in return_null(). */
	synchronize_rcu_tasks();
}
