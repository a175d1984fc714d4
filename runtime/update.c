// SPDX-License-Identifier: GPL-2.0-only
/*
 * The update that a process asks for: all that can fail is done and allocated beforehand,
 * then the machine is stopped (stop.c, stopped.c).
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "kernel.h"
#include "plugsched.h"

/*
 * Whatever came of another try; the sleepers that the scan has inspected stay counted.
 * Context: stopper, every CPU waits.
 */
static void reset(struct plugsched_job *job)
{
	struct plugsched_update *u = container_of(job, struct plugsched_update, job);

	atomic_set(&u->ids, 0);
	atomic_set(&u->arrived, 0);
	atomic_set(&u->verdict, 0);
	atomic_set(&u->nr_busy, 0);
	atomic_set(&u->stopped, 0);
	u->conflict = NULL;
	u->left_alone = 0;
	u->lost = 0;
}

int plugsched_update_alloc(struct plugsched_update *u)
{
	u->job.set_up = reset;
	u->job.run = plugsched_update_stopped;
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

/* Context: process, or the rollback's thread. */
void plugsched_update_publish(struct plugsched_update *u, int err)
{
	plugsched_outcome_publish(u, err);
	if (err)
		return;
	pr_info("%s took over from %s: %u CPUs, %d threads, stopped for %llu ns\n",
		plugsched_name_of(u->to), plugsched_name_of(u->from), u->job.cpus,
		atomic_read(&u->threads) + atomic_read(&u->stopped), u->job.ended - u->job.begun);
}

#ifdef CONFIG_KPROBES

/*
 * Keep kprobes from coming and going: between preparing one and listing it
 * (register_kprobe()), nothing tells that it will change the text.
 * Context: stopper. False: somebody else does that just now.
 */
bool plugsched_lock_probes(void)
{
	/* Who updates stands still, wherever he is: the machine will. */
	return !READ_ONCE(plugsched_self.probes_held) && mutex_trylock(&kprobe_mutex);
}

bool plugsched_probes_stand_still(void)
{
	return READ_ONCE(plugsched_self.probes_held);
}

void plugsched_unlock_probes(void)
{
	mutex_unlock(&kprobe_mutex);
}

/* Both modules know: the one that is left may want to roll back meanwhile. */
static void set_held(const struct plugsched_update *u, bool held)
{
	if (u->from)
		WRITE_ONCE(u->from->probes_held, held);
	if (u->to)
		WRITE_ONCE(u->to->probes_held, held);
}

static void hold_probes(const struct plugsched_update *u)
{
	mutex_lock(&kprobe_mutex);
	set_held(u, true);
}

static void release_probes(const struct plugsched_update *u)
{
	set_held(u, false);
	mutex_unlock(&kprobe_mutex);
}

#else

bool plugsched_lock_probes(void)
{
	return true;
}

bool plugsched_probes_stand_still(void)
{
	return false;
}

void plugsched_unlock_probes(void) {}
static void hold_probes(const struct plugsched_update *u) {}
static void release_probes(const struct plugsched_update *u) {}

#endif

static int scan_and_run(struct plugsched_update *u)
{
	int err;

	plugsched_carry_features(u->from, u->to, false);
	err = plugsched_scan_begin(u);
	if (!err)
		err = plugsched_stop_patiently(&u->job);
	/* What was toggled between the copy and the stop. */
	if (!err) {
		plugsched_carry_features(u->from, u->to, true);
		plugsched_carry_values(u->from, u->to);
	}
	if (!err && u->lost)
		plugsched_wake_everybody(true);
	plugsched_scan_end(u);
	return err;
}

/* All that can fail, then the update itself. */
static int update_try(struct plugsched_update *u)
{
	int err;

	hold_probes(u);
	err = plugsched_text_prepare(u);
	if (!err && u->to == &plugsched_self)
		err = plugsched_holes_clear(u->from);
	if (!err)
		err = scan_and_run(u);
	release_probes(u);
	plugsched_update_publish(u, err);
	if (!err)
		plugsched_bench_floor(u);
	plugsched_text_finish(u);
	return err;
}

/* No rollback leads to a module any more, or NULL. Context: process. */
void plugsched_let_go(struct plugsched_module *previous)
{
	if (!previous)
		return;
	WRITE_ONCE(previous->kept, false);
	module_put(previous->owner);
	module_put(previous->owner);
}

/* Context: process; no rollback can begin. */
void plugsched_forget_previous(struct plugsched_module *m)
{
	plugsched_let_go(m->previous);
	m->previous = NULL;
}

/*
 * Go from one scheduler to the other. An active module holds a reference to
 * itself, so that it cannot be unloaded. The one that is left stays guarded until the
 * switch, and the next one is from there on: whoever is lost in here keeps no way back
 * from being found. force: who uses the one that is left is ended.
 * Context: process, may sleep; the locks of both modules held.
 */
int plugsched_update(struct plugsched_module *from, struct plugsched_module *to, bool force)
{
	struct plugsched_update u = { .from = from, .to = to };
	int err;

	might_sleep();
	if (from)
		lockdep_assert_held(from->lock);
	if (to)
		lockdep_assert_held(to->lock);
	if (to && !try_module_get(to->owner))
		return -ENODEV;
	/* What the kernel says during the update counts. */
	if (to == &plugsched_self)
		plugsched_kmsg_start(true);
	err = plugsched_update_alloc(&u);
	if (!err && from)
		err = from->leaving(force);
	if (!err)
		err = update_try(&u);
	plugsched_update_free(&u);
	if (err) {
		if (from)
			from->staying();
		if (to)
			module_put(to->owner);
		return err;
	}
	if (from) {
		plugsched_forget_previous(from);
		module_put(from->owner);
	}
	return 0;
}
