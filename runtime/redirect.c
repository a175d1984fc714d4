// SPDX-License-Identifier: GPL-2.0-only
/* Looking up redirections. Context of everything here: any, NMI included. */
#include <linux/kprobes.h>

#include "plugsched.h"

/* Return m's redirection of a function, or NULL. */
struct plugsched_redirect *plugsched_find_redirect(const struct plugsched_module *m, const u8 *old)
{
	unsigned long lo = 0, hi = m ? *m->nr_redirects : 0;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		struct plugsched_redirect *r = &m->redirects[mid];

		if (r->old == old)
			return r;
		if (r->old < old)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Return this module's redirection whose jump is at addr, or NULL. */
notrace const struct plugsched_redirect *plugsched_find_site(unsigned long addr)
{
	unsigned long lo = 0, hi = plugsched_nr_redirects;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		const struct plugsched_redirect *r = &plugsched_redirects[mid];
		unsigned long site = (unsigned long)plugsched_site_of(r);

		if (addr == site)
			return r;
		if (addr < site)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}
NOKPROBE_SYMBOL(plugsched_find_site);
