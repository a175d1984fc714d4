// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be opened by a name: sysctls, files in debugfs, /proc, /sys and cgroups, and
 * character devices.
 */
#include <linux/cdev.h>
#include <linux/cgroup.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/kobj_map.h>
#include <linux/kobject.h>
#include <linux/miscdevice.h>
#include <linux/mount.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/sysctl.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

/* Of the kernel's own source, where it is at hand: they are no part of its headers. */
#if defined(CONFIG_PROC_FS) && __has_include("fs/proc/internal.h")
/* A flag that no module's file has is 0 for modules, and the kernel's source insists on it. */
#undef MODULE
#include <linux/proc_fs.h>
#define MODULE 1
#include "fs/proc/internal.h"
#define HAVE_PROC 1
#endif
#if defined(CONFIG_SYSFS) && __has_include("fs/kernfs/kernfs-internal.h")
#include "fs/kernfs/kernfs-internal.h"
#define HAVE_SYSFS 1
#endif

#include "config.h"
#include "kernel.h"
#include "leftovers.h"
#include "ours.h"

#define DEPTH_MAX 16	/* of directories: more is a loop, and the stack is small */

#ifdef CONFIG_SYSCTL
static void look_at_table(const struct ctl_table *t)
{
	if (plugsched_ours(t) || plugsched_ours(t->data) || plugsched_ours(t->proc_handler))
		plugsched_found("sysctl %s is registered", t->procname);
}

/* Every entry of a directory of /proc/sys has a node. */
static void look_at_sysctl_dir(struct ctl_dir *dir, unsigned int depth)
{
	struct rb_node *rb;

	lockdep_assert_held(&sysctl_lock);
	for (rb = rb_first(&dir->root); rb; rb = rb_next(rb)) {
		struct ctl_node *node = rb_entry(rb, struct ctl_node, node);
		struct ctl_table_header *head = node->header;
		const struct ctl_table *entry = &head->ctl_table[node - head->node];

		if (!S_ISDIR(entry->mode))
			look_at_table(entry);
		else if (depth)
			look_at_sysctl_dir(container_of(head, struct ctl_dir, header), depth - 1);
	}
}

static void look_at_sysctls(void)
{
	spin_lock(&sysctl_lock);
	look_at_sysctl_dir(&sysctl_table_root.default_set.dir, DEPTH_MAX);
	spin_unlock(&sysctl_lock);
}
#else
static void look_at_sysctls(void)
{
}
#endif

#ifdef CONFIG_DEBUG_FS
/* Context: the dentry is pinned, and so cannot lose its inode. */
bool plugsched_debugfs_leads_here(struct dentry *d)
{
	const struct inode *inode = d_inode(d);
	unsigned long data = (unsigned long)READ_ONCE(d->d_fsdata);
	void *fops;

	if (!debugfs_mount || d->d_sb != debugfs_mount->mnt_sb)
		return false;
	if (plugsched_ours(inode->i_private) || plugsched_ours(inode->i_fop))
		return true;
	/* fs/debugfs/internal.h: the file's operations with bit 0 set, or what begins with them */
	if (data & 1)
		return plugsched_ours((void *)(data & ~1UL));
	return data && !copy_from_kernel_nofault(&fops, (void *)data, sizeof(fops)) &&
	       plugsched_ours(fops);
}

/* The dentry behind another one of a directory, or the first. Context: the directory's d_lock. */
static struct dentry *sibling(struct dentry *dir, struct dentry *d)
{
#ifdef PLUGSCHED_HAVE_D_CHILDREN
	struct hlist_node *next = d ? d->d_sib.next : dir->d_children.first;

	lockdep_assert_held(&dir->d_lock);
	return hlist_entry_safe(next, struct dentry, d_sib);
#else
	struct list_head *next = d ? d->d_child.next : dir->d_subdirs.next;

	lockdep_assert_held(&dir->d_lock);
	return next == &dir->d_subdirs ? NULL : list_entry(next, struct dentry, d_child);
#endif
}

static bool pin_positive(struct dentry *d)
{
	bool positive;

	spin_lock_nested(&d->d_lock, DENTRY_D_LOCK_NESTED);
	positive = simple_positive(d);
	if (positive)
		dget_dlock(d);
	spin_unlock(&d->d_lock);
	return positive;
}

/*
 * The next file of a directory, pinned, in exchange for the one before: a pinned one stays
 * in its list, with its inode, even if it is removed. If it was renamed into another
 * directory, all begins anew.
 * Context: process, may sleep.
 */
static struct dentry *next_file(struct dentry *dir, struct dentry *before)
{
	struct dentry *d;

	spin_lock(&dir->d_lock);
	d = before && before->d_parent == dir ? before : NULL;
	do {
		d = sibling(dir, d);
	} while (d && !pin_positive(d));
	spin_unlock(&dir->d_lock);
	dput(before);
	return d;
}

static void look_at_debugfs_dir(struct dentry *dir, unsigned int depth)
{
	struct dentry *d = NULL;

	might_sleep();
	while ((d = next_file(dir, d))) {
		if (plugsched_debugfs_leads_here(d))
			plugsched_found("debugfs file %pd2 exists", d);
		if (depth && d_is_dir(d))
			look_at_debugfs_dir(d, depth - 1);
	}
}

static void look_at_debugfs(void)
{
	if (debugfs_mount)
		look_at_debugfs_dir(debugfs_mount->mnt_root, DEPTH_MAX);
}
#else
bool plugsched_debugfs_leads_here(struct dentry *d)
{
	return false;
}

static void look_at_debugfs(void)
{
}
#endif

