// SPDX-License-Identifier: GPL-2.0-only
/*
 * The update: all CPUs leave one scheduler and enter another, together.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/nmi.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>

#include "api.h"
#include "plugsched.h"

static DEFINE_MUTEX(update_lock);	/* one update at a time, replacements hold two */

struct plugsched_module plugsched_self = {
	.abi = PLUGSCHED_ABI,
	.owner = THIS_MODULE,
	.lock = &update_lock,
	.redirects = plugsched_redirects,
	.nr_redirects = &plugsched_nr_redirects,
	.ranges = plugsched_ranges,
	.nr_ranges = &plugsched_nr_ranges,
	.tables = plugsched_tables,
	.nr_tables = &plugsched_nr_tables,
	.features = &plugsched_features,
	.rq_ops = &plugsched_rq_ops,
	.rebuild = plugsched_rebuild,
	.started = plugsched_rescue_arm,
	.stopped = plugsched_rescue_disarm,
};

/*
 * Every CPU waits here until all have arrived. The full barrier of the atomic
 * increment publishes what a CPU did before, the acquire makes it visible after.
 * Context: stopped machine, IRQs off.
 */
static void rendezvous(struct plugsched_update *u, unsigned int *round)
{
	int all = ++*round * u->cpus;

	atomic_inc_return(&u->arrived);
	while (atomic_read_acquire(&u->arrived) < all) {
		touch_nmi_watchdog();
		cpu_relax();
	}
}

static void stamp(struct plugsched_update *u, unsigned int id, enum plugsched_time t)
{
	if (!id)
		u->time[t] = ktime_get_mono_fast_ns();
}

/* A rescue may have come first. */
static int still_wanted(const struct plugsched_update *u)
{
	if ((u->from && !u->from->active) || (u->to && u->to->active))
		return -EALREADY;
	return 0;
}

static void check(struct plugsched_update *u, unsigned int id)
{
	int err;

	plugsched_check_stacks(u, id);
	err = atomic_read(&u->nr_busy) && !u->forced ? -EBUSY : 0;
	if (!id && !plugsched_text_unchanged(u))
		err = -EEXIST;
	if (!id && still_wanted(u))
		err = -EALREADY;
	if (err)
		atomic_cmpxchg(&u->verdict, 0, err);
}

/* An INT3 is a module's own only meanwhile. */
static void set_poking(struct plugsched_update *u, unsigned int id, bool poking)
{
	if (id)
		return;
	if (u->from)
		WRITE_ONCE(u->from->poking, poking);
	if (u->to)
		WRITE_ONCE(u->to->poking, poking);
}

static void redirect(struct plugsched_update *u, unsigned int id, unsigned int *round)
{
	unsigned int phase;

	set_poking(u, id, true);
	for (phase = 0; phase < plugsched_poke_phases; phase++) {
		if (!id)
			plugsched_text_poke(u, phase);
		rendezvous(u, round);
		plugsched_arch_sync();
		rendezvous(u, round);
	}
	set_poking(u, id, false);
	if (!id)
		plugsched_tables_write(u);
	rendezvous(u, round);
}

/*
 * Runs on every online CPU at once. Nothing is changed until all CPUs have
 * agreed that no stack is in the way; from then on nothing can fail, and nothing
 * allocates, frees or sleeps.
 */
int plugsched_update_stopped(void *data)
{
	struct plugsched_update *u = data;
	unsigned int id = atomic_inc_return(&u->ids) - 1;
	int cpu = smp_processor_id();
	unsigned int round = 0;
	int err;

	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_STOPPED);

	check(u, id);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_CHECKED);
	err = atomic_read(&u->verdict);
	if (err)
		return err;

	plugsched_clear_rq(cpu, u->from, u->heal);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_CLEARED);

	redirect(u, id, &round);
	stamp(u, id, PLUGSCHED_T_REDIRECTED);

	plugsched_rebuild_rq(cpu, u->to, u->heal);
	if (!id) {
		if (u->from)
			WRITE_ONCE(u->from->active, false);
		if (u->to)
			WRITE_ONCE(u->to->active, true);
	}
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_REBUILT);
	return 0;
}

