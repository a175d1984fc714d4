/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler's files are compiled as built-in code, for which THIS_MODULE is NULL.
 * Everything begins with this header, so that it is the module that they become: an
 * owner without which nobody would hold the module.
 */
#ifndef PLUGSCHED_THIS_MODULE_H
#define PLUGSCHED_THIS_MODULE_H

/* One of them has the definition, which one depends on the kernel. */
#include <linux/export.h>
#include <linux/init.h>

struct module;
extern struct module __this_module;

#undef THIS_MODULE
#define THIS_MODULE (&__this_module)

#endif /* PLUGSCHED_THIS_MODULE_H */
