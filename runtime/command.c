// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a process may ask for, each under this module's lock. Only trylock: whoever waited
 * would be in a file of this module, whose removal waits for that.
 * Context of everything here: process, may sleep.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/module.h>

#include "plugsched.h"

static int set_active(bool on, bool force)
{
	int err;

	if (!mutex_trylock(plugsched_self.lock))
		return -EBUSY;
	if (plugsched_rollback_pending(&plugsched_self))
		err = -EBUSY;
	else if (on == plugsched_self.active)
		err = -EALREADY;
	else if (!on)
		err = plugsched_update(&plugsched_self, NULL, force);
	else if (plugsched_retiring())
		err = -ESHUTDOWN;
	else
		err = plugsched_update(NULL, &plugsched_self, false);
	if (!err)
		plugsched_guard_log();
	mutex_unlock(plugsched_self.lock);
	return err;
}

/* -EBUSY: tasks are in the way, or an update runs. -ESHUTDOWN: plugsched_exit() has run. */
int plugsched_enable(void)
{
	return set_active(true, false);
}

/* Back to the kernel's own. -ETXTBSY: somebody uses this one, and it is not to be forced. */
int plugsched_disable(bool force)
{
	return set_active(false, force);
}

/*
 * Take over from another module. With a deadline it is kept, so that it can come
 * back; otherwise it can be unloaded afterwards.
 */
static int replace(struct plugsched_module *peer)
{
	int err;

	lockdep_assert_held(plugsched_self.lock);
	lockdep_assert_held(peer->lock);
	if (plugsched_rollback_pending(&plugsched_self) || plugsched_rollback_pending(peer))
		return -EBUSY;
	if (plugsched_retiring())
		return -ESHUTDOWN;
	if (plugsched_self.active)
		return -EALREADY;
	if (!READ_ONCE(peer->active))
		return -ENOENT;
	if (plugsched_try_ms) {
		/* One for the way back, one for when it runs again. */
		__module_get(peer->owner);
		__module_get(peer->owner);
		plugsched_self.previous = peer;
		peer->kept = true;
	}
	err = plugsched_update(peer, &plugsched_self, false);
	if (err)
		plugsched_forget_previous(&plugsched_self);
	else
		plugsched_guard_log();
	return err;
}

/* As plugsched_enable(); -ENOENT: no such module is active. */
int plugsched_replace(const char *name)
{
	struct plugsched_module *peer;
	int err;

	peer = plugsched_peer_get(name);
	if (IS_ERR(peer))
		return PTR_ERR(peer);
	err = -EBUSY;
	if (!mutex_trylock(plugsched_self.lock))
		goto out;
	if (mutex_trylock(peer->lock)) {
		err = replace(peer);
		mutex_unlock(peer->lock);
	}
	mutex_unlock(plugsched_self.lock);
out:
	plugsched_peer_put(peer);
	return err;
}

static struct plugsched_module *predecessor;	/* what a confirmed trial would have rolled back to */

/* Context: no rollback can begin, preemption off. */
static int confirm(void)
{
	int err = plugsched_guard_confirm();

	if (!err) {
		predecessor = plugsched_self.previous;
		plugsched_self.previous = NULL;
	}
	return err;
}

static int confirm_and_forget(void)
{
	int err;

	lockdep_assert_held(plugsched_self.lock);
	predecessor = NULL;
	err = plugsched_unstopped(confirm);
	plugsched_let_go(predecessor);
	return err;
}

/*
 * Before an update: it is a trial of so many milliseconds. Afterwards: 0, the
 * scheduler stays. -EBUSY: an update runs, a rollback is due, or one would lead here: that
 * is no trial.
 */
int plugsched_try(unsigned int ms)
{
	int err = 0;

	if (!mutex_trylock(plugsched_self.lock))
		return -EBUSY;
	if (!plugsched_self.active && plugsched_self.kept)
		err = -EBUSY;
	else if (!plugsched_self.active)
		plugsched_try_ms = ms;
	else if (ms)
		err = -EINVAL;
	else
		err = confirm_and_forget();
	mutex_unlock(plugsched_self.lock);
	return err;
}

/* -EBUSY: an update runs. */
int plugsched_set_watchdog(unsigned int ms)
{
	if (ms && (ms < 100 || ms > 24 * 60 * 60 * 1000))
		return -ERANGE;
	if (!mutex_trylock(plugsched_self.lock))
		return -EBUSY;
	plugsched_watchdog_set(ms);
	mutex_unlock(plugsched_self.lock);
	return 0;
}

/*
 * Get ready to be unloaded. -EBUSY: it runs, an update does, or somebody holds a
 * reference, perhaps to come back to it.
 */
int plugsched_leave(void)
{
	int err = -EBUSY;

	if (!mutex_trylock(plugsched_self.lock))
		return -EBUSY;
	if (!plugsched_self.active && !plugsched_rollback_pending(&plugsched_self))
		err = plugsched_retire();
	mutex_unlock(plugsched_self.lock);
	return err;
}

/*
 * An active module holds a reference to itself, so that it normally is unloaded
 * inactive. A forced unload does not care: the kernel must not be left with jumps
 * to nowhere.
 */
void plugsched_forced_exit(void)
{
	mutex_lock(plugsched_self.lock);
	while (plugsched_self.active && plugsched_update(&plugsched_self, NULL, true))
		msleep(20);
	mutex_unlock(plugsched_self.lock);
}
