// SPDX-License-Identifier: BSD-3-Clause
/* Tasks coming and going, and what touches their memory and job state. */
#include "load.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

#define CHILDREN 4

/* An orphan is left to the supervisor, which is the subreaper. */
static void fork_child(unsigned int n)
{
	if (n % 8 == 7 && fork() == 0)
		sleep_ns(2 * NSEC_PER_MSEC);
	else if (n % 2)
		burn_us(200);
	_exit(0);
}

void run_fork(struct worker *w)
{
	pid_t pid[CHILDREN];
	struct tick t;

	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		unsigned int started = 0;
		bool ok = true;

		tick_wait(w, &t);
		while (started < CHILDREN) {
			pid[started] = fork();
			if (pid[started] == 0)
				fork_child(n + started);
			if (pid[started] < 0) {
				ok = errno == EAGAIN || errno == EINTR;
				if (!ok)
					fail(w, "fork", errno);
				break;
			}
			started++;
		}
		for (unsigned int i = 0; i < started; i++)
			ok &= reap(w, pid[i], "child");
		if (ok && started)
			progress(w);
	}
}

static void *short_thread(void *arg)
{
	if (arg)
		burn_us(100);
	return NULL;
}

void run_clone(struct worker *w)
{
	pthread_t th[CHILDREN];
	pthread_attr_t attr;
	struct tick t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	tick_start(w, &t, w->unit->period_ms);
	for (;;) {
		unsigned int started = 0;
		int err = 0;

		tick_wait(w, &t);
		while (started < CHILDREN && !err) {
			err = pthread_create(&th[started], &attr, short_thread,
					     started % 2 ? &attr : NULL);
			started += !err;
		}
		if (err && err != EAGAIN)
			fail(w, "pthread_create", err);
		for (unsigned int i = 0; i < started; i++)
			if (pthread_join(th[i], NULL))
				fail(w, "pthread_join", EINVAL);
		if (started)
			progress(w);
	}
}

static char *const child_argv[] = { "schedload", "exec-child", NULL };

static void *exec_thread(void *arg)
{
	(void)arg;
	execve("/proc/self/exe", child_argv, environ);
	_exit(errno);
}

/* exec from a thread that is not the leader: the leader must be killed first. */
static void exec_from_thread(void)
{
	pthread_t th;
	int err = pthread_create(&th, NULL, exec_thread, NULL);

	if (err)
		_exit(err);
	for (;;)
		pause();
}

/* posix_spawn in glibc is clone(CLONE_VM | CLONE_VFORK) and execve. */
void run_exec(struct worker *w)
{
	struct tick t;

	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		pid_t pid;
		int err = 0;

		tick_wait(w, &t);
		if (n % 4 == 3) {
			pid = fork();
			if (pid == 0)
				exec_from_thread();
			err = pid < 0 ? errno : 0;
		} else {
			err = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, child_argv, environ);
		}
		if (err == EAGAIN)
			continue;
		if (err)
			fail(w, "exec", err);
		else if (reap(w, pid, "exec child"))
			progress(w);
	}
}

void run_membarrier(struct worker *w)
{
	static const struct { int cmd, reg; } how[] = {
		{ MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED },
		{ MEMBARRIER_CMD_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED },
		{ MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
		  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE },
		{ MEMBARRIER_CMD_GLOBAL, 0 },
	};
	struct tick t;
	long known;

	if (w->role == 1) {
		set_variant(w, "peer");
		duty(w, 1000, 40);
	}
	known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	if (known <= 0)
		fail(w, "membarrier", errno);
	for (unsigned int i = 0; i < 4; i++)
		if (how[i].reg && (known & how[i].reg) && syscall(SYS_membarrier, how[i].reg, 0, 0))
			fail(w, "membarrier", errno);
	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		int cmd = how[n % 4].cmd;

		tick_wait(w, &t);
		if ((known & cmd) && syscall(SYS_membarrier, cmd, 0, 0))
			fail(w, "membarrier", errno);
		progress(w);
	}
}

#define FAULT_SIZE (256 * 1024)

void run_fault(struct worker *w)
{
	struct tick t;
	char *p;

	tick_start(w, &t, w->unit->period_ms);
	for (;;) {
		tick_wait(w, &t);
		p = mmap(NULL, FAULT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) {
			fail(w, "mmap", errno);
			continue;
		}
		for (size_t i = 0; i < FAULT_SIZE; i += 4096)
			p[i] = 1;
		if (madvise(p, FAULT_SIZE / 2, MADV_DONTNEED) || p[0] || !p[FAULT_SIZE / 2])
			fail(w, "madvise", errno);
		if (munmap(p, FAULT_SIZE))
			fail(w, "munmap", errno);
		progress(w);
	}
}

static char task_state(pid_t pid)
{
	char state = '?';

	proc_stat(pid, 0, &state, NULL, NULL);
	return state;
}

/* Stops and continues a process: the TASK_STOPPED side of the wake-up path. */
void run_jobctl(struct worker *w)
{
	struct slot *victim = &w->unit->slots[1];
	struct tick t;

	if (w->role == 1) {
		set_variant(w, "victim");
		w->no_latency = true;
		duty(w, 1000, 40);
	}
	tick_start(w, &t, w->unit->period_ms);
	for (;;) {
		pid_t pid = wait_tid(victim);
		int tries = 0;

		tick_wait(w, &t);
		if (kill(pid, SIGSTOP))
			fail(w, "kill", errno);
		while (task_state(pid) != 'T' && tries++ < 500)
			sleep_ns(10 * NSEC_PER_MSEC);
		if (kill(pid, SIGCONT))
			fail(w, "kill", errno);
		if (tries > 500)
			fail(w, "not stopped", ETIMEDOUT);
		progress(w);
	}
}

/* Ends with the worker: stop looks for what is left in its session only. */
static void session_member(void) __attribute__((noreturn));
static void session_member(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setsid() < 0)
		_exit(errno);
	for (;;) {
		sleep(10);
		burn_us(50);
	}
}

static pid_t begin_session(struct worker *w)
{
	pid_t pid;

	while ((pid = fork()) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			fail(w, "fork", errno);
		sleep_ns(10 * NSEC_PER_MSEC);
	}
	if (pid == 0)
		session_member();
	return pid;
}

/* In each period one session ends and another begins. */
void run_sessions(struct worker *w)
{
	unsigned int n = w->unit->members;
	pid_t *pids = calloc(n, sizeof(*pids));
	struct tick t;

	if (!pids)
		die(EXIT_FAILED, "out of memory");
	for (unsigned int i = 0; i < n; i++)
		pids[i] = begin_session(w);
	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int i = 0;; i = (i + 1) % n) {
		tick_wait(w, &t);
		if (kill(pids[i], SIGKILL) || waitpid(pids[i], NULL, 0) < 0)
			fail(w, "end a session", errno);
		pids[i] = begin_session(w);
		progress(w);
	}
}
