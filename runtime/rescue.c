// SPDX-License-Identifier: GPL-2.0-only
/*
 * Going back without being asked by a process: when a trial's time is over, the
 * watchdog has found something, or somebody pressed the key.
 *
 * The scheduler that is to be left may be the one that runs nobody any more. So
 * nothing here relies on a task of an ordinary class: a timer or an irq_work, in
 * hard interrupt context, asks this CPU's stopper, whose class comes before all
 * others, and that one gathers the stoppers of the other CPUs. stop_machine() does
 * the same, but sleeps until it is done.
 *
 * What cannot be survived: a CPU that takes no interrupts, or whose stopper is not
 * run either. The other CPUs are then let go, and it is tried again.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/module.h>
#include <linux/nmi.h>
#include <linux/stop_machine.h>
#include <linux/sysrq.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>

#include "config.h"
#include "kernel.h"
#include "plugsched.h"

#define TICK_MS		1000	/* between two looks, at most */
#define TRIAL_TICK_MS	50	/* while a trial runs, or a rescue is due */
#define RETRY_MAX_MS	5000
#define GATHER_NS	(100 * NSEC_PER_MSEC)
#define QUEUED_MAX_NS	NSEC_PER_SEC
#define FORCE_AFTER	20	/* tries with a task in the way */
#define SYSRQ_KEY	'x'

unsigned int plugsched_try_ms;		/* of the next update; update_lock */

static struct plugsched_update rescue;
static struct hrtimer tick;
static unsigned int tick_ms;
static u64 deadline;			/* of the trial, 0: none */
static bool armed;
static atomic_t wanted;
static bool rescued;
static bool aftermath_due;		/* it went back, but is not done with it */
static bool sick;			/* it was not a trial's end */
static unsigned int tries, busy_tries;
static int told;			/* the last error that was told */
static u64 not_before;			/* the next try */
static int absent;			/* a CPU that did not come to the last try, or -1 */

enum { IDLE, QUEUED, LEADING };
static atomic_t stage;
static u64 queued_at;

/*
 * The gathering: a stopper says that it has come, and then waits for the leader's
 * one decision on that attempt. So whoever is counted is there when it begins.
 */
static unsigned int attempt;		/* number of the last; leader only */
static unsigned int gathering;		/* number of the open attempt, 0: none */
static unsigned int going, given_up;	/* decisions */
static DEFINE_PER_CPU(unsigned int, arrived);

static DEFINE_PER_CPU(struct cpu_stop_work, lead_work);
static DEFINE_PER_CPU(struct cpu_stop_work, follow_work);
static DEFINE_PER_CPU(bool, lead_queued);
static DEFINE_PER_CPU(bool, follow_queued);
static DEFINE_PER_CPU(struct irq_work, follow_kick);

static void aftermath(struct work_struct *work);
static DECLARE_WORK(aftermath_work, aftermath);

static int run_update(void)
{
	unsigned long flags;
	int err;

	local_irq_save(flags);
	err = plugsched_update_stopped(&rescue);
	local_irq_restore(flags);
	return err;
}

/* Context: stopper. */
static int follow(void *unused)
{
	unsigned int mine;

	this_cpu_write(follow_queued, false);
	mine = smp_load_acquire(&gathering);	/* pairs with gather() */
	if (!mine)
		return 0;
	/* Pairs with missing_cpu(); the decisions pair with gather(). */
	smp_store_release(this_cpu_ptr(&arrived), mine);
	while (smp_load_acquire(&going) != mine) { /* the update is set up */
		if (smp_load_acquire(&given_up) >= mine) /* nothing to see */
			return 0;
		touch_nmi_watchdog();
		cpu_relax();
	}
	run_update();
	return 0;
}

/* Context: hard interrupt. */
static void ask_stopper(struct irq_work *work)
{
	if (this_cpu_xchg(follow_queued, true))
		return;
	if (!stop_one_cpu_nowait(smp_processor_id(), follow, NULL, this_cpu_ptr(&follow_work)))
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
 * Context: stopper, stop_cpus_mutex held.
 */
static void call_followers(void)
{
	int cpu;

	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id())
			irq_work_queue_on(per_cpu_ptr(&follow_kick, cpu), cpu);
}

/*
 * Set the update up. Only when all have come: one of them may have been slow to
 * leave the attempt before, which read the same.
 */
static void prepare(u64 begun)
{
	plugsched_update_reset(&rescue);
	rescue.from = &plugsched_self;
	rescue.to = plugsched_self.previous;
	rescue.cpus = num_online_cpus();
	rescue.forced = busy_tries >= FORCE_AFTER;
	rescue.heal = sick;
	rescue.time[PLUGSCHED_T_ENTER] = begun;
}

