// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every CPU does while the machine is stopped: all leave one scheduler and enter
 * another, together.
 */
#include <linux/nmi.h>
#include <linux/timekeeping.h>

#include "internal.h"
#include "plugsched.h"

/*
 * Every CPU waits here until all have arrived. The full barrier of the atomic
 * increment publishes what a CPU did before, the acquire makes it visible after.
 * Context: stopped machine, IRQs off.
 */
static void rendezvous(struct plugsched_update *u, unsigned int *round)
{
	int all = ++*round * u->job.cpus;

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

/* A rollback may have come first. */
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
	err = atomic_read(&u->nr_busy) && !u->over_tasks ? -EBUSY : 0;
	if (!id && !plugsched_text_unchanged(u))
		err = -EEXIST;
	/* It might not cope, and cannot be asked. A way back cannot wait for that. */
	if (!id && !u->rollback && plugsched_bpf_scheduler())
		err = -EUSERS;
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
	if (!id)
		plugsched_tables_write(u);
	for (phase = 0; phase < plugsched_poke_phases; phase++) {
		if (!id)
			plugsched_text_poke(u, phase);
		rendezvous(u, round);
		plugsched_arch_sync();
		rendezvous(u, round);
	}
	set_poking(u, id, false);
}

/* From here on the new scheduler's guard watches, and the old one's does not. */
static void change_guards(const struct plugsched_update *u)
{
	if (u->from)
		u->from->left();
	if (u->to)
		u->to->entered();
	if (!u->rollback)
		return;
	/*
	 * Here and not later: until the rollback is done, neither may begin to run again. One
	 * that did, and was rolled back again, would give back one of its two references.
	 */
	u->from->settling = true;
	if (u->to)
		u->to->settling = true;
}

/*
 * Runs on every online CPU at once. Nothing is changed until all CPUs have
 * agreed that no stack is in the way; from then on nothing can fail, and nothing
 * allocates, frees or sleeps.
 * Context: every CPU's stopper, IRQs off.
 */
int plugsched_update_stopped(struct plugsched_job *job)
{
	struct plugsched_update *u = container_of(job, struct plugsched_update, job);
	unsigned int id = atomic_inc_return(&u->ids) - 1;
	int cpu = smp_processor_id();
	unsigned int round = 0;
	int err;

	lockdep_assert_irqs_disabled();
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_STOPPED);

	check(u, id);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_CHECKED);
	err = atomic_read(&u->verdict);
	if (err)
		return err;

	plugsched_clear_rq(cpu, u);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_CLEARED);

	redirect(u, id, &round);
	stamp(u, id, PLUGSCHED_T_REDIRECTED);

	plugsched_rebuild_rq(cpu, u);
	if (!id) {
		plugsched_lost_settle(u);
		change_guards(u);
	}
	stamp(u, id, PLUGSCHED_T_REBUILT);
	rendezvous(u, &round);
	return 0;
}
