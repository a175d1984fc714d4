// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watchdog finds what a broken scheduler does to others: a task that could run
 * and is not run, one that is in no queue though it is awake, and a CPU that does
 * not switch. Tasks are looked at by a thread of low cost, which is itself a task
 * that wants to run: the timer sees when it does not.
 *
 * Its clock counts the timer's periods, so that a machine that was suspended or a
 * guest that was not run does not look starved afterwards.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/hash.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/task.h>
#include <linux/stacktrace.h>

#include "config.h"
#include "internal.h"
#include "plugsched.h"

#define DEFAULT_MS	30000
#define WAIT_BITS	12
#define WAIT_SIZE	BIT(WAIT_BITS)
#define WAIT_PROBES	16

unsigned int plugsched_watchdog_ms = DEFAULT_MS;	/* 0: off */

/* A task that waits for a CPU. */
struct waiting {
	struct task_struct *task;	/* referenced */
	unsigned long switches;		/* it has not run as long as they stay */
	u64 since;			/* in clock_ms */
	struct plugsched_wait wait;
};

/* Hashed by task: of this round of the scan, and of the one before. */
static struct waiting *waiting, *waited;

static u64 clock_ms;			/* written by the timer */
static u64 scanned_at;			/* in clock_ms */

/* What the timer saw of each CPU. */
struct cpu_look {
	u64 switches;
	unsigned int stuck_ms;
};

static DEFINE_PER_CPU(struct cpu_look, cpu_look);

static struct task_struct *thread;

static unsigned long switches_of(const struct task_struct *p)
{
	return READ_ONCE(p->nvcsw) + READ_ONCE(p->nivcsw);
}

static bool queued(struct task_struct *p)
{
	return !READ_ONCE(p->on_cpu) && READ_ONCE(p->on_rq) && !plugsched_delayed(p);
}

/* Return the place of a task in a table: its own, or a free one, or NULL. */
static struct waiting *place(struct waiting *table, const struct task_struct *p)
{
	unsigned int slot = hash_ptr(p, WAIT_BITS), i;

	for (i = 0; i < WAIT_PROBES; i++, slot = (slot + 1) % WAIT_SIZE)
		if (!table[slot].task || table[slot].task == p)
			return &table[slot];
	return NULL;
}

static void describe(struct task_struct *p, const struct plugsched_wait *w)
{
	const struct rq *rq = task_rq(p);
	unsigned long stack[16];
	struct task_struct *curr;

	plugsched_note("task %d (%s): state %#x, policy %u, priority %d, on_rq %d, CPU %d\n",
		       task_pid_nr(p), p->comm, READ_ONCE(plugsched_state(p)), p->policy, p->prio,
		       READ_ONCE(p->on_rq), task_cpu(p));
	plugsched_note_stack(stack, stack_trace_save_tsk(p, stack, ARRAY_SIZE(stack), 0));
	rcu_read_lock();
	curr = rcu_dereference(rq->curr);
	plugsched_note("run queue %d: %u running, %u of them realtime; %llu switches, now %d (%s)\n",
		       task_cpu(p), rq->nr_running, rq->rt.rt_nr_running, rq->nr_switches,
		       task_pid_nr(curr), curr->comm);
	rcu_read_unlock();
	plugsched_note("its CPU had %llu ms, it is owed %llu ms; up to %llu ms would be right\n",
		       w->had / NSEC_PER_MSEC, w->due / NSEC_PER_MSEC,
		       2 * w->bound / NSEC_PER_MSEC);
}

/* Called for every task. */
static int look_at(struct task_struct *p, void *unused)
{
	struct waiting *now, *before;
	bool lost = plugsched_lost(p);

	plugsched_starving_count(p);
	if (!lost && (!queued(p) || plugsched_waits_rightly(p)))
		return 0;
	now = place(waiting, p);
	if (!now || now->task)
		return 0;
	get_task_struct(p);
	now->task = p;
	now->switches = switches_of(p);
	before = place(waited, p);
	if (before && (!before->task || before->switches != now->switches))
		before = NULL;
	now->since = before ? before->since : READ_ONCE(clock_ms);
	plugsched_wait(p, &now->wait, before ? &before->wait : NULL);
	if (lost ? now->wait.had <= plugsched_watchdog_ms * NSEC_PER_MSEC :
		   !plugsched_starves(p, &now->wait))
		return 0;
	if (!plugsched_alarm(true, "task %d (%s) %s for %llu ms", task_pid_nr(p), p->comm,
			     lost ? "is awake but in no queue" : "was not run",
			     READ_ONCE(clock_ms) - now->since))
		describe(p, &now->wait);
	return 1;
}

