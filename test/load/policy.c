// SPDX-License-Identifier: BSD-3-Clause
/* Scheduling classes, policies, priorities and affinity. */
#include "load.h"

#include <pthread.h>
#include <sched.h>

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

static void hog_loop(struct worker *w) __attribute__((noreturn));
static void hog_loop(struct worker *w)
{
	for (;;) {
		burn_us(2000);
		progress(w);
	}
}

/* The processes of a bandwidth group move in before they start to burn. */
void run_quota(struct worker *w)
{
	char name[16];

	snprintf(name, sizeof(name), "quota%u", w->unit->index);
	set_variant(w, name);
	if (w->role == 0)
		must(w, "cgroup.procs", cg_write(name, "cgroup.procs", "0"));
	must(w, "nice", set_policy(0, SCHED_OTHER, 10, 0));
	hog_loop(w);
}

void run_hog(struct worker *w)
{
	static const struct { const char *name; int policy, nice; } how[] = {
		{ "nice 10", SCHED_OTHER, 10 },
		{ "batch nice 19", SCHED_BATCH, 19 },
		{ "idle", SCHED_IDLE, 0 },
	};
	unsigned int v = w->id % 3;

	set_variant(w, how[v].name);
	must(w, "sched_setattr", set_policy(0, how[v].policy, how[v].nice, 0));
	hog_loop(w);
}

void run_rt(struct worker *w)
{
	bool rr = w->unit->kind == &kinds[K_RR];

	must(w, "sched_setattr", set_policy(0, rr ? SCHED_RR : SCHED_FIFO, 0, 10 + w->id % 40));
	duty(w, 500, w->unit->period_ms);
}

/*
 * Uses CPU time, so that the task exceeds its budget however slow the guest. It
 * asks for that seldom: a kernel that can be preempted throttles a task also where
 * it answers, inside of rcu_read_lock() (posix_cpu_clock_get()), and if the guest's
 * host did not run it for two seconds, that lasts for twenty: a stall of RCU.
 */
static void overrun(uint64_t runtime)
{
	uint64_t end = cputime_ns() + runtime + runtime / 2;

	while (cputime_ns() < end)
		for (unsigned int i = 0; i < 100; i++)
			spin();
}

/*
 * Three ways to live with a budget of a tenth of a CPU: sleep to the next
 * period, yield to it, and overrun it so that the kernel throttles and
 * replenishes.
 */
void run_deadline(struct worker *w)
{
	static const char *const names[] = { "sleep", "yield", "overrun" };
	uint64_t period = w->unit->period_ms * NSEC_PER_MSEC, last, now;
	unsigned int v = w->id % 3;
	struct tick t;

	set_variant(w, names[v]);
	must(w, "sched_setattr", set_deadline(0, period / 10, period / 2, period));
	if (v == 0)
		duty(w, 500, w->unit->period_ms);
	tick_start(w, &t, w->unit->period_ms);
	for (last = now_ns();; last = now) {
		if (v == 1) {
			burn_us(500);
			sched_yield();
		} else {
			overrun(period / 10);
			tick_wait(w, &t);
		}
		now = now_ns();
		if (v == 1 && now - last > period) {
			note_latency(w, now - last - period);
			w->slot->missed += (now - last) / period - 1;
		}
		progress(w);
	}
}

void run_yield(struct worker *w)
{
	must(w, "nice", set_policy(0, SCHED_OTHER, 5, 0));
	for (;;) {
		for (unsigned int i = 0; i < 100; i++)
			if (sched_yield())
				fail(w, "sched_yield", errno);
		progress(w);
		sleep_ns(w->unit->period_ms * NSEC_PER_MSEC);
	}
}

/*
 * A chain: member i holds lock i while it wants lock i-1. Member 0 is an
 * ordinary task that sleeps with its lock held, and is boosted through every
 * FIFO priority above it. Locks are always taken in falling order, so the
 * chain cannot deadlock.
 */
#define CHAIN 4

static struct {
	pthread_once_t once;
	pthread_mutex_t lock[CHAIN];
} chain = { .once = PTHREAD_ONCE_INIT };

static void chain_init(void)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	for (int i = 0; i < CHAIN; i++)
		pthread_mutex_init(&chain.lock[i], &a);
}

static void chain_lock(struct worker *w, unsigned int i)
{
	uint64_t start = now_ns();
	int err = pthread_mutex_lock(&chain.lock[i]);

	if (err)
		fail(w, "mutex_lock", err);
	note_latency(w, now_ns() - start);
}

static void chain_unlock(struct worker *w, unsigned int i)
{
	int err = pthread_mutex_unlock(&chain.lock[i]);

	if (err)
		fail(w, "mutex_unlock", err);
}

