/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PLUGSCHED_OURS_H
#define PLUGSCHED_OURS_H

#include <linux/module.h>

/* Whether p leads into this module: to its code or its data. Context: any. */
static inline bool plugsched_ours(const void *p)
{
	return within_module((unsigned long)p, THIS_MODULE);
}

#endif /* PLUGSCHED_OURS_H */
