// SPDX-License-Identifier: GPL-2.0-only
/*
 * Redirection: jumps at the heads of the kernel's functions, and the contents
 * of the scheduling class tables.
 *
 * The kernel's text and the tables are read-only. They are mapped a second time,
 * writable, before the machine is stopped, so that the stopped machine only has
 * to store: a page table switch for each of some 400 functions would take far
 * longer than all the rest.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "plugsched.h"

/* A page of the kernel image and where it can be written. */
struct alias {
	unsigned long page;
	u8 *addr;
};

static struct alias *aliases;
static unsigned int nr_aliases;
static void *mapping;

/* Note the pages that [start, start + size) touches. */
static void note_pages(const void *start, size_t size, unsigned long *pages, unsigned int *nr)
{
	unsigned long p = (unsigned long)start & PAGE_MASK;
	unsigned long last = ((unsigned long)start + size - 1) & PAGE_MASK;
	unsigned int i;

	for (; p <= last; p += PAGE_SIZE) {
		for (i = 0; i < *nr; i++)
			if (pages[i] == p)
				break;
		if (i == *nr)
			pages[(*nr)++] = p;
	}
}

static u8 *alias_of(const void *addr)
{
	unsigned long page = (unsigned long)addr & PAGE_MASK;
	unsigned int lo = 0, hi = nr_aliases;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (aliases[mid].page == page)
			return aliases[mid].addr + offset_in_page(addr);
		if (aliases[mid].page < page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static void copy_to_image(void *to, const void *from, size_t size)
{
	size_t n;

	for (; size; to += n, from += n, size -= n) {
		n = min_t(size_t, size, PAGE_SIZE - offset_in_page(to));
		memcpy(alias_of(to), from, n);
	}
}

static int compare_pages(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

static u8 *site_of(const struct plugsched_redirect *r)
{
	return r->old + r->offset;
}

static unsigned int collect_pages(unsigned long *pages)
{
	unsigned int nr = 0;
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++)
		note_pages(site_of(&plugsched_redirects[i]), plugsched_jump_size, pages, &nr);
	for (i = 0; i < plugsched_nr_tables; i++)
		note_pages(plugsched_tables[i].old, plugsched_tables[i].size, pages, &nr);
	sort(pages, nr, sizeof(*pages), compare_pages, NULL);
	return nr;
}

static int map_pages(void)
{
	unsigned int max = 2 * (plugsched_nr_redirects + plugsched_nr_tables), i;
	struct page **list;
	unsigned long *pages;
	int err = -ENOMEM;

	pages = kvmalloc_array(max, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	nr_aliases = collect_pages(pages);
	list = kvmalloc_array(nr_aliases, sizeof(*list), GFP_KERNEL);
	aliases = kvmalloc_array(nr_aliases, sizeof(*aliases), GFP_KERNEL);
	if (!list || !aliases)
		goto out;
	for (i = 0; i < nr_aliases; i++)
		list[i] = virt_to_page((void *)pages[i]);
	mapping = vmap(list, nr_aliases, VM_MAP, PAGE_KERNEL);
	if (!mapping)
		goto out;
	for (i = 0; i < nr_aliases; i++) {
		aliases[i].page = pages[i];
		aliases[i].addr = mapping + i * PAGE_SIZE;
	}
	err = 0;
out:
	kvfree(list);
	kvfree(pages);
	if (err)
		plugsched_text_finish();
	return err;
}

/* Keep what is to be restored; refuse when somebody else hooked a function. */
static int save_all(void)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++) {
		struct plugsched_redirect *r = &plugsched_redirects[i];

		if (plugsched_arch_hooked(r, site_of(r))) {
			pr_err("%s is hooked by something else\n", r->name);
			return -EEXIST;
		}
		memcpy(r->saved, site_of(r), plugsched_jump_size);
	}
	for (i = 0; i < plugsched_nr_tables; i++) {
		struct plugsched_table *t = &plugsched_tables[i];

		if (!t->saved)
			t->saved = kmalloc(t->size, GFP_KERNEL);
		if (!t->saved)
			return -ENOMEM;
		memcpy(t->saved, t->old, t->size);
	}
	return 0;
}

/* Refuse to remove when a jump is no longer the one that was written. */
static int verify_jumps(void)
{
	u8 insn[PLUGSCHED_JUMP_MAX];
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++) {
		struct plugsched_redirect *r = &plugsched_redirects[i];

		plugsched_arch_jump(r, insn);
		if (memcmp(insn, site_of(r), plugsched_jump_size)) {
			pr_err("the jump at %s was changed by something else\n", r->name);
			return -EEXIST;
		}
	}
	return 0;
}

/* Context: process, may sleep. */
int plugsched_text_prepare(bool install)
{
	int err = install ? save_all() : verify_jumps();

	return err ? err : map_pages();
}

void plugsched_text_finish(void)
{
	if (mapping)
		vunmap(mapping);
	kvfree(aliases);
	mapping = NULL;
	aliases = NULL;
	nr_aliases = 0;
}

/* Context: stopped machine, leader only. */
void plugsched_tables_write(bool install)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_tables; i++) {
		struct plugsched_table *t = &plugsched_tables[i];

		copy_to_image(t->old, install ? t->new : t->saved, t->size);
	}
}

/* One phase of writing all jumps. Context: stopped machine, leader only. */
void plugsched_text_poke(unsigned int phase, bool install)
{
	u8 insn[PLUGSCHED_JUMP_MAX], now[PLUGSCHED_JUMP_MAX];
	unsigned long i;
	unsigned int j;

	for (i = 0; i < plugsched_nr_redirects; i++) {
		struct plugsched_redirect *r = &plugsched_redirects[i];
		u8 *site = site_of(r);

		if (install)
			plugsched_arch_jump(r, insn);
		else
			memcpy(insn, r->saved, plugsched_jump_size);
		memcpy(now, site, plugsched_jump_size);
		plugsched_arch_poke(now, insn, phase);
		for (j = 0; j < plugsched_jump_size; j++)
			if (now[j] != site[j])
				WRITE_ONCE(*alias_of(site + j), now[j]);
	}
}

/* Return the redirection whose jump is at addr, or NULL. */
const struct plugsched_redirect *plugsched_find_site(unsigned long addr)
{
	unsigned long lo = 0, hi = plugsched_nr_redirects;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		const struct plugsched_redirect *r = &plugsched_redirects[mid];
		unsigned long site = (unsigned long)site_of(r);

		if (addr == site)
			return r;
		if (addr < site)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}
