// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scheduler features keep the administrator's setting across an update. They
 * are carried over by name: the two schedulers may number them differently.
 */
#include "internal.h"
#include "plugsched.h"

#ifdef PLUGSCHED_HAVE_FEATURES

static unsigned long find_feature(const struct plugsched_features *f, const char *name)
{
	unsigned long i;

	for (i = 0; i < f->nr; i++)
		if (!strcmp(f->names[i], name))
			break;
	return i;
}

/* Whether the project of a scheduler wants a feature: 0 or 1, or -1 if it does not say. */
static int wish(const struct plugsched_features *f, const char *name)
{
	unsigned long i;

	for (i = 0; f->wishes && i < *f->nr_wishes; i++)
		if (!strcmp(f->wishes[i].name, name))
			return f->wishes[i].set;
	return -1;
}

static bool is_set(const struct plugsched_features *f, unsigned long i)
{
	return READ_ONCE(*f->bits) & 1U << i;
}

/*
 * What feature i of a scheduler is to be set to when it takes over from
 * another, where it is feature j. A wish is granted once; later only the
 * administrator's word counts. What nobody but the last scheduler wished goes
 * with it.
 */
static bool inherits(const struct plugsched_features *from, unsigned long j,
		     const struct plugsched_features *to, unsigned long i,
		     const struct plugsched_features *kernel)
{
	int before = wish(from, to->names[i]), now = wish(to, to->names[i]);
	bool set = is_set(from, j);
	unsigned long k;

	if (now >= 0 && now != before)
		return to->granted && *to->granted ? is_set(to, i) : now;
	if (now >= 0 || before < 0 || set != before)
		return set;
	k = find_feature(kernel, to->names[i]);
	return k == kernel->nr ? set : is_set(kernel, k);
}

static void set_feature(const struct plugsched_features *f, unsigned long i, bool set)
{
	if (set) {
		*f->bits |= 1U << i;
		static_key_enable(&f->keys[i]);
	} else {
		*f->bits &= ~(1U << i);
		static_key_disable(&f->keys[i]);
	}
}

/*
 * Give the features of from to the next scheduler.
 * Context: process; takes the CPU hotplug and jump label locks.
 */
static void carry(const struct plugsched_features *from, const struct plugsched_features *to,
		  const struct plugsched_features *kernel)
{
	unsigned long i, j;
	int now;

	for (i = 0; i < to->nr; i++) {
		j = find_feature(from, to->names[i]);
		now = wish(to, to->names[i]);
		if (j < from->nr)
			set_feature(to, i, inherits(from, j, to, i, kernel));
		else if (now >= 0 && !*to->granted)
			set_feature(to, i, now);
	}
	if (to->granted)
		*to->granted = true;
}

/* Give those in mask, numbered as in from, that the administrator set just now. */
static void carry_changed(const struct plugsched_features *from,
			  const struct plugsched_features *to, unsigned int mask)
{
	unsigned long i, j;

	for (i = 0; i < to->nr; i++) {
		j = find_feature(from, to->names[i]);
		if (j < from->nr && mask & 1U << j)
			set_feature(to, i, is_set(from, j));
	}
}

static bool granted;

const struct plugsched_features plugsched_features = {
	.names = sched_feat_names,
	.bits = (unsigned int *)&sysctl_sched_features,
	.keys = sched_feat_keys,
	.nr = __SCHED_FEAT_NR,
	.wishes = plugsched_wishes,
	.nr_wishes = &plugsched_nr_wishes,
	.granted = &granted,
};

/*
 * With changed_only, only what changed in the old scheduler since the call
 * without: what the administrator has set in the new one meanwhile stays.
 */
void plugsched_carry_features(const struct plugsched_module *from,
			      const struct plugsched_module *to, bool changed_only)
{
	static unsigned int carried;
	const struct plugsched_features kernel = {
		.names = __orig_sched_feat_names,
		.bits = &__orig_sysctl_sched_features,
		.keys = __orig_sched_feat_keys,
		.nr = plugsched_nr_orig_features,
	};
	const struct plugsched_features *source = from ? from->features : &kernel;
	const struct plugsched_features *target = to ? to->features : &kernel;
	unsigned int now = READ_ONCE(*source->bits);

	if (changed_only)
		carry_changed(source, target, now ^ carried);
	else
		carry(source, target, &kernel);
	carried = now;
}

#else

const struct plugsched_features plugsched_features;

/* Features are compile-time constants: nothing to carry. */
void plugsched_carry_features(const struct plugsched_module *from,
			      const struct plugsched_module *to, bool changed_only)
{
}

#endif
