// SPDX-License-Identifier: BSD-3-Clause
/* Starting, watching and ending the workers. */
#include "load.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAX_UNITS 4096

struct proc {
	pid_t pid;		/* 0 once reaped */
	struct slot *slots;
	unsigned int n;
};

static struct unit units[MAX_UNITS];
static struct proc procs[MAX_SLOTS];
static unsigned int nunits, nprocs;

static void no_action(int sig)
{
	(void)sig;
}

static void *run_worker(void *arg) __attribute__((noreturn));
static void *run_worker(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "%.9s/%u", w->unit->kind->name, w->id);
	prctl(PR_SET_NAME, name);
	w->slot->pid = getpid();
	__atomic_store_n(&w->slot->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	w->unit->kind->run(w);
	/* A body returns only when it cannot work, and has said why. */
	for (;;)
		pause();
}

static struct worker *make_worker(struct unit *u, unsigned int role)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		_exit(ENOMEM);
	w->unit = u;
	w->slot = &u->slots[role];
	w->role = role;
	w->id = u->first_id + role;
	w->rng = (uint64_t)(w->slot - slots + 1) * 0x9e3779b97f4a7c15ull;
	return w;
}

/* Runs the roles [first, first + n) of a unit in this process. */
static void run_process(struct unit *u, unsigned int first, unsigned int n) __attribute__((noreturn));
static void run_process(struct unit *u, unsigned int first, unsigned int n)
{
	struct sigaction sa = { .sa_handler = no_action };
	pthread_attr_t attr;
	pthread_t th;
	sigset_t set;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != hdr->supervisor)
		_exit(ECHILD);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (unsigned int i = 1; i < n; i++) {
		struct worker *w = make_worker(u, first + i);
		int err;

		while ((err = pthread_create(&th, &attr, run_worker, w)))
			fail(w, "pthread_create", err);
	}
	run_worker(make_worker(u, first));
}

static bool spawn(struct unit *u, unsigned int first, unsigned int n)
{
	struct proc *p = &procs[nprocs];
	pid_t pid;

	while ((pid = fork()) < 0) {
		if (errno != EINTR) {
			snprintf(hdr->message, sizeof(hdr->message), "%s: fork: %s",
				 u->kind->name, strerror(errno));
			return false;
		}
	}
	if (pid == 0)
		run_process(u, first, n);
	p->pid = pid;
	p->slots = u->slots + first;
	p->n = n;
	nprocs++;
	return true;
}

static bool spawn_unit(struct unit *u)
{
	int err = u->kind->setup ? u->kind->setup(u) : 0;
	bool ok = true;

	if (err) {
		snprintf(hdr->message, sizeof(hdr->message), "%s: set-up: %s", u->kind->name, strerror(-err));
		return false;
	}
	if (u->procs)
		for (unsigned int i = 0; i < u->nslots && ok; i++)
			ok = spawn(u, i, 1);
	else
		ok = spawn(u, 0, u->nslots);
	for (int i = 0; i < UNIT_FDS; i++)
		if (u->fds[i] >= 0)
			close(u->fds[i]);
	return ok;
}

static void mark_dead(pid_t pid, int status)
{
	for (unsigned int i = 0; i < nprocs; i++) {
		if (procs[i].pid != pid)
			continue;
		procs[i].pid = 0;
		hdr->deaths++;
		for (unsigned int s = 0; s < procs[i].n; s++) {
			procs[i].slots[s].exit_status = (uint32_t)status;
			__atomic_fetch_or(&procs[i].slots[s].flags, SLOT_DEAD, __ATOMIC_RELEASE);
		}
	}
}

/* Returns false when no child is left. */
static bool reap_children(void)
{
	int status;
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid > 0 && hdr->phase < PHASE_STOPPING)
			mark_dead(pid, status);
		else if (pid == 0)
			return true;
		else if (pid < 0 && errno != EINTR)
			return false;
	}
}

