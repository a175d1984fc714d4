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
 * Count this CPU in, and note the time if it is the last: what all have done is over then, and
 * the others need not have seen that. The full barrier of the atomic increment publishes what
 * a CPU did before. Return how many have to come.
 */
static int arrive(struct plugsched_update *u, unsigned int *round, enum plugsched_time t)
{
	int all = ++*round * u->job.cpus;

	if (atomic_inc_return(&u->arrived) == all && t != PLUGSCHED_T_NR)
		u->time[t] = ktime_get_mono_fast_ns();
	return all;
}

/*
 * Every CPU waits here until all have arrived. The acquire makes visible what the others did
 * before. Context: stopped machine, IRQs off.
 */
static void rendezvous(struct plugsched_update *u, unsigned int *round, enum plugsched_time t)
{
	int all = arrive(u, round, t);

	while (atomic_read_acquire(&u->arrived) < all) {
		touch_nmi_watchdog();
		cpu_relax();
	}
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
		rendezvous(u, round, PLUGSCHED_T_NR);
		plugsched_arch_sync();
		rendezvous(u, round, PLUGSCHED_T_REDIRECTED); /* the last one counts */
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
	rendezvous(u, &round, PLUGSCHED_T_STOPPED);

	check(u, id);
	rendezvous(u, &round, PLUGSCHED_T_CHECKED);
	err = atomic_read(&u->verdict);
	if (err)
		return err;

	plugsched_clear_rq(cpu, u);
	rendezvous(u, &round, PLUGSCHED_T_CLEARED);

	redirect(u, id, &round);

	plugsched_rebuild_rq(cpu, u);
	if (!id) {
		plugsched_lost_settle(u);
		change_guards(u);
	}
	arrive(u, &round, PLUGSCHED_T_REBUILT);
	return 0;	/* and nobody goes on before all have done so (stop.c) */
}
