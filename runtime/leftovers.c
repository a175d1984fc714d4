// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds what would lead into the module after it is gone: armed timers, works, sysctls,
 * debugfs files, and tasks inside of it. The scheduler's own are the kernel's;
 * these come from what a developer added.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/stacktrace.h>
#include <linux/stop_machine.h>
#include <linux/sysctl.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "config.h"
#include "kernel.h"
#include "plugsched.h"

#define FOUND_MAX	16
#define FOUND_LENGTH	128

static DEFINE_MUTEX(found_lock);	/* guards the text while it is shown */
static char found[FOUND_MAX][FOUND_LENGTH];
static unsigned int nr_found;

static bool ours(const void *p)
{
	return within_module((unsigned long)p, THIS_MODULE);
}

/* Context: any that excludes others: one finder runs at a time. */
static __printf(1, 2) void find(const char *fmt, ...)
{
	va_list args;

	if (nr_found < FOUND_MAX) {
		va_start(args, fmt);
		vscnprintf(found[nr_found], FOUND_LENGTH, fmt, args);
		va_end(args);
	}
	nr_found++;
}

/* A timer of the timer wheel, perhaps the one of a delayed work. */
static void look_at_timer(const struct timer_list *t)
{
	const struct delayed_work *w = container_of(t, struct delayed_work, timer);

	if (ours(t->function))
		find("timer %ps is armed", t->function);
	else if (t->function == delayed_work_timer_fn && ours(w->work.func))
		find("delayed work %ps is pending", w->work.func);
}

#ifdef PLUGSCHED_SIZE_TIMER_BASES
DECLARE_PER_CPU(unsigned long [PLUGSCHED_SIZE_TIMER_BASES / sizeof(long)], timer_bases);

/*
 * The wheel's buckets are heads of lists somewhere in struct timer_base, which is private
 * to kernel/time/timer.c. A word is such a head if what it points to points back.
 * Context: stopped machine: nobody changes a list or holds a lock.
 */
static void look_at_wheel(int cpu)
{
	struct hlist_node **word = (void *)per_cpu_ptr(&timer_bases, cpu);
	struct hlist_node **end = (void *)word + PLUGSCHED_SIZE_TIMER_BASES;
	struct hlist_node *n, node;

	for (; word < end; word++) {
		if (!*word || copy_from_kernel_nofault(&node, *word, sizeof(node)) ||
		    node.pprev != word)
			continue;
		for (n = *word; n; n = n->next)
			look_at_timer(container_of(n, struct timer_list, entry));
	}
}
#else
static void look_at_wheel(int cpu)
{
}
#endif

static void look_at_hrtimers(int cpu)
{
	struct hrtimer_cpu_base *base = per_cpu_ptr(&hrtimer_bases, cpu);
	struct rb_node *node;
	struct hrtimer *t;
	unsigned int i;

	for (i = 0; i < HRTIMER_MAX_CLOCK_BASES; i++) {
		node = rb_first_cached(&base->clock_base[i].active.rb_root);
		for (; node; node = rb_next(node)) {
			t = container_of(node, struct hrtimer, node.node);
			if (ours(t->function))
				find("high-resolution timer %ps is armed", t->function);
		}
	}
}

static int look_at_timers(void *unused)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		look_at_wheel(cpu);
		look_at_hrtimers(cpu);
	}
	return 0;
}

static void look_at_table(const struct ctl_table *t)
{
	if (ours(t) || ours(t->data) || ours(t->proc_handler))
		find("sysctl %s is registered", t->procname);
}

/* Every entry of a directory of /proc/sys has a node. Context: sysctl_lock held. */
static void look_at_sysctls(struct ctl_dir *dir, unsigned int depth)
{
	struct rb_node *rb;

	for (rb = rb_first(&dir->root); rb; rb = rb_next(rb)) {
		struct ctl_node *node = rb_entry(rb, struct ctl_node, node);
		struct ctl_table_header *head = node->header;
		struct ctl_table *entry = &head->ctl_table[node - head->node];

		if (S_ISDIR(entry->mode)) {
			if (depth)
				look_at_sysctls(container_of(head, struct ctl_dir, header),
						depth - 1);
		} else {
			look_at_table(entry);
		}
	}
}