int plugsched_update_alloc(struct plugsched_update *u)
{
	u->busy = kcalloc(PLUGSCHED_BUSY_MAX, sizeof(*u->busy), GFP_KERNEL);
	u->stacks = kvmalloc_array(num_possible_cpus() * PLUGSCHED_STACK_DEPTH,
				   sizeof(*u->stacks), GFP_KERNEL);
	if (u->busy && u->stacks)
		return 0;
	plugsched_update_free(u);
	return -ENOMEM;
}

void plugsched_update_free(struct plugsched_update *u)
{
	kfree(u->busy);
	kvfree(u->stacks);
	u->busy = NULL;
	u->stacks = NULL;
}

/* Make an update that failed ready for another try. */
void plugsched_update_reset(struct plugsched_update *u)
{
	atomic_set(&u->ids, 0);
	atomic_set(&u->arrived, 0);
	atomic_set(&u->verdict, 0);
	atomic_set(&u->nr_busy, 0);
	atomic_set(&u->threads, 0);
	atomic_set(&u->stopped, 0);
	u->conflict = NULL;
}

/* Stop the machine and change schedulers. CPU hotplug is frozen meanwhile. */
static int update_run(struct plugsched_update *u)
{
	int err;

	cpus_read_lock();
	u->cpus = num_online_cpus();
	u->time[PLUGSCHED_T_ENTER] = ktime_get_mono_fast_ns();
	err = stop_machine_cpuslocked(plugsched_update_stopped, u, cpu_online_mask);
	u->time[PLUGSCHED_T_LEFT] = ktime_get_mono_fast_ns();
	cpus_read_unlock();
	return err;
}

static const char *name_of(const struct plugsched_module *m)
{
	return m ? m->owner->name : "the kernel's own scheduler";
}

/* Context: process, or a rescue's work. */
void plugsched_update_publish(struct plugsched_update *u, int err)
{
	plugsched_sysfs_publish(u, err);
	if (err)
		return;
	plugsched_sysfs_link(u->to);
	pr_info("%s took over from %s: %u CPUs, %d threads, stopped for %llu ns\n",
		name_of(u->to), name_of(u->from), u->cpus,
		atomic_read(&u->threads) + atomic_read(&u->stopped),
		u->time[PLUGSCHED_T_LEFT] - u->time[PLUGSCHED_T_ENTER]);
}

/* All that can fail, then the update itself. */
static int update_try(struct plugsched_update *u)
{
	int err;

	err = plugsched_text_prepare(u);
	if (err)
		goto out;
	plugsched_carry_features(u->from, u->to, false);
	err = plugsched_scan_begin(u);
	if (!err)
		err = update_run(u);
	/* What was toggled between the copy and the stop. */
	if (!err)
		plugsched_carry_features(u->from, u->to, true);
	plugsched_scan_end(u);
out:
	plugsched_update_publish(u, err);
	plugsched_text_finish(u);
	return err;
}

static void forget_previous(struct plugsched_module *m)
{
	if (m->previous) {
		module_put(m->previous->owner);
		module_put(m->previous->owner);
	}
	m->previous = NULL;
}

/*
 * Go from one scheduler to the other. An active module holds a reference to
 * itself, so that it cannot be unloaded.
 * Context: process; the locks of both modules held.
 */
static int update(struct plugsched_module *from, struct plugsched_module *to)
{
	struct plugsched_update u = { .from = from, .to = to, .initiator = current };
	int err;

	if (to && !try_module_get(to->owner))
		return -ENODEV;
	/* Its work must not be caught inside of the module. */
	if (from)
		from->stopped();
	/* What the kernel says during the update counts. */
	if (to == &plugsched_self)
		plugsched_kmsg_start(true);
	err = plugsched_update_alloc(&u);
	if (!err)
		err = update_try(&u);
	plugsched_update_free(&u);
	if (err) {
		if (to)
			module_put(to->owner);
		if (from && READ_ONCE(from->active))
			from->started(false);
		return err;
	}
	if (from) {
		forget_previous(from);
		module_put(from->owner);
	}
	if (to)
		to->started(true);
	return 0;
}

