// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rolling back without being asked by a process.
 *
 * The scheduler that is to be left may be the one that runs nobody any more. So
 * nothing up to the switch relies on a task of an ordinary class: a timer or an irq_work,
 * in hard interrupt context, asks this CPU's stopper, which stops the machine (stop.c).
 * Behind the switch, a thread that exists since the module was loaded does what takes a
 * process: it wakes everybody first, and waits for RCU, locks and others only then.
 *
 * What cannot be survived: a CPU that takes no interrupts, or whose stopper is not
 * run either. The other CPUs are then let go, and it is tried again.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/cpu.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>
#include <uapi/linux/sched/types.h>

#include "internal.h"
#include "kernel.h"
#include "plugsched.h"

#define RETRY_MS	50
#define RETRY_MAX_MS	5000
#define QUEUED_MAX_NS	NSEC_PER_SEC
#define FORCE_AFTER	20	/* tries with something in the way */

static struct plugsched_update rollback;
static bool rolled_back;
static bool aftermath_due;		/* it was rolled back, but is not done with it */
static bool pinned;			/* it must never be unloaded */
static unsigned int tries, busy_tries, hooked_tries;
static u64 not_before;			/* the next try */
static struct task_struct *thread;

/* What is in the way; the thread prints it, because a console may wake somebody. */
static char obstacle[128];
static int noted;			/* the error that it stands for */
static bool print_due;

enum { IDLE, QUEUED, LEADING };
static atomic_t stage;
static u64 queued_at;
static DEFINE_PER_CPU(struct cpu_stop_work, lead_work);
static DEFINE_PER_CPU(bool, lead_queued);

static void describe_obstacle(int err, char *text, size_t size)
{
	const struct plugsched_busy *b = &rollback.busy[0];

	if (err == -ETIMEDOUT)
		scnprintf(text, size, "CPU %d does not answer", plugsched_absent_cpu());
	else if (err == -EEXIST)
		scnprintf(text, size, "something has hooked %s", rollback.conflict);
	else if (b->err)
		scnprintf(text, size, "the stack of task %d (%s) cannot be unwound", b->pid,
			  b->comm);
	else
		scnprintf(text, size, "task %d (%s) is in %ps", b->pid, b->comm, (void *)b->frame);
}

/* Say once for each reason why it does not roll back yet. */
static void note_obstacle(int err)
{
	if (err == noted || err == -EAGAIN)
		return;
	noted = err;
	describe_obstacle(err, obstacle, sizeof(obstacle));
	plugsched_note("rolling back has to wait: %s\n", obstacle);
	smp_store_release(&print_due, true);	/* pairs with print_obstacle() */
}

static void succeeded(void)
{
	bool over_tasks = atomic_read(&rollback.nr_busy);

	if (over_tasks)
		plugsched_note("tasks in the way were ignored: the module stays loaded\n");
	if (rollback.left_alone)
		plugsched_note("%s and %u more are hooked and were left: the module stays loaded\n",
			       rollback.conflict, rollback.left_alone - 1);
	if (over_tasks || rollback.left_alone)
		WRITE_ONCE(pinned, true);
	WRITE_ONCE(aftermath_due, true);
	WRITE_ONCE(rolled_back, true);
	__orig_wake_up_process(thread);
}

static void failed(int err)
{
	note_obstacle(err);
	tries++;
	if (err == -EBUSY)
		busy_tries++;
	if (err == -EEXIST)
		hooked_tries++;
	not_before = ktime_get_mono_fast_ns() +
		     min(RETRY_MS << min(tries / 4, 7U), RETRY_MAX_MS) * NSEC_PER_MSEC;
}

/*
 * Nobody may be about to change a function's head. Somebody who has been lost could keep
 * the lock for ever; then it is not waited for.
 */
static int without_probes(void)
{
	bool locked = plugsched_lock_probes();
	int err;

	if (!locked && !plugsched_probes_stand_still() && tries < FORCE_AFTER)
		return -EAGAIN;
	err = plugsched_stop(&rollback.job);
	if (locked)
		plugsched_unlock_probes();
	return err;
}

/* Context: stopper: preemption is off, nothing may sleep. */
static int lead(void *unused)
{
	int err = -EALREADY;

	this_cpu_write(lead_queued, false);
	if (atomic_cmpxchg(&stage, QUEUED, LEADING) != QUEUED)
		return 0;
	if (plugsched_self.active) {
		rollback.from = &plugsched_self;
		rollback.to = plugsched_self.previous;
		rollback.rollback = true;
		rollback.over_tasks = busy_tries >= FORCE_AFTER;
		rollback.over_hooks = hooked_tries >= FORCE_AFTER;
		rollback.heal = plugsched_alarm_repairs();
		err = without_probes();
	}
	if (!err)
		succeeded();
	else if (err != -EALREADY)
		failed(err);
	atomic_set_release(&stage, IDLE);
	return 0;
}

