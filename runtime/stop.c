// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stopping the machine. stop_machine() would do, but for two things: a rollback cannot
 * sleep until it is done, and whoever sleeps in stop_machine() holds its locks until the
 * new scheduler lets him run, without which there is no way back. So one stopper thread,
 * whose class comes before all others, takes the locks, gathers the other CPUs' stoppers
 * and gives the locks back.
 *
 * A pair of stop_two_cpus() that was queued before can be met in the opposite order; then
 * nobody comes in time, all are let go, and the caller tries again.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/bottom_half.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/nmi.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>

#include "kernel.h"
#include "plugsched.h"

#define STOP_TRIES	10	/* while somebody else stops the machine, or a CPU is late */
#define STOP_PAUSE_MS	20
#define GATHER_NS	(100 * NSEC_PER_MSEC)
#define GATHER_SHIFT	4	/* it may take 1.6 s in the end */

static int absent = -1;			/* a CPU that did not come to the last try, or -1 */
static struct plugsched_job *todo;	/* of those who wait */

/*
 * A stopper says that it has come, and then waits for the leader's one decision on that
 * attempt. So whoever is counted is there when it begins.
 */
static unsigned int attempt;		/* number of the last; stop_cpus_mutex */
static unsigned int gathering;		/* number of the open attempt, 0: none */
static unsigned int going, given_up;	/* decisions */
static atomic_t inside;			/* CPUs that have not done it yet */
static unsigned int done;		/* number of the last attempt that all have done */
static u64 done_at;			/* when they had */
static DEFINE_PER_CPU(unsigned int, arrived);

static DEFINE_PER_CPU(struct cpu_stop_work, follow_work);
static DEFINE_PER_CPU(bool, follow_queued);
static DEFINE_PER_CPU(struct irq_work, follow_kick);

/*
 * Do the job, and wait until all have: nobody takes an interrupt, or lets a task run, before.
 * The job is the caller's memory, and the leader's alone then.
 */
static int run(void)
{
	unsigned int mine = attempt;	/* the next one needs all of us first */
	unsigned long flags;
	int err;

	local_irq_save(flags);
	err = todo->run(todo);
	if (atomic_dec_and_test(&inside)) {	/* a full barrier */
		done_at = ktime_get_mono_fast_ns();
		smp_store_release(&done, mine);	/* pairs with the others' */
	}
	while (smp_load_acquire(&done) != mine) { /* pairs with the last one's */
		touch_nmi_watchdog();
		cpu_relax();
	}
	local_irq_restore(flags);
	return err;
}

/* Come, and do what is decided. Context: stopper, softirqs off. */
static void follow_attempt(unsigned int mine)
{
	/* Pairs with missing_cpu(); the decisions pair with gather(). */
	smp_store_release(this_cpu_ptr(&arrived), mine);
	while (smp_load_acquire(&going) != mine) { /* the job is set up */
		if (smp_load_acquire(&given_up) >= mine) /* nothing to see */
			return;
		touch_nmi_watchdog();
		cpu_relax();
	}
	run();
}

/*
 * While CPUs wait for each other they take interrupts, for who does not come may wait for an
 * answer. But whatever those leave to be done later is for after the stop: all others
 * would stand still for it. Context: stopper.
 */
static int follow(void *unused)
{
	unsigned int mine;

	this_cpu_write(follow_queued, false);
	mine = smp_load_acquire(&gathering);	/* pairs with gather() */
	if (!mine)
		return 0;
	local_bh_disable();
	follow_attempt(mine);
	local_bh_enable();
	return 0;
}

/*
 * Later kernels do not say whether the stopper takes it, and warn if it does not. It does from
 * when the CPU is active until it is offline, with which interrupts end.
 */
static inline bool would_take_it(unsigned int cpu)
{
#ifdef PLUGSCHED_HAVE_DYING
	return cpu_active(cpu) || cpu_dying(cpu);
#else
	return true;
#endif
}

#define SAYS_NOTHING(call) __builtin_types_compatible_p(typeof(call), void)

/*
 * Give this CPU's stopper something to do. False: it takes nothing, because the CPU comes
 * or goes. Context: hard interrupt.
 */
bool plugsched_ask_stopper(cpu_stop_fn_t fn, struct cpu_stop_work *work)
{
	unsigned int cpu = smp_processor_id();

	lockdep_assert_irqs_disabled();
	return __builtin_choose_expr(SAYS_NOTHING(stop_one_cpu_nowait(cpu, fn, NULL, work)),
				     would_take_it(cpu) && ({ stop_one_cpu_nowait(cpu, fn, NULL, work); true; }),
				     stop_one_cpu_nowait(cpu, fn, NULL, work));
}

/* Context: hard interrupt. */
static void ask_stopper(struct irq_work *work)
{
	if (this_cpu_xchg(follow_queued, true))
		return;
	if (!plugsched_ask_stopper(follow, this_cpu_ptr(&follow_work)))
		this_cpu_write(follow_queued, false);
}

/* Return the first CPU that has not come, or -1. */
static int missing_cpu(void)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id() && /* pairs with follow() */
		    smp_load_acquire(per_cpu_ptr(&arrived, cpu)) != attempt)
			return cpu;
	return -1;
}

/*
 * Let each other CPU ask its own stopper: waking a stopper takes its CPU's run
 * queue lock, which may be what a broken scheduler has kept.
 */
