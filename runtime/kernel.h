/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel has, and no header of its declares for us. */
#ifndef PLUGSCHED_KERNEL_H
#define PLUGSCHED_KERNEL_H

#include <linux/hrtimer.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/percpu-defs.h>
#include <linux/spinlock.h>
#include <linux/sysctl.h>
#include <linux/tracepoint-defs.h>

/* kernel/stop_machine.c: who holds it has all stoppers to itself. */
extern struct mutex stop_cpus_mutex;

/* include/trace/events/sched.h */
extern struct tracepoint __tracepoint_sched_switch;
extern struct tracepoint __tracepoint_sched_process_free;

/* include/trace/events/task.h */
extern struct tracepoint __tracepoint_task_newtask;

/* kernel/time/hrtimer.c */
DECLARE_PER_CPU(struct hrtimer_cpu_base, hrtimer_bases);

/* fs/proc/proc_sysctl.c */
extern struct ctl_table_root sysctl_table_root;
extern spinlock_t sysctl_lock;

/* fs/debugfs/inode.c: NULL while nobody has mounted it or made a file */
extern struct vfsmount *debugfs_mount;

#endif /* PLUGSCHED_KERNEL_H */