/* Return whether all CPUs wait for the update. Context: as above. */
static bool gather(void)
{
	u64 begun = ktime_get_mono_fast_ns();

	smp_store_release(&gathering, ++attempt);	/* pairs with follow() */
	call_followers();
	while ((absent = missing_cpu()) >= 0) {
		if (ktime_get_mono_fast_ns() > begun + GATHER_NS) {
			WRITE_ONCE(gathering, 0);
			smp_store_release(&given_up, attempt);	/* pairs with follow() */
			return false;
		}
		touch_nmi_watchdog();
		cpu_relax();
	}
	WRITE_ONCE(gathering, 0);
	prepare(begun);
	smp_store_release(&going, attempt);	/* pairs with follow() */
	return true;
}

/* Context: as above, and CPU hotplug is frozen. */
static int stop_and_go(void)
{
	int err;

	if (!gather())
		return -ETIMEDOUT;
	err = run_update();
	rescue.time[PLUGSCHED_T_LEFT] = ktime_get_mono_fast_ns();
	return err;
}

static int freeze_and_go(void)
{
	int err = -EAGAIN;

	if (!cpus_read_trylock())
		return err;
	if (mutex_trylock(&stop_cpus_mutex)) {
		err = stop_and_go();
		mutex_unlock(&stop_cpus_mutex);
	}
	cpus_read_unlock();
	return err;
}

static void describe_obstacle(int err, char *text, size_t size)
{
	const struct plugsched_busy *b = &rescue.busy[0];

	if (err == -ETIMEDOUT)
		scnprintf(text, size, "CPU %d does not answer", absent);
	else if (err == -EEXIST)
		scnprintf(text, size, "something has hooked %s", rescue.conflict);
	else if (b->err)
		scnprintf(text, size, "the stack of task %d (%s) cannot be unwound", b->pid,
			  b->comm);
	else
		scnprintf(text, size, "task %d (%s) is in %ps", b->pid, b->comm, (void *)b->frame);
}

/* Say once for each reason why it does not go back yet. */
static void tell(int err)
{
	char text[128];

	if (err == told || err == -EAGAIN)
		return;
	told = err;
	describe_obstacle(err, text, sizeof(text));
	plugsched_note("going back has to wait: %s\n", text);
	pr_err("%s is to be left, but that has to wait: %s\n", THIS_MODULE->name, text);
}

static void finished(int err)
{
	if (!err) {
		if (rescue.forced)
			plugsched_note("tasks in the way were ignored: the module stays loaded\n");
		deadline = 0;
		WRITE_ONCE(aftermath_due, true);
		WRITE_ONCE(rescued, true);
		atomic_set(&wanted, 0);
		schedule_work(&aftermath_work);
		return;
	}
	tell(err);
	tries++;
	if (err == -EBUSY)
		busy_tries++;
	not_before = ktime_get_mono_fast_ns() +
		     min(TRIAL_TICK_MS << min(tries / 4, 7U), RETRY_MAX_MS) * NSEC_PER_MSEC;
}

/* Context: stopper: preemption is off, nothing may sleep. */
static int lead(void *unused)
{
	int err;

	this_cpu_write(lead_queued, false);
	if (atomic_cmpxchg(&stage, QUEUED, LEADING) != QUEUED)
		return 0;
	err = freeze_and_go();
	if (err != -EALREADY)
		finished(err);
	atomic_set_release(&stage, IDLE);
	return 0;
}

/*
 * Begin an attempt on this CPU. If another CPU's stopper was asked and does not
 * come, this one may take its place.
 * Context: hard interrupt.
 */
static void begin(u64 now)
{
	int was = atomic_cmpxchg(&stage, IDLE, QUEUED);

	if (was == LEADING || (was == QUEUED && now - READ_ONCE(queued_at) < QUEUED_MAX_NS))
		return;
	WRITE_ONCE(queued_at, now);
	if (this_cpu_xchg(lead_queued, true))
		return;
	if (!stop_one_cpu_nowait(smp_processor_id(), lead, NULL, this_cpu_ptr(&lead_work)))
		this_cpu_write(lead_queued, false);
}

static void look(void)
{
	u64 now = ktime_get_mono_fast_ns();

	if (deadline && now >= deadline)
		plugsched_rescue(false, "it was not confirmed in time");
	if (atomic_read(&wanted) && READ_ONCE(armed) && now >= READ_ONCE(not_before))
		begin(now);
}

static void kicked(struct irq_work *work)
{
	look();
}

static struct irq_work kick = IRQ_WORK_INIT_HARD(kicked);

static unsigned int tick_length(void)
{
	if (deadline || atomic_read(&wanted))
		return TRIAL_TICK_MS;
	if (plugsched_watchdog_ms)
		return clamp(plugsched_watchdog_ms / 8, 10U, (unsigned int)TICK_MS);
	return TICK_MS;
}

static enum hrtimer_restart ticked(struct hrtimer *timer)
{
	plugsched_watchdog_tick(tick_ms);
	plugsched_kmsg_read();
	look();
	tick_ms = tick_length();
	hrtimer_forward_now(timer, ms_to_ktime(tick_ms));
	return HRTIMER_RESTART;
}

/*
 * Go back, and keep the reason; the first one counts. With sick, tasks may have
 * been forgotten and are looked after.
 * Context: any, NMI included, whatever locks are held.
 */