void run_pi(struct worker *w)
{
	unsigned int i = w->role;
	char name[16];
	struct tick t;

	pthread_once(&chain.once, chain_init);
	snprintf(name, sizeof(name), i ? "fifo %u" : "other", 2 * i);
	set_variant(w, name);
	if (i)
		must(w, "sched_setattr", set_policy(0, SCHED_FIFO, 0, 2 * i));
	tick_start(w, &t, w->unit->period_ms);
	for (;;) {
		tick_wait(w, &t);
		/* In phase with the others, each a little after the one below. */
		sleep_ns(t.period - now_ns() % t.period + i * NSEC_PER_MSEC);
		chain_lock(w, i);
		if (i)
			chain_lock(w, i - 1);
		else
			sleep_ns(CHAIN * 2 * NSEC_PER_MSEC);
		burn_us(100);
		if (i)
			chain_unlock(w, i - 1);
		chain_unlock(w, i);
		progress(w);
	}
}

static void use_cpu(cpu_set_t *set, unsigned int cpu)
{
	CPU_ZERO(set);
	CPU_SET(cpu, set);
}

/* EINVAL is right while the CPU is down: hotplug may run beside us. */
static void pin(struct worker *w, pid_t tid, unsigned int cpu)
{
	cpu_set_t set;

	use_cpu(&set, cpu);
	for (int tries = 0; sched_setaffinity(tid, sizeof(set), &set); tries++) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		if (errno == EINVAL && (!cpu_online(cpu) || tries < 3))
			return;
		fail(w, "sched_setaffinity", errno);
		return;
	}
}

/* A pinned task must run where it was told to, unless hotplug undid it. */
static void check_cpu(struct worker *w, unsigned int cpu)
{
	cpu_set_t set, want;

	use_cpu(&want, cpu);
	for (int tries = 0; tries < 3; tries++) {
		if (sched_getcpu() == (int)cpu)
			return;
		if (sched_getaffinity(0, sizeof(set), &set) || !CPU_EQUAL(&set, &want))
			return;
		sched_yield();
	}
	fail(w, "not on its cpu", EXDEV);
}

void run_affinity(struct worker *w)
{
	struct slot *victim = &w->unit->slots[1];
	unsigned int cpu = 0;
	cpu_set_t all;
	struct tick t;

	if (w->role == 1) {
		set_variant(w, "victim");
		must(w, "nice", set_policy(0, SCHED_OTHER, 5, 0));
		duty(w, 1500, 40);
	}
	if (sched_getaffinity(0, sizeof(all), &all))
		fail(w, "sched_getaffinity", errno);
	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		tick_wait(w, &t);
		do {
			cpu = (cpu + 1) % CPU_SETSIZE;
		} while (!CPU_ISSET(cpu, &all));
		pin(w, wait_tid(victim), cpu);
		pin(w, 0, cpu);
		check_cpu(w, cpu);
		if (n % 8 == 0 && (sched_setaffinity(victim->tid, sizeof(all), &all) ||
				   sched_setaffinity(0, sizeof(all), &all)))
			fail(w, "sched_setaffinity", errno);
		progress(w);
	}
}

/* Changes its own policy and that of a victim in whatever state that is. */
void run_policy(struct worker *w)
{
	static const struct { int policy, nice; unsigned int prio; } how[] = {
		{ SCHED_OTHER, 0, 0 }, { SCHED_FIFO, 0, 3 }, { SCHED_BATCH, 5, 0 },
		{ SCHED_RR, 0, 2 }, { SCHED_IDLE, 0, 0 }, { SCHED_OTHER, 10, 0 },
		{ SCHED_RR, 0, 5 }, { SCHED_OTHER, -5, 0 }, { SCHED_FIFO, 0, 1 },
	};
	struct slot *victim = &w->unit->slots[1];
	struct tick t;

	if (w->role == 1) {
		set_variant(w, "victim");
		w->no_latency = true;
		duty(w, 1000, 40);
	}
	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		unsigned int i = n % (sizeof(how) / sizeof(how[0]));

		tick_wait(w, &t);
		must(w, "sched_setattr", set_policy(wait_tid(victim), how[i].policy,
						    how[i].nice, how[i].prio));
		if (sched_getscheduler(victim->tid) != how[i].policy)
			fail(w, "sched_getscheduler", EXDEV);
		/* As SCHED_IDLE it might be long before it can leave again. */
		if (how[i].policy != SCHED_IDLE)
			must(w, "sched_setattr", set_policy(0, how[i].policy, how[i].nice, how[i].prio));
		progress(w);
	}
}

/*
 * Spins at FIFO priority for longer than sched_rt_runtime_us allows, so that
 * its CPU is throttled (or, from 6.12 on, served by the fair server).
 */
void run_rthog(struct worker *w)
{
	struct tick t;

	must(w, "sched_setattr", set_policy(0, SCHED_FIFO, 0, 1));
	w->no_latency = true;
	tick_start(w, &t, w->unit->period_ms);
	for (;;) {
		tick_wait(w, &t);
		burn_us(1200000);
		progress(w);
	}
}
