// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scheduler features keep the administrator's setting across an update. They
 * are carried over by name: the two schedulers may number them differently.
 */
#include "internal.h"
#include "plugsched.h"

#if defined(CONFIG_SCHED_DEBUG) && defined(CONFIG_JUMP_LABEL)

extern const char * const sched_feat_names[];
extern const char * const __orig_sched_feat_names[];
extern unsigned int __orig_sysctl_sched_features;
extern struct static_key __orig_sched_feat_keys[];

struct features {
	const char * const *names;
	unsigned int *bits;
	struct static_key *keys;
	unsigned long nr;
};

static bool find_feature(const struct features *f, const char *name, bool *on)
{
	unsigned long i;

	for (i = 0; i < f->nr; i++) {
		if (!strcmp(f->names[i], name)) {
			*on = READ_ONCE(*f->bits) & (1U << i);
			return true;
		}
	}
	return false;
}

/* Context: process; takes the CPU hotplug and jump label locks. */
static void carry(const struct features *from, const struct features *to)
{
	unsigned long i;
	bool on;

	for (i = 0; i < to->nr; i++) {
		if (!find_feature(from, to->names[i], &on))
			continue;
		if (on) {
			*to->bits |= 1U << i;
			static_key_enable(&to->keys[i]);
		} else {
			*to->bits &= ~(1U << i);
			static_key_disable(&to->keys[i]);
		}
	}
}

void plugsched_carry_features(bool install)
{
	const struct features kernel = {
		.names = __orig_sched_feat_names,
		.bits = &__orig_sysctl_sched_features,
		.keys = __orig_sched_feat_keys,
		.nr = plugsched_nr_orig_features,
	};
	const struct features module = {
		.names = sched_feat_names,
		.bits = (unsigned int *)&sysctl_sched_features,
		.keys = sched_feat_keys,
		.nr = __SCHED_FEAT_NR,
	};

	if (install)
		carry(&kernel, &module);
	else
		carry(&module, &kernel);
}

#else

/* Features are compile-time constants: nothing to carry. */
void plugsched_carry_features(bool install)
{
}

#endif