static void forget(struct waiting *table)
{
	unsigned int i;

	for (i = 0; table && i < WAIT_SIZE; i++) {
		if (table[i].task)
			put_task_struct(table[i].task);
		table[i].task = NULL;
	}
}

static unsigned int scan_ms(void)
{
	return clamp(READ_ONCE(plugsched_watchdog_ms) / 4, 50U, 5000U);
}

static void scan_tasks(void)
{
	plugsched_starving_begin();
	plugsched_for_each_task(look_at, NULL);
	swap(waiting, waited);
	forget(waiting);
	WRITE_ONCE(scanned_at, READ_ONCE(clock_ms));
}

/*
 * It goes round while no scheduler is to be watched too: to be woken for the first one
 * would have to survive that one.
 */
static int work(void *unused)
{
	while (!kthread_should_stop()) {
		if (READ_ONCE(plugsched_self.active) && READ_ONCE(plugsched_watchdog_ms)) {
			scan_tasks();
		} else {
			forget(waiting);
			forget(waited);
		}
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule_timeout(msecs_to_jiffies(scan_ms()));
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

/* A CPU that is to switch, or has work and is idle, and does not switch. */
static void look_at_cpu(int cpu, unsigned int ms)
{
	struct cpu_look *look = per_cpu_ptr(&cpu_look, cpu);
	const struct rq *rq = cpu_rq(cpu);
	struct task_struct *curr = rcu_dereference_sched(rq->curr);
	bool due = test_tsk_need_resched(curr) || (is_idle_task(curr) && READ_ONCE(rq->nr_running));

	if (!due || look->switches != READ_ONCE(rq->nr_switches)) {
		look->switches = READ_ONCE(rq->nr_switches);
		look->stuck_ms = 0;
		return;
	}
	look->stuck_ms += ms;
	if (look->stuck_ms <= plugsched_watchdog_ms)
		return;
	plugsched_alarm(true, "CPU %d has not scheduled for %u ms: it runs %d (%s), %u tasks wait",
			cpu, look->stuck_ms, task_pid_nr(curr), curr->comm, rq->nr_running);
	look->stuck_ms = 0;
}

/*
 * ms is how long the timer's last period was meant to be.
 * Context: hard interrupt, no locks: the run queue's may be what is stuck.
 */
void plugsched_watchdog_tick(unsigned int ms)
{
	u64 bound;
	int cpu;

	WRITE_ONCE(clock_ms, clock_ms + ms);
	if (!plugsched_watchdog_ms)
		return;
	plugsched_starving_tick(ms);
	for_each_online_cpu(cpu)
		look_at_cpu(cpu, ms);
	bound = 2 * scan_ms() + plugsched_watchdog_ms;
	if (clock_ms - READ_ONCE(scanned_at) > bound &&
	    !plugsched_newcomer_waits(bound * NSEC_PER_MSEC))
		plugsched_alarm(true, "the watchdog's own work was not run for %llu ms",
				clock_ms - scanned_at);
}

/* What was seen before counts no more. Context: stopped machine, or process. */
void plugsched_watchdog_reset(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		per_cpu(cpu_look, cpu).stuck_ms = 0;
	WRITE_ONCE(scanned_at, READ_ONCE(clock_ms));
}

/* Milliseconds, 0: off. Context: process. */
void plugsched_watchdog_set(unsigned int ms)
{
	plugsched_watchdog_reset();
	WRITE_ONCE(plugsched_watchdog_ms, ms);
	/* Its next round may be due earlier than it thinks. */
	__orig_wake_up_process(thread);
}

/* All that it needs is there with the module. Context: module loading. */
int plugsched_watchdog_init(void)
{
	int err;

	err = plugsched_starving_init();
	if (err)
		return err;
	err = -ENOMEM;
	waiting = kvcalloc(WAIT_SIZE, sizeof(*waiting), GFP_KERNEL);
	waited = kvcalloc(WAIT_SIZE, sizeof(*waited), GFP_KERNEL);
	if (!waiting || !waited)
		goto out;
	thread = kthread_run(work, NULL, "plugsched_watch");
	if (!IS_ERR(thread))
		return 0;
	err = PTR_ERR(thread);
	thread = NULL;
out:
	plugsched_watchdog_exit();
	return err;
}

/* Context: process, may sleep; no alarm can be raised any more. */
void plugsched_watchdog_exit(void)
{
	if (thread)
		kthread_stop(thread);
	plugsched_starving_exit();
	forget(waiting);
	forget(waited);
	kvfree(waiting);
	kvfree(waited);
	waiting = NULL;
	waited = NULL;
}