static bool leads_here(struct dentry *d)
{
	const struct inode *inode = d_inode(d);
	unsigned long data = (unsigned long)READ_ONCE(d->d_fsdata);
	void *fops;

	if (ours(inode->i_private) || ours(inode->i_fop))
		return true;
	/* fs/debugfs/internal.h: the file's operations with bit 0 set, or what begins with them */
	if (data & 1)
		return ours((void *)(data & ~1UL));
	return data && !copy_from_kernel_nofault(&fops, (void *)data, sizeof(fops)) && ours(fops);
}

/* Context: process, may sleep. */
static void look_at_files(struct dentry *dir, unsigned int depth)
{
	struct dentry *d;

	inode_lock_shared(d_inode(dir));
#ifdef PLUGSCHED_HAVE_D_CHILDREN
	hlist_for_each_entry(d, &dir->d_children, d_sib) {
#else
	list_for_each_entry(d, &dir->d_subdirs, d_child) {
#endif
		if (!simple_positive(d))
			continue;
		if (leads_here(d))
			find("debugfs file %pd2 exists", d);
		if (depth && d_is_dir(d))
			look_at_files(d, depth - 1);
	}
	inode_unlock_shared(d_inode(dir));
}

static int look_at_stack(struct task_struct *p, void *stack)
{
	unsigned long *frames = stack;
	int i, nr;

	if (p == current)
		return 0;
	nr = stack_trace_save_tsk(p, frames, PLUGSCHED_STACK_DEPTH, 0);
	for (i = 0; i < nr; i++) {
		if (plugsched_is_scheduler(&plugsched_self, frames[i])) {
			find("task %d (%.16s) is in %ps", task_pid_nr(p), p->comm,
			     (void *)frames[i]);
			break;
		}
	}
	return 0;
}

static void nothing(struct work_struct *work)
{
}

/* What was queued before on one of the kernel's queues has begun when this returns. */
static void pass_queue(struct workqueue_struct *queue)
{
	struct work_struct work;
	int cpu;

	for_each_online_cpu(cpu) {
		INIT_WORK_ONSTACK(&work, nothing);
		queue_work_on(cpu, queue, &work);
		flush_work(&work);
		destroy_work_on_stack(&work);
	}
}

static int look_at_stacks(void)
{
	unsigned long *stack = kvmalloc_array(PLUGSCHED_STACK_DEPTH, sizeof(*stack), GFP_KERNEL);

	if (!stack)
		return -ENOMEM;
	plugsched_for_each_task(look_at_stack, stack);
	kvfree(stack);
	return 0;
}

/*
 * Returns -ENOTEMPTY when something was found.
 * Context: process, may sleep.
 */
int plugsched_leftovers_find(void)
{
	int err;

	mutex_lock(&found_lock);
	nr_found = 0;
	pass_queue(system_wq);
	pass_queue(system_highpri_wq);
	pass_queue(system_unbound_wq);
	err = stop_machine(look_at_timers, NULL, NULL);
	if (!err)
		err = look_at_stacks();
#ifdef CONFIG_SYSCTL
	spin_lock(&sysctl_lock);
	look_at_sysctls(&sysctl_table_root.default_set.dir, 16);
	spin_unlock(&sysctl_lock);
#endif
#ifdef CONFIG_DEBUG_FS
	if (debugfs_mount)
		look_at_files(debugfs_mount->mnt_root, 16);
#endif
	if (!err && nr_found)
		err = -ENOTEMPTY;
	mutex_unlock(&found_lock);
	return err;
}

/* One line each. Context: process. */
ssize_t plugsched_leftovers_show(char *buf)
{
	unsigned int i;
	ssize_t n = 0;

	mutex_lock(&found_lock);
	for (i = 0; i < min_t(unsigned int, nr_found, FOUND_MAX); i++)
		n += sysfs_emit_at(buf, n, "%s\n", found[i]);
	mutex_unlock(&found_lock);
	return n;
}
