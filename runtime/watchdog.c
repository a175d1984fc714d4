// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watchdog finds what a broken scheduler does to others: a task that could run
 * and is not run, one that is in no queue though it is awake, and a CPU that does
 * not switch. Tasks are looked at by a work of low cost, which is itself a task
 * that wants to run: the timer sees when it does not.
 *
 * Its clock counts the timer's periods, so that a machine that was suspended or a
 * guest that was not run does not look starved afterwards.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/task.h>
#include <linux/stacktrace.h>
#include <linux/workqueue.h>

#include "config.h"
#include "internal.h"
#include "plugsched.h"

#define DEFAULT_MS	30000
#define WAIT_BITS	12
#define WAIT_SIZE	BIT(WAIT_BITS)
#define WAIT_PROBES	16

unsigned int plugsched_watchdog_ms = DEFAULT_MS;	/* 0: off */

/* The task that runs scan_tasks(), whose frames are no obstacle to an update. */
struct task_struct *plugsched_watchdog_task;

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

/* Its own: others' works may block the shared ones, memory pressure new workers. */
static struct workqueue_struct *queue;

static void scan_tasks(struct work_struct *work);
static DECLARE_DELAYED_WORK(scan_work, scan_tasks);

static unsigned long switches_of(const struct task_struct *p)
{
	return READ_ONCE(p->nvcsw) + READ_ONCE(p->nivcsw);
}

/* Awake, but in no queue. A wake-up or a fork passes through this, quickly. */
static bool forgotten(struct task_struct *p)
{
	unsigned int state = READ_ONCE(p->__state);

	return !READ_ONCE(p->on_cpu) && !READ_ONCE(p->on_rq) &&
	       (state == TASK_RUNNING || state == TASK_WAKING) && !READ_ONCE(p->exit_state);
}

static bool queued(struct task_struct *p)
{
	return !READ_ONCE(p->on_cpu) && READ_ONCE(p->on_rq);
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
		       task_pid_nr(p), p->comm, READ_ONCE(p->__state), p->policy, p->prio,
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
	bool lost = forgotten(p);

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
	plugsched_rescue(true, "task %d (%s) %s for %llu ms", task_pid_nr(p), p->comm,
			 lost ? "is awake but in no queue" : "was not run",
			 READ_ONCE(clock_ms) - now->since);
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
	return clamp(plugsched_watchdog_ms / 4, 50U, 5000U);
}

static void scan_tasks(struct work_struct *work)
{
	WRITE_ONCE(plugsched_watchdog_task, current);
	plugsched_starving_begin();
	plugsched_for_each_task(look_at, NULL);
	WRITE_ONCE(plugsched_watchdog_task, NULL);
	swap(waiting, waited);
	forget(waiting);
	WRITE_ONCE(scanned_at, READ_ONCE(clock_ms));
	queue_delayed_work(queue, &scan_work, msecs_to_jiffies(scan_ms()));
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
	plugsched_rescue(true, "CPU %d has not scheduled for %u ms: it runs %d (%s), %u tasks wait",
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
	if (!waiting || !plugsched_watchdog_ms)
		return;
	plugsched_starving_tick(ms);
	for_each_online_cpu(cpu)
		look_at_cpu(cpu, ms);
	bound = 2 * scan_ms() + plugsched_watchdog_ms;
	if (clock_ms - READ_ONCE(scanned_at) > bound &&
	    !plugsched_newcomer_waits(bound * NSEC_PER_MSEC))
		plugsched_rescue(true, "the watchdog's own work was not run for %llu ms",
				 clock_ms - scanned_at);
}

/* Context: process. */
void plugsched_watchdog_start(void)
{
	int cpu;

	if (!plugsched_watchdog_ms)
		return;
	for_each_possible_cpu(cpu)
		per_cpu(cpu_look, cpu).stuck_ms = 0;
	WRITE_ONCE(scanned_at, READ_ONCE(clock_ms));
	queue_delayed_work(queue, &scan_work, msecs_to_jiffies(scan_ms()));
}

/* Context: process, may sleep. */
void plugsched_watchdog_stop(void)
{
	cancel_delayed_work_sync(&scan_work);
	forget(waiting);
	forget(waited);
}

/* The tables are there as long as the module: a start cannot fail. */
int plugsched_watchdog_init(void)
{
	waiting = kvcalloc(WAIT_SIZE, sizeof(*waiting), GFP_KERNEL);
	waited = kvcalloc(WAIT_SIZE, sizeof(*waited), GFP_KERNEL);
	queue = alloc_workqueue("plugsched_watch", WQ_UNBOUND | WQ_MEM_RECLAIM, 1);
	if (waiting && waited && queue && !plugsched_starving_init())
		return 0;
	plugsched_watchdog_exit();
	return -ENOMEM;
}

void plugsched_watchdog_exit(void)
{
	if (queue)
		destroy_workqueue(queue);
	plugsched_starving_exit();
	kvfree(waiting);
	kvfree(waited);
	waiting = NULL;
	waited = NULL;
}

/* A wake-up that passes through is over in the second round. */
static int note_forgotten(struct task_struct *p, void *unused)
{
	struct waiting *w = forgotten(p) ? place(waiting, p) : NULL;

	if (w && !w->task) {
		get_task_struct(p);
		w->task = p;
		w->switches = switches_of(p);
	}
	return 0;
}

static void wake_forgotten(struct waiting *w)
{
	struct task_struct *p = w->task;
	unsigned long flags;
	bool lost;

	raw_spin_lock_irqsave(&p->pi_lock, flags);
	lost = forgotten(p) && switches_of(p) == w->switches;
	if (lost)
		WRITE_ONCE(p->__state, TASK_UNINTERRUPTIBLE);
	raw_spin_unlock_irqrestore(&p->pi_lock, flags);
	if (!lost)
		return;
	__orig_wake_up_process(p);
	plugsched_note("task %d (%s) was in no queue and has been woken\n", task_pid_nr(p),
		       p->comm);
}

/*
 * Whoever sleeps must cope with being woken for nothing, except a kernel thread
 * that waits for its first wake-up: kthread() takes any for that.
 */
static int wake_sleeper(struct task_struct *p, void *unused)
{
	plugsched_heal_sleeper(p);
	if (!(p->flags & PF_KTHREAD) || switches_of(p) > 1)
		__orig_wake_up_process(p);
	return 0;
}

/*
 * The scheduler that was left may have lost tasks and wake-ups: bring the first
 * back, and wake everybody once. Context: process, may sleep; the watchdog is
 * stopped.
 */
void plugsched_watchdog_repair(void)
{
	unsigned int i;

	plugsched_for_each_task(note_forgotten, NULL);
	msleep(100);
	for (i = 0; i < WAIT_SIZE; i++)
		if (waiting[i].task)
			wake_forgotten(&waiting[i]);
	forget(waiting);
	plugsched_for_each_task(wake_sleeper, NULL);
}
