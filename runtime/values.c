// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbers that a project wants in the kernel's variables with its scheduler.
 * They are written once it runs, and what was there comes back with the next
 * one, unless somebody has written something else meanwhile.
 */
#include "plugsched.h"

static u64 get(const struct plugsched_value *v)
{
	u64 now = 0;

	memcpy(&now, v->at, v->size);
	return now;
}

/* As one store: others read these variables at any time. */
static void set(const struct plugsched_value *v, u64 value)
{
	switch (v->size) {
	case 1:
		WRITE_ONCE(*(u8 *)v->at, value);
		break;
	case 2:
		WRITE_ONCE(*(u16 *)v->at, value);
		break;
	case 4:
		WRITE_ONCE(*(u32 *)v->at, value);
		break;
	default:
		WRITE_ONCE(*(u64 *)v->at, value);
	}
}

static struct plugsched_value *same(const struct plugsched_module *m, const void *at)
{
	unsigned long i;

	for (i = 0; m && i < *m->nr_values; i++)
		if (m->values[i].at == at)
			return &m->values[i];
	return NULL;
}

/*
 * After an update from one scheduler to another, NULL for the kernel's.
 * Context: process; the update's lock is held.
 */
void plugsched_carry_values(const struct plugsched_module *from, const struct plugsched_module *to)
{
	struct plugsched_value *v, *before;
	unsigned long i;
	u64 now;

	for (i = 0; to && i < *to->nr_values; i++) {
		v = &to->values[i];
		before = same(from, v->at);
		now = get(v);
		v->saved = before && now == before->wanted ? before->saved : now;
		if (!before || before->wanted != v->wanted)
			set(v, v->wanted);
	}
	for (i = 0; from && i < *from->nr_values; i++) {
		v = &from->values[i];
		if (!same(to, v->at) && get(v) == v->wanted)
			set(v, v->saved);
	}
}
