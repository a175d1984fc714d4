// SPDX-License-Identifier: GPL-2.0-only
/*
 * Redirection: jumps at the heads of the kernel's functions, and the contents
 * of the scheduling class tables.
 *
 * The kernel's text and the tables are read-only. They are mapped a second time,
 * writable, before the machine is stopped, so that the stopped machine only has
 * to store: a page table switch for each of some 400 functions would take far
 * longer than all the rest. A rollback, which nothing can prepare for, has no such
 * mapping and pays for the switches.
 */
#define pr_fmt(fmt) "plugsched: " fmt

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
static void note_pages(const void *start, size_t size)
{
	unsigned long p = (unsigned long)start & PAGE_MASK;
	unsigned long last = ((unsigned long)start + size - 1) & PAGE_MASK;
	unsigned int i;

	for (; p <= last; p += PAGE_SIZE) {
		for (i = 0; i < nr_pages; i++)
			if (pages[i] == p)
				break;
		if (i == nr_pages)
			pages[nr_pages++] = p;
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

static struct plugsched_table *find_table(const struct plugsched_module *m, const void *old)
{
	unsigned long i;

	for (i = 0; m && i < *m->nr_tables; i++)
		if (m->tables[i].old == old)
			return &m->tables[i];
	return NULL;
}

static void collect_pages(const struct plugsched_module *m)
{
	unsigned long i;

	for (i = 0; m && i < *m->nr_redirects; i++)
		note_pages(plugsched_site_of(&m->redirects[i]), plugsched_jump_size);
	for (i = 0; m && i < *m->nr_tables; i++)
		note_pages(m->tables[i].old, m->tables[i].size);
}

static unsigned long max_pages(const struct plugsched_module *m)
{
	return m ? 2 * (*m->nr_redirects + *m->nr_tables) : 0;
}

/* Where each site can be written; NULL forgets it. */
static void set_aliases(struct plugsched_module *m, bool mapped)
{
	struct plugsched_redirect *r;
	unsigned long i;

	for (i = 0; m && i < *m->nr_redirects; i++) {
		r = &m->redirects[i];
		r->alias = mapped ? alias_of(plugsched_site_of(r)) : NULL;
	}
	for (i = 0; m && i < *m->nr_tables; i++)
		m->tables[i].alias = mapped ? alias_of(m->tables[i].old) : NULL;
}

static int map_pages(struct plugsched_update *u)
{
	struct page **list;
	unsigned int i;

	pages = kvmalloc_array(max_pages(u->from) + max_pages(u->to), sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	nr_pages = 0;
	collect_pages(u->from);
	collect_pages(u->to);
	sort(pages, nr_pages, sizeof(*pages), compare_pages, NULL);
	list = kvmalloc_array(nr_pages, sizeof(*list), GFP_KERNEL);
	if (!list)
		return -ENOMEM;
	for (i = 0; i < nr_pages; i++)
		list[i] = virt_to_page((void *)pages[i]);
	mapping = vmap(list, nr_pages, VM_MAP, PAGE_KERNEL);
	kvfree(list);
	if (!mapping)
		return -ENOMEM;
	set_aliases(u->from, true);
	set_aliases(u->to, true);
	return 0;
}

static int conflict(struct plugsched_update *u, const struct plugsched_redirect *r)
{
	u->conflict = r->name;
	return -EEXIST;
}

/*
 * What is expected at a jump's place before an update: the jump of the module
 * that is left, or what the kernel had there. Whoever has prepared the update has looked
 * for hooks when he saved that (save_jump()), and lets no probe come meanwhile: only a
 * rollback has to look here, where every CPU waits for the answer.
 */
static bool site_unchanged(const struct plugsched_update *u, const struct plugsched_redirect *r,
			   const struct plugsched_redirect *current_jump)
{
	u8 insn[PLUGSCHED_JUMP_MAX];

	if (!current_jump)
		return !(u->rollback && plugsched_arch_hooked(r, plugsched_site_of(r))) &&
		       !memcmp(r->saved, plugsched_site_of(r), plugsched_jump_size);
	plugsched_arch_jump(current_jump, insn);
	return !memcmp(insn, plugsched_site_of(r), plugsched_jump_size);
}

/* Keep what is to be restored one day; refuse what somebody else has hooked. */
static int save_jump(struct plugsched_update *u, struct plugsched_redirect *r)
{
	const struct plugsched_redirect *was = plugsched_find_redirect(u->from, r->old);

	if (!within_module_core((unsigned long)r->new, u->to->owner)) {
		pr_err("%s would be redirected to code outside of this module\n", r->name);
		return -EINVAL;
	}
	if (was) {
		if (was->offset != r->offset)
			return -EPROTO;
		memcpy(r->saved, was->saved, plugsched_jump_size);
		return 0;
	}
	if (plugsched_arch_hooked(r, plugsched_site_of(r)))
		return conflict(u, r);
	memcpy(r->saved, plugsched_site_of(r), plugsched_jump_size);
	return 0;
}

static int save_table(struct plugsched_update *u, struct plugsched_table *t)
{
	const struct plugsched_table *was = find_table(u->from, t->old);

	if (u->from && !was)
		return -EPROTO;
	if (!t->saved)
		t->saved = kmalloc(t->size, GFP_KERNEL);
	if (!t->saved)
		return -ENOMEM;
	memcpy(t->saved, was ? was->saved : t->old, t->size);
	return 0;
}

static int save_all(struct plugsched_update *u)
{
	unsigned long i;
	int err = 0;

	for (i = 0; u->to && !err && i < *u->to->nr_redirects; i++)
		err = save_jump(u, &u->to->redirects[i]);
	for (i = 0; u->to && !err && i < *u->to->nr_tables; i++)
		err = save_table(u, &u->to->tables[i]);
	return err;
}

/* Note whether a place is left to somebody else. False: that forbids the update. */
static bool look_at_site(struct plugsched_update *u, struct plugsched_redirect *r,
			 bool unchanged)
{
	r->left_alone = !unchanged;
	if (unchanged)
		return true;
	conflict(u, r);
	u->left_alone++;
	return u->over_hooks;
}

/*
 * Whether every place still is as the update expects it; else u->conflict names
 * one. Somebody may have put a probe on it. A rollback that cannot wait for him leaves
 * him that place.
 * Context: stopped machine, or process.
 */
bool plugsched_text_unchanged(struct plugsched_update *u)
{
	struct plugsched_redirect *r, *was;
	unsigned long i;

	for (i = 0; u->from && i < *u->from->nr_redirects; i++) {
		r = &u->from->redirects[i];
		if (!look_at_site(u, r, site_unchanged(u, r, r)))
			return false;
	}
	for (i = 0; u->to && i < *u->to->nr_redirects; i++) {
		r = &u->to->redirects[i];
		was = plugsched_find_redirect(u->from, r->old);
		if (was)
			r->left_alone = was->left_alone;
		else if (!look_at_site(u, r, site_unchanged(u, r, NULL)))
			return false;
	}
	return true;
}

/* Context: process, may sleep. To be followed by plugsched_text_finish() in any case. */
int plugsched_text_prepare(struct plugsched_update *u)
{
	int err = save_all(u);

	if (!err && !plugsched_text_unchanged(u))
		err = -EEXIST;
	return err ? err : map_pages(u);
}

void plugsched_text_finish(struct plugsched_update *u)
{
	set_aliases(u->from, false);
	set_aliases(u->to, false);
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
void plugsched_tables_write(const struct plugsched_update *u)
{
	const struct plugsched_module *m = u->to ?: u->from;
	unsigned long i;

	for (i = 0; i < *m->nr_tables; i++) {
		struct plugsched_table *t = &m->tables[i];

		plugsched_arch_write(t->old, t->alias, u->to ? t->new : t->saved, t->size);
	}
}

/*
 * One phase of writing all jumps: the kernel gets back what the new scheduler
 * does not redirect. Context: stopped machine, leader only.
 */
void plugsched_text_poke(const struct plugsched_update *u, unsigned int phase)
{
	const struct plugsched_redirect *r;
	u8 insn[PLUGSCHED_JUMP_MAX];
	unsigned long i;

	for (i = 0; u->from && i < *u->from->nr_redirects; i++) {
		r = &u->from->redirects[i];
		if (!r->left_alone && !plugsched_find_redirect(u->to, r->old))
			plugsched_arch_poke(plugsched_site_of(r), r->alias, r->saved, phase);
	}
	for (i = 0; u->to && i < *u->to->nr_redirects; i++) {
		r = &u->to->redirects[i];
		if (r->left_alone)
			continue;
		plugsched_arch_jump(r, insn);
		plugsched_arch_poke(plugsched_site_of(r), r->alias, insn, phase);
	}
}