static void clean_up(void)
{
	uint64_t end = now_ns() + 60 * NSEC_PER_SEC;
	char left[200];
	unsigned int n;
	int err;

	__atomic_store_n(&hdr->phase, PHASE_STOPPING, __ATOMIC_RELEASE);
	/* Ahead of the load if allowed: each pass of the loop reads all of /proc. */
	set_policy(0, SCHED_OTHER, -15, 0);
	for (;;) {
		n = session_members(hdr->supervisor, hdr->supervisor, SIGKILL, left, sizeof(left));
		if (!reap_children() && n == 0)
			break;
		if (now_ns() > end) {
			snprintf(hdr->message, sizeof(hdr->message), "processes left after SIGKILL:%s", left);
			return;
		}
		sleep_ns(20 * NSEC_PER_MSEC);
	}
	err = online_all_cpus();
	if (err)
		snprintf(hdr->message, sizeof(hdr->message), "cpu%d is down: %s",
			 hdr->offlined_cpu, strerror(-err));
	err = *hdr->cgroup ? cg_remove_all() : 0;
	if (err)
		snprintf(hdr->message, sizeof(hdr->message), "%s: rmdir: %s", hdr->cgroup, strerror(-err));
}

/* Names the first worker that keeps the load from being ready, if any. */
static bool all_ready(char *why, size_t size)
{
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		struct slot *s = &slots[i];
		const char *kind = hdr->kinds[s->kind];

		if (s->flags & SLOT_DEAD) {
			snprintf(why, size, "worker %s/%u (pid %d) died, wait status 0x%x",
				 kind, s->id, s->pid, s->exit_status);
			return false;
		}
		if (__atomic_load_n(&s->errors, __ATOMIC_ACQUIRE)) {
			snprintf(why, size, "worker %s/%u (pid %d): %s: %s", kind, s->id, s->pid,
				 s->op, strerror(s->last_errno));
			return false;
		}
		if (!__atomic_load_n(&s->counter, __ATOMIC_ACQUIRE)) {
			snprintf(why, size, "worker %s/%u (%s, pid %d, tid %d) made no progress", kind,
				 s->id, s->variant, s->pid, s->tid);
			return false;
		}
	}
	return true;
}

static unsigned int failed_workers(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < hdr->nslots; i++)
		n += slots[i].errors || (slots[i].flags & SLOT_DEAD);
	return n;
}

/* Returns when told to stop, or when start-up failed. */
static void watch(unsigned int timeout)
{
	struct timespec second = { .tv_sec = 1 }, tenth = { .tv_nsec = 100000000 };
	uint64_t end = now_ns() + timeout * NSEC_PER_SEC;
	sigset_t set;
	char why[200];
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	for (;;) {
		bool starting = hdr->phase == PHASE_STARTING;

		sig = sigtimedwait(&set, NULL, starting ? &tenth : &second);
		if (sig == SIGTERM)
			return;
		reap_children();
		if (!starting)
			continue;
		if (all_ready(why, sizeof(why))) {
			hdr->ready_ns = now_ns();
			__atomic_store_n(&hdr->phase, PHASE_RUNNING, __ATOMIC_RELEASE);
		} else if (failed_workers() || now_ns() > end) {
			snprintf(hdr->message, sizeof(hdr->message), "%s%s", why,
				 failed_workers() ? "" : " in time");
			return;
		}
	}
}

static void fill_slots(void)
{
	struct slot *s = slots;

	for (unsigned int i = 0; i < nunits; i++) {
		units[i].slots = s;
		for (unsigned int r = 0; r < units[i].nslots; r++, s++) {
			s->kind = (uint32_t)(units[i].kind - kinds);
			s->id = units[i].first_id + r;
			s->role = r;
		}
	}
}

static bool needs_cgroup(bool *cpuset)
{
	bool need = false;

	*cpuset = false;
	for (unsigned int i = 0; i < nunits; i++) {
		need |= units[i].kind->cgroup;
		*cpuset |= units[i].kind == &kinds[K_CPUSET];
	}
	return need;
}

