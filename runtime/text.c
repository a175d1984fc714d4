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

#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "plugsched.h"

/* The mapped pages of the kernel image, ascending, and where they can be written. */
static unsigned long *pages;
static unsigned int nr_pages;
static u8 *mapping;

/* Note the pages that [start, start + size) touches. */
static void note_pages(const void *start, size_t size, unsigned long *list, unsigned int *nr)
{
	unsigned long p = (unsigned long)start & PAGE_MASK;
	unsigned long last = ((unsigned long)start + size - 1) & PAGE_MASK;
	unsigned int i;

	for (; p <= last; p += PAGE_SIZE) {
		for (i = 0; i < *nr; i++)
			if (list[i] == p)
				break;
		if (i == *nr)
			list[(*nr)++] = p;
	}
}

/*
 * Where an address of the image can be written. Neighbouring pages are mapped
 * side by side, so that what crosses a page boundary is in one piece here too.
 */
static u8 *alias_of(const void *addr)
{
	unsigned long page = (unsigned long)addr & PAGE_MASK;
	unsigned int lo = 0, hi = nr_pages;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (pages[mid] == page)
			return mapping + mid * PAGE_SIZE + offset_in_page(addr);
		if (pages[mid] < page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
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

static void collect_pages(void)
{
	unsigned long i;

	nr_pages = 0;
	for (i = 0; i < plugsched_nr_redirects; i++)
		note_pages(site_of(&plugsched_redirects[i]), plugsched_jump_size, pages, &nr_pages);
	for (i = 0; i < plugsched_nr_tables; i++)
		note_pages(plugsched_tables[i].old, plugsched_tables[i].size, pages, &nr_pages);
	sort(pages, nr_pages, sizeof(*pages), compare_pages, NULL);
}

static int map_pages(void)
{
	unsigned long max = 2 * (plugsched_nr_redirects + plugsched_nr_tables), i;
	struct page **list;

	pages = kvmalloc_array(max, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	collect_pages();
	list = kvmalloc_array(nr_pages, sizeof(*list), GFP_KERNEL);
	if (!list)
		goto out;
	for (i = 0; i < nr_pages; i++)
		list[i] = virt_to_page((void *)pages[i]);
	mapping = vmap(list, nr_pages, VM_MAP, PAGE_KERNEL);
	kvfree(list);
	if (!mapping)
		goto out;
	for (i = 0; i < plugsched_nr_redirects; i++)
		plugsched_redirects[i].alias = alias_of(site_of(&plugsched_redirects[i]));
	for (i = 0; i < plugsched_nr_tables; i++)
		plugsched_tables[i].alias = alias_of(plugsched_tables[i].old);
	return 0;
out:
	plugsched_text_finish();
	return -ENOMEM;
}

/* Keep what is to be restored; refuse when somebody else hooked a function. */
static int save_all(void)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++) {
		struct plugsched_redirect *r = &plugsched_redirects[i];

		if (!within_module_core((unsigned long)r->new, THIS_MODULE)) {
			pr_err("%s would be redirected to code outside of this module\n", r->name);
			return -EINVAL;
		}
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

/* What is expected at a jump's place before an update. */
static bool site_unchanged(struct plugsched_redirect *r, bool install)
{
	u8 insn[PLUGSCHED_JUMP_MAX];

	if (install)
		return !plugsched_arch_hooked(r, site_of(r)) &&
		       !memcmp(r->saved, site_of(r), plugsched_jump_size);
	plugsched_arch_jump(r, insn);
	return !memcmp(insn, site_of(r), plugsched_jump_size);
}

/*
 * Somebody may have put a probe on a site since it was saved.
 * Context: stopped machine, or process.
 */
bool plugsched_text_unchanged(bool install)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++)
		if (!site_unchanged(&plugsched_redirects[i], install))
			return false;
	return true;
}

/* Refuse to remove when a jump is no longer the one that was written. */
static int verify_jumps(void)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++) {
		if (!site_unchanged(&plugsched_redirects[i], false)) {
			pr_err("the jump at %s was changed by something else\n",
			       plugsched_redirects[i].name);
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
	kvfree(pages);
	mapping = NULL;
	pages = NULL;
}

/* The module goes: nothing needs the saved tables any more. */
void plugsched_text_release(void)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_tables; i++)
		kfree(plugsched_tables[i].saved);
}

/* Context: stopped machine, leader only. */
void plugsched_tables_write(bool install)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_tables; i++) {
		struct plugsched_table *t = &plugsched_tables[i];

		memcpy(t->alias, install ? t->new : t->saved, t->size);
	}
}

/* One phase of writing all jumps. Context: stopped machine, leader only. */
void plugsched_text_poke(unsigned int phase, bool install)
{
	u8 insn[PLUGSCHED_JUMP_MAX];
	unsigned long i;

	for (i = 0; i < plugsched_nr_redirects; i++) {
		struct plugsched_redirect *r = &plugsched_redirects[i];

		if (install)
			plugsched_arch_jump(r, insn);
		plugsched_arch_poke(r->alias, install ? insn : r->saved, phase);
	}
}

/* Return the redirection whose jump is at addr, or NULL. Context: any, NMI included. */
notrace const struct plugsched_redirect *plugsched_find_site(unsigned long addr)
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
NOKPROBE_SYMBOL(plugsched_find_site);
