/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel has, and no header of its declares for us. */
#ifndef PLUGSCHED_KERNEL_H
#define PLUGSCHED_KERNEL_H

#include <linux/mutex.h>
#include <linux/tracepoint-defs.h>

/* kernel/stop_machine.c: who holds it has all stoppers to itself. */
extern struct mutex stop_cpus_mutex;

/* include/trace/events/sched.h */
extern struct tracepoint __tracepoint_sched_switch;

#endif /* PLUGSCHED_KERNEL_H */
