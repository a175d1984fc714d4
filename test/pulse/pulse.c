// SPDX-License-Identifier: BSD-3-Clause
/*
 * pulse makes the kernel's own threads work, and says which of them does not: what a
 * scheduler has lost must run again once it is gone.
 *
 *	pulse [SECONDS]
 *
 * On every CPU that is online: a work of the bound kworkers, a timer of the timer
 * wheel, a softirq that is left to ksoftirqd. For all together: a grace period of RCU.
 * Then there must be no task that is awake and is not run. What does not come within so many seconds
 * (without the argument it is waited for) is named, one a line. Exit status: 0 all
 * came, 1 not, 2 usage. It needs root.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kd.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_BEATS	1024
#define MAX_TASKS	16384
#define LOOKS		4	/* at tasks that are awake, half a second apart */

static void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static void nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

/* schedule_on_each_cpu() */
static void works(int cpu)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);

	(void)cpu;
	if (fd < 0 || write(fd, "1", 1) != 1)
		fail("/proc/sys/vm/stat_refresh");
}

/* synchronize_rcu() */
static void grace_period(int cpu)
{
	(void)cpu;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		fail("membarrier");
}

/* schedule_timeout(), unlike sleeps, which have timers of high resolution. */
static void timer(int cpu)
{
	struct timeval t = { .tv_usec = 20000 };
	int fds[2];
	char c;

	pin(cpu);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) ||
	    setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)))
		fail("socketpair");
	if (recv(fds[0], &c, 1, 0) >= 0 || errno != EAGAIN)
		fail("recv");
}

/* Returns a thread of the kernel by its name, 0 if there is none. */
static int thread(const char *name)
{
	DIR *dir = opendir("/proc");
	char path[300], comm[64];
	struct dirent *e;
	int pid = 0;

	while (dir && !pid && (e = readdir(dir))) {
		FILE *f;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && !strncmp(comm, name, strlen(name)) &&
		    comm[strlen(name)] == '\n')
			pid = atoi(e->d_name);
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return pid;
}

/* How often a task was run: the last figure of its schedstat. */
static bool figures(const char *pid, const char *tid, unsigned long long *ran, unsigned long *times)
{
	unsigned long long waited;
	char path[600];
	bool ok;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	ok = fscanf(f, "%llu %llu %lu", ran, &waited, times) == 3;
	fclose(f);
	return ok;
}

/* A tasklet that a task schedules (the keyboard's) is left to ksoftirqd. */
static void softirq(int cpu)
{
	char name[32], pid[16];
	unsigned long before, now;
	unsigned long long ran;
	int fd, n;

	pin(cpu);
	snprintf(name, sizeof(name), "ksoftirqd/%d", cpu);
	n = thread(name);
	snprintf(pid, sizeof(pid), "%d", n);
	fd = open("/dev/tty0", O_RDWR | O_NOCTTY);
	if (!n || fd < 0 || !figures(pid, pid, &ran, &before))
		fail(name);
	do {
		if (ioctl(fd, KDSETLED, 0))
			fail("KDSETLED");
		nap(20);
		if (!figures(pid, pid, &ran, &now))
			fail(name);
	} while (now == before);
}

struct beat {
	pid_t pid;
	char name[32];
};

static struct beat beats[MAX_BEATS];
static unsigned int nbeats;

static void start(const char *name, void (*run)(int cpu), int cpu)
{
	struct beat *b = &beats[nbeats++];

	snprintf(b->name, sizeof(b->name), cpu < 0 ? "%s" : "%s/%d", name, cpu);
	b->pid = fork();
	if (b->pid < 0)
		fail("fork");
	if (b->pid)
		return;
	run(cpu);
	_exit(0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Waits for all beats; returns how many did not come until then, or failed. */
static int await(double end)
{
	unsigned int left = nbeats, i;
	int status, wrong = 0;

	while (left && now() < end) {
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0)
			nap(20);
		for (i = 0; pid > 0 && i < nbeats; i++) {
			if (beats[i].pid != pid)
				continue;
			beats[i].pid = 0;
			left--;
			if (status) {
				printf("%s failed\n", beats[i].name);
				wrong++;
			}
		}
	}
	for (i = 0; i < nbeats; i++) {
		if (!beats[i].pid)
			continue;
		printf("%s does not come\n", beats[i].name);
		kill(beats[i].pid, SIGKILL);
		wrong++;
	}
	return wrong;
}

/* A task that is awake. */
struct awake {
	int tid;
	unsigned int looks;	/* in a row in which it was so and had not run */
	unsigned long long ran;
	unsigned long times;
	char name[32];
};

static struct awake tasks[2][MAX_TASKS];
static unsigned int ntasks[2];

static void look_at(const char *pid, const char *tid, unsigned int round)
{
	struct awake *a = &tasks[round % 2][ntasks[round % 2]], *was = NULL;
	char path[600], state;
	unsigned int i;
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/stat", pid, tid);
	f = fopen(path, "r");
	if (!f)
		return;
	n = fscanf(f, "%d (%31[^)]) %c", &a->tid, a->name, &state);
	fclose(f);
	if (n != 3 || state != 'R' || a->tid == getpid() || !figures(pid, tid, &a->ran, &a->times))
		return;
	a->looks = 1;
	for (i = 0; i < ntasks[(round + 1) % 2] && !was; i++)
		if (tasks[(round + 1) % 2][i].tid == a->tid)
			was = &tasks[(round + 1) % 2][i];
	if (was && was->ran == a->ran && was->times == a->times)
		a->looks += was->looks;
	if (ntasks[round % 2] < MAX_TASKS - 1)
		ntasks[round % 2]++;
}

static void look(unsigned int round)
{
	DIR *dir = opendir("/proc"), *threads;
	struct dirent *p, *t;
	char path[300];

	ntasks[round % 2] = 0;
	while (dir && (p = readdir(dir))) {
		if (!isdigit((unsigned char)p->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", p->d_name);
		threads = opendir(path);
		while (threads && (t = readdir(threads)))
			if (isdigit((unsigned char)t->d_name[0]))
				look_at(p->d_name, t->d_name, round);
		if (threads)
			closedir(threads);
	}
	if (dir)
		closedir(dir);
}

/* Tasks that are awake and were not run in any of the looks; with tell they are named. */
static int stranded(bool tell)
{
	unsigned int i;
	int wrong = 0;

	for (i = 0; i < LOOKS; i++) {
		if (i)
			nap(500);
		look(i);
	}
	for (i = 0; i < ntasks[(LOOKS - 1) % 2]; i++) {
		struct awake *a = &tasks[(LOOKS - 1) % 2][i];

		if (a->looks < LOOKS)
			continue;
		if (tell)
			printf("task %d (%s) is awake and is not run\n", a->tid, a->name);
		wrong++;
	}
	return wrong;
}

int main(int argc, char **argv)
{
	double end = argc == 2 ? now() + atof(argv[1]) : 1e300;
	cpu_set_t online;
	int cpu, wrong, left;
	bool last;

	if (argc > 2 || (argc == 2 && atof(argv[1]) <= 0)) {
		fprintf(stderr, "usage: pulse [SECONDS]\n");
		return 2;
	}
	if (sched_getaffinity(0, sizeof(online), &online))
		fail("sched_getaffinity");
	start("work", works, -1);
	start("rcu", grace_period, -1);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &online) || nbeats + 2 > MAX_BEATS)
			continue;
		start("timer", timer, cpu);
		start("softirq", softirq, cpu);
	}
	wrong = await(end);
	do {
		last = now() >= end;
		left = stranded(last);
	} while (left && !last);
	return wrong || left;
}
