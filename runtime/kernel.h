/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel has, and no header of its declares for us. */
#ifndef PLUGSCHED_KERNEL_H
#define PLUGSCHED_KERNEL_H

#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/percpu-defs.h>
#include <linux/spinlock.h>
#include <linux/sysctl.h>
#include <linux/sysrq.h>
#include <linux/tracepoint-defs.h>

#include "config.h"

struct cgroup_subsys;
struct ftrace_ops;
struct kernel_clone_args;
struct kernfs_node;
struct kobj_map;
struct kprobe;
struct pid;
struct pt_regs;
struct task_struct;

/* kernel/stop_machine.c: who holds it has all stoppers to itself. */
extern struct mutex stop_cpus_mutex;

/* kernel/cgroup/cgroup.c; 5.10's header only declares it for lock debugging. */
extern struct mutex cgroup_mutex;

/* kernel/kprobes.c: who holds it adds, arms or removes probes. */
extern struct mutex kprobe_mutex;

/* kernel/smp.c: what a CPU is asked to do by an interrupt; wake-ups, for one. */
DECLARE_PER_CPU_SHARED_ALIGNED(struct llist_head, call_single_queue);

/* drivers/tty/sysrq.c: read under RCU, written by whoever holds its lock. */
extern const struct sysrq_key_op *sysrq_key_table[];

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

/* fs/proc/root.c and generic.c */
extern struct proc_dir_entry proc_root;
extern rwlock_t proc_subdir_lock;

/* fs/sysfs/mount.c */
extern struct kernfs_node *sysfs_root_kn;

/* kernel/cgroup/cgroup.c */
extern struct cgroup_subsys *cgroup_subsys[];

/* fs/char_dev.c */
extern struct kobj_map *cdev_map;
extern struct mutex chrdevs_lock;

/* drivers/char/misc.c */
extern struct list_head misc_list;
extern struct mutex misc_mtx;

/* Before there was a choice, all was run in hard interrupts. */
#ifndef IRQ_WORK_INIT_HARD
#define IRQ_WORK_INIT_HARD(fn) ((struct irq_work){ .func = (fn) })
#endif

/* kernel/irq_work.c */
DECLARE_PER_CPU(struct llist_head, raised_list);
DECLARE_PER_CPU(struct llist_head, lazy_list);

/* kernel/kprobes.c */
extern struct mutex kprobe_mutex;
extern struct hlist_head kprobe_table[];
int pre_handler_kretprobe(struct kprobe *p, struct pt_regs *regs);

/* kernel/tracepoint.c */
extern struct mutex tracepoints_mutex;

/* kernel/trace/ftrace.c */
extern struct mutex ftrace_lock;
extern struct ftrace_ops __rcu *ftrace_ops_list;

/* kernel/fork.c: for its address. */
struct task_struct *copy_process(struct pid *pid, int trace, int node,
				 struct kernel_clone_args *args);

#ifndef PLUGSCHED_SIZE_COPY_PROCESS
#error "the kernel has no copy_process(): who makes tasks?"
#endif

static inline bool plugsched_in_copy_process(unsigned long addr)
{
	return addr - (unsigned long)copy_process < PLUGSCHED_SIZE_COPY_PROCESS;
}

#endif /* PLUGSCHED_KERNEL_H */