#ifdef HAVE_PROC
static const void *proc_dops(const struct proc_dir_entry *e)
{
#ifdef PLUGSCHED_HAVE_PROC_DOPS
	return e->proc_dops;
#else
	return NULL;
#endif
}

static void look_at_proc_dir(const struct proc_dir_entry *dir, unsigned int depth)
{
	const struct proc_dir_entry *e;
	struct rb_node *rb;

	lockdep_assert_held(&proc_subdir_lock);
	for (rb = rb_first(&dir->subdir); rb; rb = rb_next(rb)) {
		e = rb_entry(rb, struct proc_dir_entry, subdir_node);
		if (plugsched_ours(e->proc_iops) || plugsched_ours(e->proc_ops) ||
		    plugsched_ours(proc_dops(e)) || plugsched_ours(e->seq_ops) ||
		    plugsched_ours(e->write) || plugsched_ours(e->data))
			plugsched_found("file %s in /proc exists", e->name);
		if (depth)
			look_at_proc_dir(e, depth - 1);
	}
}

static void look_at_proc(void)
{
	read_lock(&proc_subdir_lock);
	look_at_proc_dir(&proc_root, DEPTH_MAX);
	read_unlock(&proc_subdir_lock);
}
#else
static void look_at_proc(void)
{
}
#endif

#ifdef HAVE_SYSFS
/* What holds the tree still: one lock for all trees once, one for each now. */
#ifdef PLUGSCHED_HAVE_KERNFS_MUTEX
static void lock_sysfs(void)
{
	mutex_lock(&kernfs_mutex);
}

static void unlock_sysfs(void)
{
	mutex_unlock(&kernfs_mutex);
}
#else
static struct rw_semaphore *sysfs_rwsem(void)
{
#ifdef PLUGSCHED_HAVE_KERNFS_RWSEM
	return &kernfs_rwsem;
#else
	return &sysfs_root_kn->dir.root->kernfs_rwsem;
#endif
}

static void lock_sysfs(void)
{
	down_read(sysfs_rwsem());
}

static void unlock_sysfs(void)
{
	up_read(sysfs_rwsem());
}
#endif

/* The module's own directory is taken away by the module loader. */
static void look_at_sysfs_dir(struct kernfs_node *dir, unsigned int depth)
{
	struct kernfs_node *kn;
	struct rb_node *rb;

	for (rb = rb_first(&dir->dir.children); rb; rb = rb_next(rb)) {
		kn = rb_entry(rb, struct kernfs_node, rb);
		if (kn == THIS_MODULE->mkobj.kobj.sd)
			continue;
		if (kernfs_type(kn) == KERNFS_DIR && depth)
			look_at_sysfs_dir(kn, depth - 1);
		if (kernfs_type(kn) == KERNFS_FILE &&
		    (plugsched_ours(kn->priv) || plugsched_ours(kn->attr.ops)))
			plugsched_found("file %s in %s in /sys exists", kn->name, dir->name);
	}
}

static void look_at_sysfs(void)
{
	lock_sysfs();
	look_at_sysfs_dir(sysfs_root_kn, DEPTH_MAX);
	unlock_sysfs();
}
#else
static void look_at_sysfs(void)
{
}
#endif

#ifdef CONFIG_CGROUPS
/* Tables that were added come one after the other in the list of their controller. */
static void look_at_controller(struct cgroup_subsys *ss)
{
	const struct cftype *cfts;

	list_for_each_entry(cfts, &ss->cfts, node)
		if (plugsched_ours(cfts))
			plugsched_found("cgroup files %s.%s are registered", ss->name, cfts->name);
}

static void look_at_cgroup_files(void)
{
	unsigned int i;

	mutex_lock(&cgroup_mutex);
	for (i = 0; i < CGROUP_SUBSYS_COUNT; i++)
		look_at_controller(cgroup_subsys[i]);
	mutex_unlock(&cgroup_mutex);
}
#else
static void look_at_cgroup_files(void)
{
}
#endif

/* drivers/base/map.c: how a number leads to its device. Private, and the same since 2.6. */
struct probe {
	struct probe *next;
	dev_t dev;
	unsigned long range;
	struct module *owner;
	kobj_probe_t *get;
	int (*lock)(dev_t dev, void *data);
	void *data;
};

struct kobj_map {
	struct probe *probes[255];
	struct mutex *lock;	/* chrdevs_lock, for this map */
};

static bool device_leads_here(const struct probe *p)
{
	const struct cdev *c = p->data;	/* NULL at the end of each list */

	return plugsched_ours(c) || (c && plugsched_ours(c->ops));
}

static void look_at_devices(void)
{
	const struct probe *p;
	unsigned int i;

	mutex_lock(&chrdevs_lock);
	for (i = 0; i < ARRAY_SIZE(cdev_map->probes); i++)
		for (p = cdev_map->probes[i]; p; p = p->next)
			if (device_leads_here(p))
				plugsched_found("character device %u:%u is registered",
						MAJOR(p->dev), MINOR(p->dev));
	mutex_unlock(&chrdevs_lock);
}

static void look_at_misc_devices(void)
{
	const struct miscdevice *m;

	mutex_lock(&misc_mtx);
	list_for_each_entry(m, &misc_list, list)
		if (plugsched_ours(m) || plugsched_ours(m->fops))
			plugsched_found("device %s is registered", m->name);
	mutex_unlock(&misc_mtx);
}

void plugsched_look_at_named(void)
{
	look_at_sysctls();
	look_at_debugfs();
	look_at_proc();
	look_at_sysfs();
	look_at_cgroup_files();
	look_at_devices();
	look_at_misc_devices();
}
