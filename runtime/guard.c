// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of the running scheduler: a timer that looks for reasons to roll back, the
 * deadline of a trial, and the SysRq key. It is on from the instant of the switch to that
 * of the way back, because both are the stopped machine's work: no task has to run for it,
 * and none can be lost in between.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysrq.h>
#include <linux/timekeeping.h>

#include "config.h"
#include "kernel.h"
#include "plugsched.h"

#define TICK_MS		1000	/* between two looks, at most */
#define TRIAL_TICK_MS	50	/* while a trial runs, or a rollback is due */
#define EXPIRED		1	/* a deadline that was not kept */

unsigned int plugsched_try_ms;		/* of the next update; update_lock */

static struct hrtimer *tick;		/* not in the module: plugsched_alarm_init() */
static unsigned int tick_ms;
static u64 deadline;			/* of the trial, in mono_fast time; 0: none; EXPIRED */

/* Of confirming and expiring, one comes first. Context: any. */
static bool end_trial(u64 to)
{
	u64 end = READ_ONCE(deadline);

	return end != EXPIRED && cmpxchg64(&deadline, end, to) == end;
}

static void look_at_deadline(u64 now)
{
	u64 end = READ_ONCE(deadline);

	if (end > EXPIRED && now >= end && end_trial(EXPIRED))
		plugsched_alarm(false, "it was not confirmed in time");
}

static unsigned int tick_length(void)
{
	unsigned int ms = READ_ONCE(plugsched_watchdog_ms);

	if (READ_ONCE(deadline) || plugsched_alarm_raised())
		return TRIAL_TICK_MS;
	return ms ? clamp(ms / 8, 10U, (unsigned int)TICK_MS) : TICK_MS;
}

/* Context: hard interrupt. */
static void look(void)
{
	u64 now = ktime_get_mono_fast_ns();

	look_at_deadline(now);
	if (plugsched_alarm_raised())
		plugsched_rollback_attempt(now);
}

static void alarmed(struct irq_work *work)
{
	look();
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

#ifdef CONFIG_MAGIC_SYSRQ

static void pressed(void)
{
	plugsched_alarm(true, "SysRq");
}

static void pressed_int(int key)
{
	pressed();
}

static void pressed_u8(u8 key)
{
	pressed();
}

/* What a handler is given depends on the kernel. */
#define KEY_HANDLER \
	__builtin_choose_expr(__builtin_types_compatible_p( \
		typeof(((struct sysrq_key_op *)0)->handler), void (*const)(int)), \
		pressed_int, pressed_u8)

static const struct sysrq_key_op key_op = {
	.handler	= KEY_HANDLER,
	.help_msg	= "stock-scheduler(x)",
	.action_msg	= "Rolling back to the previous scheduler",
	.enable_mask	= SYSRQ_ENABLE_RTNICE,
};

/* sysrq_key_table_key2index() of 'x' (drivers/tty/sysrq.c) */
#define KEY_INDEX	(10 + 'x' - 'a')

/*
 * register_sysrq_key() waits for a grace period, and knows no hand-over. Whoever holds its
 * lock does so with preemption off, so that nobody does now.
 */
static void claim_key(void)
{
	if (!sysrq_key_table[KEY_INDEX])
		WRITE_ONCE(sysrq_key_table[KEY_INDEX], &key_op);
}

static void release_key(void)
{
	if (sysrq_key_table[KEY_INDEX] == &key_op)
		WRITE_ONCE(sysrq_key_table[KEY_INDEX], NULL);
}

static bool key_taken(void)
{
	return READ_ONCE(sysrq_key_table[KEY_INDEX]) != &key_op;
}

#else

static void claim_key(void) {}
static void release_key(void) {}

static bool key_taken(void)
{
	return false;
}

#endif

/*
 * This module's scheduler runs from now on.
 * Context of both: stopped machine, one CPU.
 */
void plugsched_guard_enter(void)
{
	lockdep_assert_irqs_disabled();
	deadline = plugsched_try_ms ?
		ktime_get_mono_fast_ns() + plugsched_try_ms * NSEC_PER_MSEC : 0;
	plugsched_try_ms = 0;
	plugsched_alarm_reset();
	plugsched_rollback_reset();
	plugsched_report_clear();
	plugsched_kmsg_start(false);
	plugsched_watchdog_reset();
	claim_key();
	tick_ms = tick_length();
	/* Pinned: to look for a better CPU would be the new scheduler's work. */
	hrtimer_start(tick, ms_to_ktime(tick_ms), HRTIMER_MODE_REL_PINNED_HARD);
	WRITE_ONCE(plugsched_self.active, true);
}

/* It does not run any more. The timer is not running on any CPU: they are all here. */
void plugsched_guard_leave(void)
{
	lockdep_assert_irqs_disabled();
	WRITE_ONCE(plugsched_self.active, false);
	hrtimer_try_to_cancel(tick);
	release_key();
	plugsched_kmsg_stop();
	plugsched_alarm_reset();
	deadline = 0;
}

/*
 * The trial, if there is one, is over and the scheduler stays. -EBUSY: it is too late.
 * Context: no rollback can begin.
 */
int plugsched_guard_confirm(void)
{
	if (!plugsched_self.active)
		return -ENODEV;
	if (plugsched_alarm_raised() || !end_trial(0))
		return -EBUSY;
	return 0;
}

/* Milliseconds until a trial ends, 0: none runs. Context: any. */
unsigned int plugsched_try_left(void)
{
	u64 now = ktime_get_mono_fast_ns(), end = READ_ONCE(deadline);

	if (!end)
		return 0;
	return end > now ? max_t(u64, (end - now) / NSEC_PER_MSEC, 1) : 1;
}

/* Say what the guard could not have. Context: process. */
void plugsched_guard_log(void)
{
	if (READ_ONCE(plugsched_self.active) && key_taken())
		pr_warn("the SysRq key 'x' is somebody else's\n");
}

/* Context of both: process, may sleep, while the scheduler does not run. */
int plugsched_guard_init(void)
{
	int err = plugsched_alarm_init(alarmed);

	if (err)
		return err;
	tick = kzalloc(sizeof(*tick), GFP_KERNEL);
	if (!tick) {
		plugsched_alarm_exit();
		return -ENOMEM;
	}
#ifdef PLUGSCHED_HAVE_HRTIMER_SETUP
	hrtimer_setup(tick, ticked, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
#else
	hrtimer_init(tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	tick->function = ticked;
#endif
	return 0;
}

void plugsched_guard_exit(void)
{
	hrtimer_cancel(tick);
	kfree(tick);
	plugsched_alarm_exit();
	/* Whoever pressed the key may have found our handler (__handle_sysrq()). */
	synchronize_rcu();
}
