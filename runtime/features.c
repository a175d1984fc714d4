// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scheduler features keep the administrator's setting across an update. They
 * are carried over by name: the two schedulers may number them differently.
 */
#include "internal.h"
#include "plugsched.h"

#if defined(CONFIG_SCHED_DEBUG) && defined(CONFIG_JUMP_LABEL)

static unsigned long find_feature(const struct plugsched_features *f, const char *name)
{
	unsigned long i;

	for (i = 0; i < f->nr; i++)
		if (!strcmp(f->names[i], name))
			break;
	return i;
}

/*
 * Give the features in mask, numbered as in from, the same setting in to.
 * Context: process; takes the CPU hotplug and jump label locks.
 */
static void carry(const struct plugsched_features *from,
		  const struct plugsched_features *to, unsigned int mask)
{
	unsigned long i, j;

	for (i = 0; i < to->nr; i++) {
		j = find_feature(from, to->names[i]);
		if (j == from->nr || !(mask & 1U << j))
			continue;
		if (READ_ONCE(*from->bits) & 1U << j) {
			*to->bits |= 1U << i;
			static_key_enable(&to->keys[i]);
		} else {
			*to->bits &= ~(1U << i);
			static_key_disable(&to->keys[i]);
		}
	}
}

const struct plugsched_features plugsched_features = {
	.names = sched_feat_names,
	.bits = (unsigned int *)&sysctl_sched_features,
	.keys = sched_feat_keys,
	.nr = __SCHED_FEAT_NR,
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
	unsigned int now = READ_ONCE(*source->bits);

	carry(source, to ? to->features : &kernel, changed_only ? now ^ carried : ~0U);
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