/* Context: process. Returns -EBUSY when tasks are in the way or an update runs. */
int plugsched_enable(bool on)
{
	int err;

	/* Whoever waits here has a frame in this module, see sysfs.c. */
	if (!mutex_trylock(&update_lock))
		return -EBUSY;
	if (plugsched_rescue_pending())
		err = -EBUSY;
	else if (on == plugsched_self.active)
		err = -EALREADY;
	else if (on)
		err = update(NULL, &plugsched_self);
	else
		err = update(&plugsched_self, NULL);
	mutex_unlock(&update_lock);
	return err;
}

/*
 * Take over from another module. With a deadline it is kept, so that it can come
 * back; otherwise it can be unloaded afterwards.
 */
static int replace(struct plugsched_module *peer)
{
	int err;

	if (plugsched_rescue_pending())
		return -EBUSY;
	if (plugsched_self.active)
		return -EALREADY;
	if (!READ_ONCE(peer->active))
		return -ENOENT;
	if (plugsched_try_ms) {
		/* One for the way back, one for when it runs again. */
		__module_get(peer->owner);
		__module_get(peer->owner);
		plugsched_self.previous = peer;
	}
	err = update(peer, &plugsched_self);
	if (err)
		forget_previous(&plugsched_self);
	return err;
}

/* Context: process. As plugsched_enable(); -ENOENT: no such module is active. */
int plugsched_replace(const char *name)
{
	struct plugsched_module *peer;
	int err;

	peer = plugsched_peer_get(name);
	if (IS_ERR(peer))
		return PTR_ERR(peer);
	err = -EBUSY;
	if (!mutex_trylock(&update_lock))
		goto out;
	if (mutex_trylock(peer->lock)) {
		err = replace(peer);
		mutex_unlock(peer->lock);
	}
	mutex_unlock(&update_lock);
out:
	plugsched_peer_put(peer);
	return err;
}

/*
 * What is set takes effect at once: watching is interrupted for it, so that no
 * rescue comes in between.
 */
static void rearm(bool fresh)
{
	if (plugsched_self.active)
		plugsched_rescue_arm(fresh);
}

/*
 * Before an update: it is a trial of so many milliseconds. Afterwards: 0, the
 * scheduler stays. Context: process. -EBUSY: an update runs.
 */
int plugsched_try(unsigned int ms)
{
	int err = 0;

	if (!mutex_trylock(&update_lock))
		return -EBUSY;
	if (!plugsched_self.active) {
		plugsched_try_ms = ms;
	} else if (ms) {
		err = -EINVAL;
	} else {
		plugsched_rescue_disarm();
		if (plugsched_self.active)
			forget_previous(&plugsched_self);
		rearm(true);
	}
	mutex_unlock(&update_lock);
	return err;
}

/* Context: process. -EBUSY: an update runs. */
int plugsched_set_watchdog(unsigned int ms)
{
	if (ms && (ms < 100 || ms > 24 * 60 * 60 * 1000))
		return -ERANGE;
	if (!mutex_trylock(&update_lock))
		return -EBUSY;
	if (plugsched_self.active)
		plugsched_rescue_disarm();
	plugsched_watchdog_ms = ms;
	rearm(false);
	mutex_unlock(&update_lock);
	return 0;
}

/* Get ready to be unloaded. Context: process. -EBUSY: it runs, or an update does. */
int plugsched_leave(void)
{
	int err = -EBUSY;

	if (!mutex_trylock(&update_lock))
		return -EBUSY;
	if (!plugsched_self.active && !plugsched_rescue_pending())
		err = plugsched_retire();
	mutex_unlock(&update_lock);
	return err;
}

/*
 * An active module holds a reference to itself, so that it normally is unloaded
 * inactive. A forced unload does not care: the kernel must not be left with jumps
 * to nowhere.
 */
void plugsched_forced_exit(void)
{
	mutex_lock(&update_lock);
	while (plugsched_self.active && update(&plugsched_self, NULL))
		msleep(20);
	mutex_unlock(&update_lock);
}
