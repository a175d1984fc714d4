// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has a file open, or mapped, whose operations are the module's. Whatever has an owner
 * holds a reference as well; here it gets a name.
 */
#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>

#include "config.h"
#include "leftovers.h"
#include "ours.h"
#include "plugsched.h"

#define FILES_AT_ONCE	1024	/* under a process's lock for its files */
#define PATIENCE_MS	2000	/* for all address spaces that are busy, together */

/* Context: somebody holds the file open. */
static bool leads_here(const struct file *f)
{
	return plugsched_ours(f->f_op) || plugsched_ours(f->private_data) ||
	       plugsched_ours(file_inode(f)->i_fop) ||
	       plugsched_debugfs_leads_here(f->f_path.dentry);
}

struct walk {
	struct task_struct *task;
	unsigned int left;
	unsigned int patience;	/* milliseconds */
};

/* Context: files->file_lock held by iterate_fd(). */
static int look_at_file(const void *data, struct file *f, unsigned int fd)
{
	struct walk *w = (void *)data;

	if (leads_here(f))
		plugsched_found("file %pD2 is open in task %d (%.16s)", f, task_pid_nr(w->task),
				w->task->comm);
	return --w->left ? 0 : fd + 1;
}

/* Taken as update_classid_task() does (net/core/netclassid_cgroup.c). */
static void look_at_files(struct walk *w)
{
	int fd = 0;

	do {
		w->left = FILES_AT_ONCE;
		task_lock(w->task);
		fd = iterate_fd(w->task->files, fd, look_at_file, w);
		task_unlock(w->task);
		cond_resched();
	} while (fd);
}

static bool mapping_leads_here(const struct vm_area_struct *v)
{
	return plugsched_ours(v->vm_ops) || plugsched_ours(v->vm_private_data) ||
	       (v->vm_file && leads_here(v->vm_file));
}

/* Context: mmap_lock held for reading. */
static bool any_mapping_leads_here(struct mm_struct *mm)
{
	struct vm_area_struct *v;
#ifdef PLUGSCHED_HAVE_MM_MT
	VMA_ITERATOR(next, mm, 0);

	for_each_vma(next, v)
#else
	for (v = mm->mmap; v; v = v->vm_next)
#endif
		if (mapping_leads_here(v))
			return true;
	return false;
}

/*
 * An ordinary user can keep the lock busy for ever, with a page that is slow to come. It
 * is not waited for, but for a while.
 */
static bool lock_mappings(struct walk *w, struct mm_struct *mm)
{
	const unsigned int pause = 20;

	while (!mmap_read_trylock(mm)) {
		if (w->patience < pause)
			return false;
		w->patience -= pause;
		msleep(pause);
	}
	return true;
}

static void look_at_mappings(struct walk *w)
{
	struct mm_struct *mm = get_task_mm(w->task);
	bool leads = false;

	if (!mm)
		return;
	if (lock_mappings(w, mm)) {
		leads = any_mapping_leads_here(mm);
		mmap_read_unlock(mm);
		if (leads)
			plugsched_found("a file is mapped by task %d (%.16s)",
					task_pid_nr(w->task), w->task->comm);
	} else {
		plugsched_found("what task %d (%.16s) has mapped cannot be told",
				task_pid_nr(w->task), w->task->comm);
	}
	mmput(mm);
}

/* What a thread shares with its group's leader is looked at there. */
static int look_at_holder(struct task_struct *p, void *data)
{
	const struct task_struct *leader = READ_ONCE(p->group_leader);
	struct walk *w = data;

	w->task = p;
	if (p == leader || READ_ONCE(p->files) != READ_ONCE(leader->files))
		look_at_files(w);
	if (p == leader || READ_ONCE(p->mm) != READ_ONCE(leader->mm))
		look_at_mappings(w);
	return 0;
}

void plugsched_look_at_open(void)
{
	struct walk w = { .patience = PATIENCE_MS };

	plugsched_for_each_task(look_at_holder, &w);
}
