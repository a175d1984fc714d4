// SPDX-License-Identifier: BSD-3-Clause
/* Sleeping and waking: ping-pong pairs, sleepers of every kind, timers. */
#include "load.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#define BURST 8	/* round trips between two pauses of a pair */

int setup_pipes(struct unit *u)
{
	return pipe2(&u->fds[0], O_CLOEXEC) || pipe2(&u->fds[2], O_CLOEXEC) ? -errno : 0;
}

int setup_eventfds(struct unit *u)
{
	u->fds[0] = eventfd(0, EFD_CLOEXEC);
	u->fds[2] = eventfd(0, EFD_CLOEXEC);
	return u->fds[0] < 0 || u->fds[2] < 0 ? -errno : 0;
}

static bool send_token(struct worker *w, int fd, size_t size)
{
	uint64_t one = 1;

	while (write(fd, &one, size) != (ssize_t)size) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		fail(w, "write", errno);
		return false;
	}
	return true;
}

static bool take_token(struct worker *w, int fd, size_t size)
{
	uint64_t val;
	ssize_t n;

	while ((n = read(fd, &val, size)) != (ssize_t)size) {
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		fail(w, "read", n < 0 ? errno : EPIPE);
		return false;
	}
	return true;
}

static bool exchange_fd(struct worker *w, size_t size)
{
	struct unit *u = w->unit;
	bool eventfd = size == sizeof(uint64_t);

	if (w->role == 0)
		return send_token(w, u->fds[eventfd ? 0 : 1], size) && take_token(w, u->fds[2], size);
	return take_token(w, u->fds[0], size) && send_token(w, u->fds[eventfd ? 2 : 3], size);
}

/* Both sides wait on one word: 0 is the turn of role 0. */
static bool exchange_futex(struct worker *w, size_t unused)
{
	uint32_t *turn = &w->unit->shared->turn;
	uint32_t other = !w->role;
	int ret = 0;

	(void)unused;
	if (w->role == 0) {
		__atomic_store_n(turn, 1, __ATOMIC_SEQ_CST);
		ret = futex_wake(turn, 1);
	}
	while (ret >= 0 && __atomic_load_n(turn, __ATOMIC_SEQ_CST) == other) {
		ret = futex_wait(turn, other, 0);
		if (ret == -EAGAIN || ret == -EINTR)
			ret = 0;
	}
	if (ret >= 0 && w->role == 1) {
		__atomic_store_n(turn, 0, __ATOMIC_SEQ_CST);
		ret = futex_wake(turn, 1);
	}
	if (ret < 0)
		fail(w, "futex", -ret);
	return ret >= 0;
}

static void ping_pong(struct worker *w, bool (*exchange)(struct worker *, size_t), size_t size)
{
	uint64_t pause = w->unit->period_ms * NSEC_PER_MSEC;
	uint64_t start;

	set_variant(w, w->role ? "pong" : "ping");
	for (unsigned int n = 0;; n++) {
		start = now_ns();
		if (exchange(w, size)) {
			if (w->role == 0)
				note_latency(w, now_ns() - start);
			progress(w);
		}
		if (w->role == 0 && n % BURST == 0 && pause)
			sleep_ns(pause / 2 + worker_rand(w, pause));
	}
}

void run_ping_pipe(struct worker *w)
{
	ping_pong(w, exchange_fd, 1);
}

void run_ping_eventfd(struct worker *w)
{
	ping_pong(w, exchange_fd, sizeof(uint64_t));
}

void run_ping_futex(struct worker *w)
{
	ping_pong(w, exchange_futex, 0);
}

/*
 * Sleepers. A blocking reader has no timeout, so in every group of 16 the
 * first, who only sleeps, writes to the pipe of the fifth.
 */
#define GROUP		16
#define READER		4