/* Pages shared by the processes of a unit; the supervisor never unmaps them. */
static bool share_memory(void)
{
	struct shared *sh = mmap(NULL, nunits * sizeof(*sh), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (sh == MAP_FAILED) {
		snprintf(hdr->message, sizeof(hdr->message), "mmap: %s", strerror(errno));
		return false;
	}
	for (unsigned int i = 0; i < nunits; i++)
		units[i].shared = &sh[i];
	return true;
}

static void detach(void)
{
	struct sigaction sa = { .sa_handler = no_action, .sa_flags = SA_NOCLDSTOP };
	static const int blocked[] = { SIGCHLD, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGPROF };
	int fd = open("/dev/null", O_RDWR);
	sigset_t set;

	setsid();
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (fd > 2)
			close(fd);
	}
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(blocked) / sizeof(blocked[0]); i++)
		sigaddset(&set, blocked[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigaction(SIGCHLD, &sa, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, "schedload");
}

static void supervise(const char *state, const char *cgroot, unsigned int timeout) __attribute__((noreturn));
static void supervise(const char *state, const char *cgroot, unsigned int timeout)
{
	bool cpuset, ok = true;

	detach();
	hdr->supervisor = getpid();
	proc_stat(getpid(), 0, NULL, NULL, &hdr->supervisor_start);
	if (needs_cgroup(&cpuset))
		ok = !cg_open_root(cgroot, state, cpuset);
	ok = ok && share_memory();
	for (unsigned int i = 0; i < nunits && ok; i++)
		ok = spawn_unit(&units[i]);
	if (ok)
		watch(timeout);
	ok = hdr->phase == PHASE_RUNNING;
	clean_up();
	__atomic_store_n(&hdr->phase, ok ? PHASE_STOPPED : PHASE_FAILED, __ATOMIC_RELEASE);
	_exit(0);
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	interrupted = sig;
}

/* Refuses to run over a living load; removes what a dead one left. */
static void claim_state(const char *path)
{
	if (access(path, F_OK))
		return;
	state_open(path, false);
	if (supervisor_alive())
		die(EXIT_FAILED, "%s: a load runs here already (supervisor %d): stop it first",
		    path, hdr->supervisor);
	unlink(path);
}

int cmd_start(const char *state, const char *text, const char *cgroot, unsigned int timeout)
{
	struct spec sp;
	unsigned int nslots;
	uint32_t phase;
	pid_t pid;

	spec_parse(&sp, text);
	nunits = spec_units(&sp, units, MAX_UNITS, &nslots);
	claim_state(state);
	state_create(state, nslots);
	spec_format(&sp, hdr->spec, sizeof(hdr->spec));
	hdr->nkinds = NKINDS;
	for (int i = 0; i < NKINDS; i++)
		snprintf(hdr->kinds[i], sizeof(hdr->kinds[i]), "%s", kinds[i].name);
	fill_slots();
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	pid = fork();
	if (pid < 0) {
		unlink(state);
		die(EXIT_FAILED, "fork: %s", strerror(errno));
	}
	if (pid == 0)
		supervise(state, cgroot, timeout);
	while ((phase = __atomic_load_n(&hdr->phase, __ATOMIC_ACQUIRE)) != PHASE_RUNNING) {
		if (interrupted)
			kill(pid, SIGTERM);
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			unlink(state);
			die(EXIT_FAILED, "start: %s", *hdr->message ? hdr->message :
			    interrupted ? "interrupted" : "the supervisor died");
		}
		sleep_ns(50 * NSEC_PER_MSEC);
	}
	printf("schedload: %u workers in %u units ready after %.1f s; %ld threads in the system\n",
	       nslots, nunits, (double)(hdr->ready_ns - hdr->start_ns) / 1e9,
	       total_threads());
	return EXIT_OK;
}

int cmd_stop(const char *state)
{
	uint64_t start = now_ns(), end = start + 120 * NSEC_PER_SEC;
	char left[200];
	unsigned int n;

	state_open(state, false);
	if (supervisor_alive())
		kill(hdr->supervisor, SIGTERM);
	while (supervisor_alive() && now_ns() < end)
		sleep_ns(50 * NSEC_PER_MSEC);
	if (hdr->phase != PHASE_STOPPED) {
		fprintf(stderr, "schedload: the supervisor did not stop the load: doing it here\n");
		clean_up();
	}
	n = session_members(hdr->supervisor, 0, 0, left, sizeof(left));
	if (n)
		die(EXIT_FAILED, "stop: %u processes left:%s", n, left);
	if (*hdr->cgroup && !access(hdr->cgroup, F_OK))
		die(EXIT_FAILED, "stop: %s is still there: %s", hdr->cgroup, hdr->message);
	if (*hdr->message)
		die(EXIT_FAILED, "stop: %s", hdr->message);
	unlink(state);
	printf("schedload: stopped %u workers in %.1f s; no process and no cgroup left\n",
	       hdr->nslots, (double)(now_ns() - start) / 1e9);
	return EXIT_OK;
}