void plugsched_rescue(bool is_sick, const char *fmt, ...)
{
	char reason[200];
	va_list args;

	if (!READ_ONCE(armed) || !READ_ONCE(plugsched_self.active) ||
	    atomic_cmpxchg(&wanted, 0, 1))
		return;
	sick = is_sick;
	va_start(args, fmt);
	vscnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	plugsched_note("%s\n", strim(reason));
	irq_work_queue(&kick);
}

bool plugsched_rescued(void)
{
	return READ_ONCE(rescued);
}

/* Milliseconds until a trial ends, 0: none runs. */
unsigned int plugsched_try_left(void)
{
	u64 now = ktime_get_mono_fast_ns(), end = READ_ONCE(deadline);

	if (!end)
		return 0;
	return end > now ? max_t(u64, (end - now) / NSEC_PER_MSEC, 1) : 1;
}

static void key_pressed(int key)
{
	plugsched_rescue(true, "SysRq");
}

static const struct sysrq_key_op key_op = {
	.handler	= (void *)key_pressed,	/* its argument's type depends on the kernel */
	.help_msg	= "stock-scheduler(x)",
	.action_msg	= "Going back to the previous scheduler",
	.enable_mask	= SYSRQ_ENABLE_RTNICE,
};

/*
 * From now on it can be asked for. With fresh, a trial begins if one was ordered.
 * Context: process, may sleep.
 */
void plugsched_rescue_arm(bool fresh)
{
	if (fresh) {
		deadline = plugsched_try_ms ?
			ktime_get_mono_fast_ns() + plugsched_try_ms * NSEC_PER_MSEC : 0;
		plugsched_try_ms = 0;
		tries = 0;
		busy_tries = 0;
		told = 0;
		not_before = 0;
		rescued = false;
		sick = false;
		atomic_set(&wanted, 0);
		plugsched_report_clear();
	}
	WRITE_ONCE(armed, true);
	if (register_sysrq_key(SYSRQ_KEY, &key_op))
		pr_warn("the SysRq key '%c' is taken\n", SYSRQ_KEY);
	plugsched_kmsg_start(false);
	plugsched_watchdog_start();
	tick_ms = tick_length();
	hrtimer_start(&tick, ms_to_ktime(tick_ms), HRTIMER_MODE_REL_HARD);
}

/* Afterwards no attempt runs and none begins. Context: process, may sleep. */
void plugsched_rescue_disarm(void)
{
	if (!armed)
		return;
	WRITE_ONCE(armed, false);
	hrtimer_cancel(&tick);
	irq_work_sync(&kick);
	while (atomic_read_acquire(&stage) != IDLE)
		msleep(20);
	plugsched_watchdog_stop();
	plugsched_kmsg_stop();
	unregister_sysrq_key(SYSRQ_KEY, &key_op);
}

/* Until then the module takes part in no other update. Context: its lock is held. */
bool plugsched_rescue_pending(void)
{
	return READ_ONCE(aftermath_due);
}

static void hand_over(struct plugsched_module *to)
{
	mutex_lock(to->lock);
	/* Somebody may have been quick to leave it. */
	if (to->active)
		to->started(true);
	mutex_unlock(to->lock);
	module_put(to->owner);
}

/*
 * What needs a process, once the other scheduler runs. Of the two references to the
 * module before, one has become its own.
 */
static void aftermath(struct work_struct *work)
{
	struct plugsched_module *to = rescue.to;

	mutex_lock(plugsched_self.lock);
	plugsched_rescue_disarm();
	plugsched_report_log();
	plugsched_update_publish(&rescue, 0);
	plugsched_carry_features(&plugsched_self, to, false);
	if (sick)
		plugsched_watchdog_repair();
	plugsched_self.previous = NULL;
	if (to)
		hand_over(to);
	WRITE_ONCE(aftermath_due, false);
	/* Over a task that was inside of it, it must never be unloaded. */
	if (!rescue.forced)
		module_put(THIS_MODULE);
	mutex_unlock(plugsched_self.lock);
}

/* Everything that a rescue needs is allocated with the module. */
int plugsched_rescue_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		per_cpu(follow_kick, cpu) = IRQ_WORK_INIT_HARD(ask_stopper);
#ifdef PLUGSCHED_HAVE_HRTIMER_SETUP
	hrtimer_setup(&tick, ticked, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
#else
	hrtimer_init(&tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	tick.function = ticked;
#endif
	return plugsched_update_alloc(&rescue);
}

static int nothing(void *unused)
{
	return 0;
}

/* Works of attempts that were given up may still be queued. */
static void drain_stoppers(void)
{
	int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		irq_work_sync(per_cpu_ptr(&follow_kick, cpu));
		stop_one_cpu(cpu, nothing, NULL);
	}
	cpus_read_unlock();
}

/* Context: process, when the module is not the running scheduler. */
void plugsched_rescue_exit(void)
{
	flush_work(&aftermath_work);
	plugsched_rescue_disarm();
	irq_work_sync(&kick);
	if (attempt)
		drain_stoppers();
	plugsched_update_free(&rescue);
}