int setup_sleepers(struct unit *u)
{
	for (unsigned int i = 0; i < (u->nslots + GROUP - 1) / GROUP; i++) {
		if (pipe2(&u->fds[2 * i], O_CLOEXEC))
			return -errno;
		fcntl(u->fds[2 * i + 1], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

/* What a sleeper may keep between two sleeps. */
struct bed {
	int fd;		/* a pipe or epoll that never gets ready */
	uint32_t word;	/* a futex that nobody wakes */
	uint64_t child_ns;
	char stack[4096] __attribute__((aligned(16)));	/* of the child */
};

static void nap_nanosleep(struct worker *w, struct bed *b, uint64_t ns)
{
	(void)w, (void)b;
	sleep_ns(ns);
}

static void nap_writer(struct worker *w, struct bed *b, uint64_t ns)
{
	int fd = w->unit->fds[w->role / GROUP * 2 + 1];

	(void)b;
	sleep_ns(ns);
	/* EAGAIN: the pipe is full, so the reader has enough to read. */
	if (write(fd, "", 1) < 0 && errno != EAGAIN && errno != EINTR)
		fail(w, "write", errno);
}

static void nap_reader(struct worker *w, struct bed *b, uint64_t ns)
{
	(void)b, (void)ns;
	take_token(w, w->unit->fds[w->role / GROUP * 2], 1);
}

static void nap_absolute(struct worker *w, struct bed *b, uint64_t ns)
{
	uint64_t end = now_ns() + ns;
	struct timespec ts = {
		.tv_sec = (time_t)(end / NSEC_PER_SEC),
		.tv_nsec = (long)(end % NSEC_PER_SEC),
	};
	int err;

	(void)b;
	do {
		err = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	} while (err == EINTR);
	if (err)
		fail(w, "clock_nanosleep", err);
}

static void nap_poll(struct worker *w, struct bed *b, uint64_t ns)
{
	struct pollfd p = { .fd = b->fd, .events = POLLIN };

	if (poll(&p, 1, (int)(ns / NSEC_PER_MSEC)) && errno != EINTR)
		fail(w, "poll", errno);
}

static void nap_select(struct worker *w, struct bed *b, uint64_t ns)
{
	struct timeval tv = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(ns % NSEC_PER_SEC / 1000),
	};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(b->fd, &set);
	if (select(b->fd + 1, &set, NULL, NULL, &tv) && errno != EINTR)
		fail(w, "select", errno);
}

static void nap_epoll(struct worker *w, struct bed *b, uint64_t ns)
{
	struct epoll_event ev;

	if (epoll_wait(b->fd, &ev, 1, (int)(ns / NSEC_PER_MSEC)) && errno != EINTR)
		fail(w, "epoll_wait", errno);
}

static void nap_futex(struct worker *w, struct bed *b, uint64_t ns)
{
	int err = futex_wait(&b->word, 0, ns);

	if (err != -ETIMEDOUT && err != -EINTR)
		fail(w, "futex", -err);
}

static void nap_sigwait(struct worker *w, struct bed *b, uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};
	sigset_t set;

	(void)b;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	if (sigtimedwait(&set, NULL, &ts) < 0 && errno != EAGAIN && errno != EINTR)
		fail(w, "sigtimedwait", errno);
}

/* Shares our memory, TLS too: only while the parent is in the kernel. */
static int child_sleep(void *arg)
{
	const struct bed *b = arg;
	struct timespec ts = {
		.tv_sec = (time_t)(b->child_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(b->child_ns % NSEC_PER_SEC),
	};

	syscall(SYS_nanosleep, &ts, NULL);
	syscall(SYS_exit_group, 0);
	return 0;
}

static void nap_wait4(struct worker *w, struct bed *b, uint64_t ns)
{
	pid_t pid;

	b->child_ns = ns;
	pid = clone(child_sleep, b->stack + sizeof(b->stack), CLONE_VM | SIGCHLD, b);
	if (pid < 0)
		fail(w, "clone", errno);
	else
		reap(w, pid, "child");
}

/* role is the place in the process, which decides about pipes. */
static const struct nap {
	const char *name;
	void (*nap)(struct worker *w, struct bed *b, uint64_t ns);
	unsigned int divisor;	/* of the period, for short sleeps */
} naps[GROUP] = {
	{ "write", nap_writer, 1 },	{ "absolute", nap_absolute, 1 },
	{ "poll", nap_poll, 1 },	{ "futex", nap_futex, 1 },
	[READER] = { "read", nap_reader, 1 },
	{ "select", nap_select, 1 },	{ "sigtimedwait", nap_sigwait, 1 },
	{ "epoll", nap_epoll, 1 },	{ "short", nap_nanosleep, 4 },
	{ "nanosleep", nap_nanosleep, 1 }, { "poll", nap_poll, 1 },
	{ "futex", nap_futex, 1 },	{ "select", nap_select, 1 },
	{ "sigtimedwait", nap_sigwait, 1 }, { "epoll", nap_epoll, 1 },
	{ "nanosleep", nap_nanosleep, 1 },
};

/* A child for every sleep is dear, so only one sleeper in 64 waits for one. */
static const struct nap child_nap = { "wait4", nap_wait4, 1 };

static int open_bed(const struct nap *n)
{
	int fds[2];

	if (n->nap == nap_epoll)
		return epoll_create1(EPOLL_CLOEXEC);
	if (n->nap != nap_poll && n->nap != nap_select)
		return 0;
	/* The write end stays open: a pipe without writers is readable. */
	return pipe2(fds, O_CLOEXEC) ? -1 : fds[0];
}

void run_sleeper(struct worker *w)
{
	uint64_t period = w->unit->period_ms * NSEC_PER_MSEC;
	const struct nap *n = &naps[w->role % GROUP];
	uint64_t ns, start, took;
	struct bed bed = { .fd = 0 };

	if (w->role % SLEEPERS_PER_UNIT == 9)
		n = &child_nap;
	period /= n->divisor;
	set_variant(w, n->name);
	while ((bed.fd = open_bed(n)) < 0)
		fail(w, "pipe2", errno);
	/* Spread the first wake-ups, then sleep for 2/3 to 4/3 of the period. */
	sleep_ns(worker_rand(w, period));
	for (;;) {
		ns = period * 2 / 3 + worker_rand(w, period * 2 / 3);
		start = now_ns();
		n->nap(w, &bed, ns);
		took = now_ns() - start;
		if (took > ns && n->nap != nap_reader)
			note_latency(w, took - ns);
		progress(w);
	}
}

/*
 * Long sleepers sleep until check wakes them. Each way of waiting unblocks
 * SIGUSR1 only while it waits, so a signal sent at any time is not lost and
 * check needs to send it once.
 */
static void long_futex(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	int err = 0;

	(void)fd, (void)mask;
	while (__atomic_load_n(&w->slot->wake_seq, __ATOMIC_ACQUIRE) == seq &&
	       (err == 0 || err == -EAGAIN || err == -EINTR))
		err = futex_wait(&w->slot->wake_seq, seq, 0);
	if (err && err != -EAGAIN && err != -EINTR)
		fail(w, "futex", -err);
}

static void long_sigwait(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	sigset_t set;

	(void)fd, (void)mask, (void)seq;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (sigwaitinfo(&set, NULL) < 0)
		if (errno != EINTR)
			fail(w, "sigwaitinfo", errno);
}

static void long_suspend(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	(void)w, (void)fd, (void)seq;
	sigsuspend(mask);
}

static void long_ppoll(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	(void)fd, (void)seq;
	if (ppoll(NULL, 0, NULL, mask) != -1 || errno != EINTR)
		fail(w, "ppoll", errno);
}

static void long_pselect(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	(void)fd, (void)seq;
	if (pselect(0, NULL, NULL, NULL, NULL, mask) != -1 || errno != EINTR)
		fail(w, "pselect", errno);
}

static void long_epoll(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	struct epoll_event ev;

	(void)seq;
	if (epoll_pwait(fd, &ev, 1, -1, mask) != -1 || errno != EINTR)
		fail(w, "epoll_pwait", errno);
}

static void long_signalfd(struct worker *w, int fd, const sigset_t *mask, uint32_t seq)
{
	struct signalfd_siginfo si;

	(void)mask, (void)seq;
	while (read(fd, &si, sizeof(si)) < 0)
		if (errno != EINTR)
			fail(w, "signalfd", errno);
}

static const struct {
	const char *name;
	void (*wait)(struct worker *w, int fd, const sigset_t *mask, uint32_t seq);
} longs[] = {
	{ "futex", long_futex }, { "sigwaitinfo", long_sigwait },
	{ "sigsuspend", long_suspend }, { "ppoll", long_ppoll },
	{ "pselect", long_pselect }, { "epoll_pwait", long_epoll },
	{ "signalfd", long_signalfd },
};

void run_long(struct worker *w)
{
	unsigned int v = w->id % (sizeof(longs) / sizeof(longs[0]));
	uint32_t seq = w->slot->wake_seq;
	sigset_t usr1, mask;
	int fd = 0;

	set_variant(w, longs[v].name);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, &mask);
	sigdelset(&mask, SIGUSR1);
	if (longs[v].wait == long_epoll)
		fd = epoll_create1(EPOLL_CLOEXEC);
	else if (longs[v].wait == long_signalfd)
		fd = signalfd(-1, &usr1, SFD_CLOEXEC);
	if (fd < 0)
		fail(w, "open", errno);
	__atomic_fetch_or(&w->slot->flags, longs[v].wait == long_futex ?
			  SLOT_WAKE_FUTEX : SLOT_WAKE_SIGNAL, __ATOMIC_RELEASE);
	progress(w);
	for (;;) {
		uint32_t now_seq;

		longs[v].wait(w, fd, &mask, seq);
		now_seq = __atomic_load_n(&w->slot->wake_seq, __ATOMIC_ACQUIRE);
		if (now_seq == seq)
			continue;	/* not woken by check */
		seq = now_seq;
		note_latency(w, now_ns() - w->slot->wake_sent_ns);
		progress(w);
	}
}

/* Timers: each worker is a process, because setitimer is per process. */
static void timer_fd(struct worker *w, const struct itimerspec *its)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t n;

	set_variant(w, "timerfd");
	if (fd < 0 || timerfd_settime(fd, 0, its, NULL))
		fail(w, "timerfd", errno);
	for (;;) {
		if (read(fd, &n, sizeof(n)) == sizeof(n)) {
			w->slot->missed += n - 1;
			progress(w);
		} else if (errno != EINTR && errno != EAGAIN) {
			fail(w, "timerfd read", errno);
		}
	}
}