/*
 * Begin an attempt on this CPU, unless one runs or it is too early. If another CPU's
 * stopper was asked and does not come, this one may take its place.
 * Context: hard interrupt; now is in mono_fast time.
 */
void plugsched_rollback_attempt(u64 now)
{
	int was;

	if (!READ_ONCE(plugsched_self.active) || now < READ_ONCE(not_before))
		return;
	was = atomic_cmpxchg(&stage, IDLE, QUEUED);
	if (was == LEADING || (was == QUEUED && now - READ_ONCE(queued_at) < QUEUED_MAX_NS))
		return;
	WRITE_ONCE(queued_at, now);
	if (this_cpu_xchg(lead_queued, true))
		return;
	if (!plugsched_ask_stopper(lead, this_cpu_ptr(&lead_work)))
		this_cpu_write(lead_queued, false);
}

/* The scheduler runs from now on. Context: stopped machine. */
void plugsched_rollback_reset(void)
{
	tries = 0;
	busy_tries = 0;
	hooked_tries = 0;
	noted = 0;
	not_before = 0;
	rolled_back = false;
}

bool plugsched_rolled_back(void)
{
	return READ_ONCE(rolled_back);
}

/* Whether the module stays for good. */
bool plugsched_pinned(void)
{
	return READ_ONCE(pinned);
}

/*
 * Whether a rollback has led from or to a module, and is not done: until then it takes part
 * in no other update. Context: its lock is held.
 */
bool plugsched_rollback_pending(const struct plugsched_module *m)
{
	return smp_load_acquire(&m->settling);	/* pairs with settled() */
}

static void print_obstacle(void)
{
	if (!smp_load_acquire(&print_due))	/* pairs with note_obstacle() */
		return;
	print_due = false;
	pr_err("%s is to be left, but that has to wait: %s\n", THIS_MODULE->name, obstacle);
}

static void settled(struct plugsched_module *m)
{
	smp_store_release(&m->settling, false);	/* pairs with plugsched_rollback_pending() */
}

/*
 * What needs a process, once the other scheduler runs. Of the two references to the
 * module before, one has become its own.
 */
static void aftermath(void)
{
	struct plugsched_module *to = rollback.to;

	/* Whoever holds what is waited for below may be among those who were lost. */
	plugsched_wake_everybody(rollback.heal);
	if (rollback.heal)
		plugsched_heal_groups();
	mutex_lock(plugsched_self.lock);
	plugsched_report_log();
	plugsched_update_publish(&rollback, 0);
	plugsched_carry_features(&plugsched_self, to, false);
	plugsched_carry_values(&plugsched_self, to);
	plugsched_self.previous = NULL;
	if (to) {
		WRITE_ONCE(to->kept, false);
		settled(to);
		module_put(to->owner);
	}
	WRITE_ONCE(aftermath_due, false);
	settled(&plugsched_self);
	if (!pinned)
		module_put(THIS_MODULE);
	mutex_unlock(plugsched_self.lock);
}

/* It looks once a second by itself: to wake it could be what hangs. */
static int work(void *unused)
{
	while (!kthread_should_stop()) {
		if (READ_ONCE(aftermath_due))
			aftermath();
		print_obstacle();
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop() && !READ_ONCE(aftermath_due))
			schedule_timeout(HZ);
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

/* Everything that a rollback needs is there with the module. Context: module loading. */
int plugsched_rollback_init(void)
{
	const struct sched_param first = { .sched_priority = MAX_RT_PRIO - 1 };
	int err;

	err = plugsched_update_alloc(&rollback);
	if (err)
		return err;
	thread = kthread_create(work, NULL, "plugsched_guard");
	if (IS_ERR(thread)) {
		plugsched_update_free(&rollback);
		return PTR_ERR(thread);
	}
	__orig_sched_setscheduler_nocheck(thread, SCHED_FIFO, &first);
	__orig_wake_up_process(thread);
	return 0;
}

static int nothing(void *unused)
{
	return 0;
}

/* Context: process, may sleep, when the scheduler does not run and no alarm is raised. */
void plugsched_rollback_exit(void)
{
	int cpu;

	kthread_stop(thread);
	/* What was asked of a stopper may still be queued. */
	cpus_read_lock();
	for_each_online_cpu(cpu)
		stop_one_cpu(cpu, nothing, NULL);
	cpus_read_unlock();
	plugsched_update_free(&rollback);
}
