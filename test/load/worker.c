// SPDX-License-Identifier: BSD-3-Clause
/* What every worker does: count, report failures, keep a period. */
#include "load.h"

#include <sys/wait.h>

void progress(struct worker *w)
{
	__atomic_store_n(&w->slot->last_progress_ns, now_ns(), __ATOMIC_RELAXED);
	__atomic_fetch_add(&w->slot->counter, 1, __ATOMIC_RELEASE);
}

/* Records a failed call and pauses, so that a broken worker does not spin. */
void fail(struct worker *w, const char *op, int err)
{
	struct slot *s = w->slot;

	snprintf(s->op, sizeof(s->op), "%s", op);
	s->last_errno = err;
	__atomic_fetch_add(&s->errors, 1, __ATOMIC_RELEASE);
	sleep_ns(100 * NSEC_PER_MSEC);
}

/* For calls that return 0 or a negative errno. */
void must(struct worker *w, const char *op, int err)
{
	if (err)
		fail(w, op, -err);
}

static void raise_max(uint64_t *max, uint64_t val)
{
	uint64_t old = __atomic_load_n(max, __ATOMIC_RELAXED);

	while (val > old &&
	       !__atomic_compare_exchange_n(max, &old, val, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void note_latency(struct worker *w, uint64_t ns)
{
	if (w->no_latency)
		return;
	raise_max(&w->slot->max_latency_ns, ns);
	raise_max(&w->slot->window_latency_ns, ns);
}

void set_variant(struct worker *w, const char *name)
{
	snprintf(w->slot->variant, sizeof(w->slot->variant), "%s", name);
}

uint64_t worker_rand(struct worker *w, uint64_t below)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return w->rng % below;
}

/* A partner that acts on another slot's thread waits for it to exist. */
pid_t wait_tid(const struct slot *s)
{
	pid_t tid;

	while (!(tid = __atomic_load_n(&s->tid, __ATOMIC_ACQUIRE)))
		sleep_ns(10 * NSEC_PER_MSEC);
	return tid;
}

void tick_start(struct worker *w, struct tick *t, unsigned int period_ms)
{
	t->period = (period_ms ? period_ms : 1) * NSEC_PER_MSEC;
	t->next = now_ns() + worker_rand(w, t->period);
}

/* Sleeps to the next period; one that is over already is skipped and counted. */
void tick_wait(struct worker *w, struct tick *t)
{
	struct timespec ts;
	uint64_t now, late;
	int err;

	t->next += t->period;
	ts.tv_sec = (time_t)(t->next / NSEC_PER_SEC);
	ts.tv_nsec = (long)(t->next % NSEC_PER_SEC);
	do {
		err = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	} while (err == EINTR);
	if (err)
		fail(w, "clock_nanosleep", err);
	now = now_ns();
	late = now > t->next ? now - t->next : 0;
	note_latency(w, late);
	if (late > t->period) {
		if (!w->no_latency)
			w->slot->missed += late / t->period;
		t->next = now;
	}
}

/* The body of workers that others act upon. */
void duty(struct worker *w, unsigned int work_us, unsigned int period_ms)
{
	struct tick t;

	tick_start(w, &t, period_ms);
	for (;;) {
		tick_wait(w, &t);
		burn_us(work_us);
		progress(w);
	}
}

/* Waits for a child whose exit status is 0 or the errno it met. */
bool reap(struct worker *w, pid_t pid, const char *op)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno == EINTR)
			continue;
		fail(w, "waitpid", errno);
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	fail(w, op, WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD);
	return false;
}
