/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCHEDTEST_H
#define SCHEDTEST_H

#include <linux/types.h>

struct dentry;

/* The address of any symbol of the kernel or a module, exported or not; 0 if there is none. */
unsigned long schedtest_lookup(const char *name);

int trap_setup(struct dentry *dir);
void trap_cleanup(void);

int fail_setup(struct dentry *dir);
void fail_cleanup(void);

void ret_setup(struct dentry *dir);
void ret_cleanup(void);

void fork_setup(struct dentry *dir);

#endif
