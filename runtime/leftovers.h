/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking for what leads into the module from outside. One file for each kind of place
 * that it can be in; leftovers.c asks them all. Context, where none is given: process, may
 * sleep, one search at a time.
 */
#ifndef PLUGSCHED_LEFTOVERS_H
#define PLUGSCHED_LEFTOVERS_H

#include <linux/compiler.h>
#include <linux/types.h>

struct dentry;
struct file;
struct task_struct;

/* found.c: note what was found. Context: any that excludes others, between begin and end. */
__printf(1, 2) void plugsched_found(const char *fmt, ...);
void plugsched_found_begin(void);
unsigned int plugsched_found_end(void);

/* leftovers_armed.c */
void plugsched_look_at_queues(void);
void plugsched_look_at_armed(void);	/* context: stopped machine */

/* leftovers_named.c */
bool plugsched_debugfs_leads_here(struct dentry *d);
void plugsched_look_at_named(void);

/* leftovers_open.c */
void plugsched_look_at_open(void);

/* leftovers_probes.c */
void plugsched_look_at_probes(void);

/* leftovers_tasks.c */
int plugsched_look_at_stacks(void);

/* foreign.c: a class that the kernel does not have. */
bool plugsched_foreign_class(const struct task_struct *p);
void plugsched_look_at_classes(void);	/* context: stopped machine */

/* data.c: whether it is the runtime's own probe on a trace event. */
bool plugsched_data_probe(const void *probe);

#endif /* PLUGSCHED_LEFTOVERS_H */
