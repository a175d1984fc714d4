/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loads that are judged by work, and not by time: a unit of work is the same instructions on every
 * machine, and however often a host takes the CPU away.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Some ten microseconds under emulation. */
static inline void unit(void)
{
	for (volatile int i = 0; i < 2000; i++)
		;
}

static inline void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static inline void sleep_while(int *word, int value)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value)
		syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static inline void set_and_wake(int *word, int value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
}

static inline void nap(long us)
{
	nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 }, NULL);
}

/* A child that may run on some CPUs (a mask), and ends with its parent; 0: it is that. */
static inline int child(unsigned long cpus)
{
	int pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) ||
	    syscall(SYS_sched_setaffinity, 0, sizeof(cpus), &cpus) < 0)
		die("a child");
	return 0;
}

/* Of /proc/PID/status: 0 once the process is gone. */
static inline long sleeps_of(int pid)
{
	char name[64], line[256];
	long n = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/status", pid);
	f = fopen(name, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "voluntary_ctxt_switches: %ld", &n);
	if (f)
		fclose(f);
	return n;
}

/* The children's numbers are said, in a line; then somebody makes a file. */
static inline void when_told(const int *pids, int n, const char *file)
{
	struct stat st;

	for (int i = 0; i < n; i++)
		printf("%d%c", pids[i], i < n - 1 ? ' ' : '\n');
	fflush(stdout);
	while (stat(file, &st))
		nap(10000);
}
