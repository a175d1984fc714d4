// SPDX-License-Identifier: GPL-2.0-only
/*
 * How others look an address up, to compare with: see ways.c.
 * Context: stopped machine, IRQs off.
 */
#include "internal.h"
#include "plugsched.h"

/* Return the replaced piece of the kernel's text that holds addr, or NULL: one after the other. */
const struct plugsched_range *plugsched_bench_find(const struct plugsched_module *m,
						   unsigned long addr)
{
	unsigned long i;

	for (i = 0; i < *m->nr_ranges; i++)
		if (addr - m->ranges[i].start < m->ranges[i].size)
			return &m->ranges[i];
	return NULL;
}