static void call_followers(void)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id())
			irq_work_queue_on(per_cpu_ptr(&follow_kick, cpu), cpu);
}

/*
 * Set the job up. Only when all have come: one of them may have been slow to leave the
 * attempt before, which read the same.
 */
static void set_up(struct plugsched_job *job, u64 begun)
{
	job->late = 0;
	job->cpus = num_online_cpus();
	job->begun = begun;
	job->gathered = ktime_get_mono_fast_ns();
	if (job->set_up)
		job->set_up(job);
	todo = job;
	atomic_set(&inside, job->cpus);
}

/* Return whether all CPUs wait for the job. Context: stopper, stop_cpus_mutex held. */
static bool gather(struct plugsched_job *job)
{
	u64 begun = ktime_get_mono_fast_ns();
	u64 end = begun + (GATHER_NS << min(job->late++, GATHER_SHIFT));

	smp_store_release(&gathering, ++attempt);	/* pairs with follow() */
	call_followers();
	while ((absent = missing_cpu()) >= 0) {
		if (ktime_get_mono_fast_ns() > end) {
			WRITE_ONCE(gathering, 0);
			smp_store_release(&given_up, attempt);	/* pairs with follow() */
			return false;
		}
		touch_nmi_watchdog();
		cpu_relax();
	}
	WRITE_ONCE(gathering, 0);
	set_up(job, begun);
	smp_store_release(&going, attempt);	/* pairs with follow() */
	return true;
}

static int stop_and_go(struct plugsched_job *job)
{
	int err = -ETIMEDOUT;

	lockdep_assert_held(&stop_cpus_mutex);
	local_bh_disable();
	if (gather(job)) {
		err = run();
		job->ended = done_at;
	}
	local_bh_enable();
	return err;
}

/*
 * Stop all CPUs and do a job. -EAGAIN: somebody else stops the machine or changes which
 * CPUs are online; -ETIMEDOUT: a CPU did not come, see plugsched_absent_cpu().
 * Context: stopper: preemption is off, nothing may sleep.
 */
int plugsched_stop(struct plugsched_job *job)
{
	int err = -EAGAIN;

	if (!cpus_read_trylock())
		return err;
	if (mutex_trylock(&stop_cpus_mutex)) {
		err = stop_and_go(job);
		mutex_unlock(&stop_cpus_mutex);
	}
	cpus_read_unlock();
	return err;
}

static int stop_here(void *job)
{
	return plugsched_stop(job);
}

/* The same, with some patience. -EBUSY: it was not enough. Context: process, may sleep. */
int plugsched_stop_patiently(struct plugsched_job *job)
{
	unsigned int tries = 0;
	int err;

	might_sleep();
	for (;;) {
		/* -ENOENT: this CPU has just gone offline */
		err = stop_one_cpu(raw_smp_processor_id(), stop_here, job);
		if (err != -EAGAIN && err != -ETIMEDOUT && err != -ENOENT)
			return err;
		if (++tries == STOP_TRIES)
			break;
		msleep(STOP_PAUSE_MS);
	}
	if (err == -ETIMEDOUT)
		pr_err("CPU %d does not answer: nothing was changed\n", plugsched_absent_cpu());
	return -EBUSY;
}

/* A job of one CPU, while the others stand still. */
struct lonely_job {
	struct plugsched_job job;
	void (*fn)(void);
	atomic_t arrived;
	bool done;
};

static int run_alone(struct plugsched_job *job)
{
	struct lonely_job *l = container_of(job, struct lonely_job, job);

	if (atomic_inc_return(&l->arrived) < job->cpus) {
		while (!smp_load_acquire(&l->done)) { /* pairs with the last one's */
			touch_nmi_watchdog();
			cpu_relax();
		}
		return 0;
	}
	l->fn();
	smp_store_release(&l->done, true);	/* pairs with the others' */
	return 0;
}

/* Call fn on one CPU while all others stand still, IRQs off. Context: as before. */
int plugsched_stop_others(void (*fn)(void))
{
	struct lonely_job l = { .job.run = run_alone, .fn = fn };

	return plugsched_stop_patiently(&l.job);
}

/*
 * Call fn while no rollback can begin, and nobody can be lost who keeps it from beginning.
 * Context: process, may sleep; fn is called with preemption off.
 */
int plugsched_unstopped(int (*fn)(void))
{
	int err;

	might_sleep();
	for (;;) {
		preempt_disable();
		if (mutex_trylock(&stop_cpus_mutex))
			break;
		preempt_enable();
		schedule_timeout_uninterruptible(1);
	}
	err = fn();
	mutex_unlock(&stop_cpus_mutex);
	preempt_enable();
	return err;
}

/* Context: any, after -ETIMEDOUT. */
int plugsched_absent_cpu(void)
{
	return READ_ONCE(absent);
}

void plugsched_stop_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		per_cpu(follow_kick, cpu) = IRQ_WORK_INIT_HARD(ask_stopper);
}

static int nothing(void *unused)
{
	return 0;
}

/* Works of attempts that were given up may still be queued. Context: process, may sleep. */
void plugsched_stop_exit(void)
{
	int cpu;

	if (!attempt)
		return;
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		irq_work_sync(per_cpu_ptr(&follow_kick, cpu));
		stop_one_cpu(cpu, nothing, NULL);
	}
	cpus_read_unlock();
}
