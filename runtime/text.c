// SPDX-License-Identifier: GPL-2.0-only
/*
 * Redirection: jumps at the heads of the kernel's functions, and the contents
 * of the scheduling class tables.
 *
 * The kernel's text and the tables are read-only. They are mapped a second time,
 * writable, before the machine is stopped, so that the stopped machine only has
 * to store: a page table switch for each of some 400 functions would take far
 * longer than all the rest. A rollback, which nothing can prepare for, has no such
 * mapping of the text and pays for the switches. That of the tables stays from a
 * module's first update on: the kernel's own way to write text is for text, and may take
 * all else for vmalloc's memory, where data in the image's large pages is not found (5.10,
 * vmalloc_to_page()).
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "plugsched.h"

/* Pages of the kernel image, ascending, and where they can be written. */
struct image_map {
	unsigned long *pages;
	unsigned int nr;
	u8 *base;
};

static struct image_map text_map;	/* during an update */
static struct image_map table_map;	/* of this module's tables */

/* Note the pages that [start, start + size) touches. */
static void note_pages(struct image_map *map, const void *start, size_t size)
{
	unsigned long p = (unsigned long)start & PAGE_MASK;
	unsigned long last = ((unsigned long)start + size - 1) & PAGE_MASK;
	unsigned int i;

	for (; p <= last; p += PAGE_SIZE) {
		for (i = 0; i < map->nr; i++)
			if (map->pages[i] == p)
				break;
		if (i == map->nr)
			map->pages[map->nr++] = p;
	}
}

/*
 * Where an address of the image can be written. Neighbouring pages are mapped
 * side by side, so that what crosses a page boundary is in one piece here too.
 */
static u8 *alias_of(const struct image_map *map, const void *addr)
{
	unsigned long page = (unsigned long)addr & PAGE_MASK;
	unsigned int lo = 0, hi = map->nr;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (map->pages[mid] == page)
			return map->base + mid * PAGE_SIZE + offset_in_page(addr);
		if (map->pages[mid] < page)
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

/* Make room for so many pages. Context: process, may sleep. */
static int begin_map(struct image_map *map, unsigned long max)
{
	map->nr = 0;
	map->pages = kvmalloc_array(max, sizeof(*map->pages), GFP_KERNEL);
	return map->pages ? 0 : -ENOMEM;
}

/* Map what has been noted. Context: process, may sleep. */
static int finish_map(struct image_map *map)
{
	struct page **list = kvmalloc_array(map->nr, sizeof(*list), GFP_KERNEL);
	unsigned int i;

	if (!list)
		return -ENOMEM;
	sort(map->pages, map->nr, sizeof(*map->pages), compare_pages, NULL);
	for (i = 0; i < map->nr; i++)
		list[i] = virt_to_page(lm_alias((void *)map->pages[i]));
	map->base = vmap(list, map->nr, VM_MAP, PAGE_KERNEL);
	kvfree(list);
	return map->base ? 0 : -ENOMEM;
}

static void unmap(struct image_map *map)
{
	if (map->base)
		vunmap(map->base);
	kvfree(map->pages);
	map->base = NULL;
	map->pages = NULL;
}

static unsigned long max_pages(const struct plugsched_module *m)
{
	return m ? 2 * *m->nr_redirects : 0;
}

static void note_sites(const struct plugsched_module *m)
{
	unsigned long i;

	for (i = 0; m && i < *m->nr_redirects; i++)
		note_pages(&text_map, plugsched_site_of(&m->redirects[i]), plugsched_jump_size);
}

/* Where each site can be written; NULL forgets it. */
static void set_aliases(struct plugsched_module *m, bool mapped)
{
	struct plugsched_redirect *r;
	unsigned long i;

	for (i = 0; m && i < *m->nr_redirects; i++) {
		r = &m->redirects[i];
		r->alias = mapped ? alias_of(&text_map, plugsched_site_of(r)) : NULL;
	}
}

static int map_text(struct plugsched_update *u)
{
	int err = begin_map(&text_map, max_pages(u->from) + max_pages(u->to));

	if (err)
		return err;
	note_sites(u->from);
	note_sites(u->to);
	err = finish_map(&text_map);
	if (err)
		return err;
	set_aliases(u->from, true);
	set_aliases(u->to, true);
	return 0;
}

/* Until the module goes, the tables can be written also when nothing can be prepared. */
static int map_tables(void)
{
	unsigned long i;
	int err;

	if (table_map.base)
		return 0;
	err = begin_map(&table_map, 2 * plugsched_nr_tables);
	for (i = 0; !err && i < plugsched_nr_tables; i++)
		note_pages(&table_map, plugsched_tables[i].old, plugsched_tables[i].size);
	if (!err)
		err = finish_map(&table_map);
	if (err) {
		unmap(&table_map);
		return err;
	}
	for (i = 0; i < plugsched_nr_tables; i++)
		plugsched_tables[i].alias = alias_of(&table_map, plugsched_tables[i].old);
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
 * Note what is to be written where, so that the stopped machine looks nothing up.
 * Context: process, may sleep; the aliases are set.
 */
static int list_writes(struct plugsched_update *u)
{
	unsigned long max = (u->from ? *u->from->nr_redirects : 0) +
			    (u->to ? *u->to->nr_redirects : 0);
	const struct plugsched_redirect *r, *was;
	struct plugsched_write *w;
	unsigned long i;

	w = kvcalloc(max, sizeof(*w), GFP_KERNEL);
	u->writes = w;
	if (!w)
		return -ENOMEM;
	for (i = 0; u->from && i < *u->from->nr_redirects; i++) {
		r = &u->from->redirects[i];
		if (plugsched_find_redirect(u->to, r->old))
			continue;
		w->site = plugsched_site_of(r);
		w->alias = r->alias;
		plugsched_arch_jump(r, w->was);
		memcpy(w++->is, r->saved, PLUGSCHED_JUMP_MAX);
	}
	for (i = 0; u->to && i < *u->to->nr_redirects; i++) {
		r = &u->to->redirects[i];
		was = plugsched_find_redirect(u->from, r->old);
		w->site = plugsched_site_of(r);
		w->alias = r->alias;
		if (was)
			plugsched_arch_jump(was, w->was);
		else
			memcpy(w->was, r->saved, PLUGSCHED_JUMP_MAX);
		plugsched_arch_jump(r, w++->is);
	}
	u->nr_writes = w - u->writes;
	return 0;
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

	/* Where one is not, the rest says which. Nothing was left alone when these were noted. */
	if (u->writes && plugsched_arch_unchanged(u->writes, u->nr_writes))
		return true;
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
	if (!err && u->to)
		err = map_tables();
	if (!err)
		err = map_text(u);
	return err ? err : list_writes(u);
}

void plugsched_text_finish(struct plugsched_update *u)
{
	kvfree(u->writes);
	u->writes = NULL;
	set_aliases(u->from, false);
	set_aliases(u->to, false);
	unmap(&text_map);
}

/* The module goes: nothing needs the tables any more. */
void plugsched_text_release(void)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_tables; i++)
		kfree(plugsched_tables[i].saved);
	unmap(&table_map);
}

/* Context: stopped machine, leader only. */
void plugsched_tables_write(const struct plugsched_update *u)
{
	const struct plugsched_module *m = u->to ?: u->from;
	unsigned long i;

	for (i = 0; i < *m->nr_tables; i++) {
		struct plugsched_table *t = &m->tables[i];

		memcpy(t->alias, u->to ? t->new : t->saved, t->size);
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

	if (u->writes) {
		plugsched_arch_write(u->writes, u->nr_writes, phase);
		return;
	}
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
