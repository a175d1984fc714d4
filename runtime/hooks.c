// SPDX-License-Identifier: GPL-2.0-only
/*
 * The edited scheduler's hooks, see api.h. A module that was loaded holds a reference
 * to itself until it is retired: what its hooks made must be gone before its memory is.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/module.h>
#include <linux/mutex.h>

#include "api.h"
#include "plugsched.h"

int __weak plugsched_init(void)
{
	return 0;
}

void __weak plugsched_exit(void)
{
}

static int nothing_to_do(bool force)
{
	return 0;
}

int plugsched_leaving(bool force) __weak __alias(nothing_to_do);

void __weak plugsched_staying(void)
{
}

/* The build sees to it that whoever adds a class has the hook. Context: any. */
bool plugsched_has_classes(void)
{
	return plugsched_leaving != nothing_to_do;
}

/*
 * -ETXTBSY: somebody uses this scheduler, see plugsched_found_show(). Context: process, its
 * lock held.
 */
int plugsched_hooks_leaving(bool force)
{
	int err = plugsched_leaving(force);

	if (err != -EBUSY)
		return err;
	plugsched_holders_find();
	return -ETXTBSY;
}

bool plugsched_active(void)
{
	return READ_ONCE(plugsched_self.active);
}

void __weak plugsched_rebuild(struct rq *rq, bool live)
{
}

bool __weak plugsched_may_starve(struct task_struct *p)
{
	return false;
}

static bool inited;	/* plugsched_exit() is due */
static bool retired;

/* The reference that plugsched_hooks_init() takes. */
#define OWN_REFERENCES	1

/* Context: module loading. */
int plugsched_hooks_init(void)
{
	int err = plugsched_init();

	if (err) {
		plugsched_data_exit();
		pr_err("%s: plugsched_init() failed: %d\n", THIS_MODULE->name, err);
		return err;
	}
	inited = true;
	__module_get(THIS_MODULE);
	return 0;
}

/* Whether the scheduler must not run any more: what its hooks made may be gone. */
bool plugsched_retiring(void)
{
	lockdep_assert_held(plugsched_self.lock);
	return !inited;
}

/*
 * Undo what plugsched_init() did, and make sure of it: -ENOTEMPTY when something
 * still leads into the module, see plugsched_found_show(); -EBUSY when somebody holds a
 * reference, perhaps to come back to it. It can be asked for again.
 * Context: process; the scheduler does not run and cannot be started meanwhile.
 */
int plugsched_retire(void)
{
	int err;

	lockdep_assert_held(plugsched_self.lock);
	if (retired)
		return 0;
	if (plugsched_self.kept)
		return -EBUSY;
	if (module_refcount(THIS_MODULE) > OWN_REFERENCES)
		return plugsched_holders_find();
	if (inited)
		plugsched_exit();
	inited = false;
	err = plugsched_leftovers_find();
	if (err)
		return err;
	plugsched_data_exit();
	retired = true;
	module_put(THIS_MODULE);
	return 0;
}

/* Context: module unloading. Only a forced one comes here without retirement. */
void plugsched_hooks_exit(void)
{
	if (inited)
		plugsched_exit();
	if (!retired && plugsched_leftovers_find())
		pr_err("%s is forced out, and something still leads into it\n", THIS_MODULE->name);
	plugsched_data_exit();
}