static void wait_signals(struct worker *w, int sig, bool work)
{
	struct timespec none = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	for (;;) {
		if (work)	/* the clock of ITIMER_PROF runs only with us */
			burn_us(1000);
		if (sigtimedwait(&set, NULL, work ? &none : NULL) == sig)
			progress(w);
		else if (errno != EINTR && errno != EAGAIN)
			fail(w, "sigtimedwait", errno);
		if (work)
			sleep_ns(w->unit->period_ms * NSEC_PER_MSEC / 4);
	}
}

static void timer_itimer(struct worker *w, const struct itimerspec *its)
{
	struct itimerval tv = {
		{ its->it_interval.tv_sec, its->it_interval.tv_nsec / 1000 },
		{ its->it_value.tv_sec, its->it_value.tv_nsec / 1000 },
	};

	set_variant(w, "itimer-real");
	if (setitimer(ITIMER_REAL, &tv, NULL))
		fail(w, "setitimer", errno);
	wait_signals(w, SIGALRM, false);
}

static void timer_prof(struct worker *w, const struct itimerspec *its)
{
	struct itimerval tv = { { 0, 5000 }, { 0, 5000 } };

	(void)its;
	set_variant(w, "itimer-prof");
	if (setitimer(ITIMER_PROF, &tv, NULL))
		fail(w, "setitimer", errno);
	wait_signals(w, SIGPROF, true);
}

static void timer_posix(struct worker *w, const struct itimerspec *its)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	timer_t id;

	set_variant(w, "timer_create");
	if (timer_create(CLOCK_MONOTONIC, &ev, &id) || timer_settime(id, 0, its, NULL))
		fail(w, "timer_create", errno);
	wait_signals(w, SIGUSR2, false);
}

void run_timer(struct worker *w)
{
	static void (*const run[])(struct worker *, const struct itimerspec *) = {
		timer_fd, timer_itimer, timer_prof, timer_posix,
	};
	uint64_t ns = w->unit->period_ms * NSEC_PER_MSEC;
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};
	struct itimerspec its = { ts, ts };

	run[w->id % 4](w, &its);
}
