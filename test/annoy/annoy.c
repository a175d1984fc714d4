// SPDX-License-Identifier: BSD-3-Clause
/*
 * annoy is an ordinary user who does not want the scheduler to be changed. It keeps
 * tasks inside of the scheduler's code, in a way that needs no rights, until it is
 * killed. Once a second it tells how often it was there.
 *
 *	annoy WAY [PROCESSES]
 *
 *	psi       makes and ends triggers of /proc/pressure, which waits for RCU
 *	slow      system calls that read or write a page of a file of FUSE that never comes:
 *	          one process for each of them
 *	read      reads all files of scheduler modules, and the scheduler's in /proc
 *	policy    changes its own policy and niceness
 *	affinity  moves a thread that does not sleep round the CPUs
 *	prctl     makes core scheduling groups, where the kernel has them
 *	perf      opens and closes events of its own
 *
 * It has to be started by root: what `slow` maps is mounted like by fusermount. Then it
 * is the user 65534. Exit status: 1 it cannot be done, 2 usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <linux/fuse.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE		62
#define PR_SCHED_CORE_CREATE	1
#endif

#define NOBODY		65534
#define SLOW_FILE	"/run/slow"
#define PAGE		4096
#define SLOW_PAGES	64

static atomic_ulong *count;	/* shared by all processes */

static void fail(const char *what)
{
	fprintf(stderr, "annoy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		fail("become nobody");
}

/* A trigger lives as long as its file is open. */
static void psi(unsigned int n)
{
	static const char *const files[] = { "cpu", "memory", "io" };
	static const char trigger[] = "some 500000 2000000";
	char path[64];

	snprintf(path, sizeof(path), "/proc/pressure/%s", files[n % 3]);
	for (;;) {
		int fd = open(path, O_RDWR | O_NONBLOCK);

		if (fd < 0 || write(fd, trigger, sizeof(trigger)) < 0)
			fail(path);
		close(fd);
		(*count)++;
	}
}

static void read_all(const char *pattern)
{
	static char buf[1 << 16];
	glob_t g;

	if (glob(pattern, 0, NULL, &g))
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		int fd = open(g.gl_pathv[i], O_RDONLY);

		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
		(*count)++;
	}
	globfree(&g);
}

static void readers(unsigned int n)
{
	(void)n;
	for (;;) {
		read_all("/sys/module/plugsched_*/plugsched/*");
		read_all("/proc/schedstat");
		read_all("/proc/self/sched");
		read_all("/proc/pressure/*");
	}
}

static void policy(unsigned int n)
{
	static const int policies[] = { SCHED_BATCH, SCHED_OTHER };
	struct sched_param none = { 0 };

	for (;; n++) {
		if (sched_setscheduler(0, policies[n % 2], &none))
			fail("sched_setscheduler");
		setpriority(PRIO_PROCESS, 0, n % 20);
		sched_yield();
		(*count)++;
	}
}

static void *spin(void *unused)
{
	(void)unused;
	for (;;)
		getppid();
	return NULL;
}

static void affinity(unsigned int n)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread;
	cpu_set_t set;

	if (pthread_create(&thread, NULL, spin, NULL))
		fail("pthread_create");
	for (;; n++) {
		CPU_ZERO(&set);
		CPU_SET(n % cpus, &set);
		if (pthread_setaffinity_np(thread, sizeof(set), &set))
			fail("sched_setaffinity");
		(*count)++;
	}
}

static void core(unsigned int n)
{
	(void)n;
	for (;;) {
		if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, 1, 0) && errno != ENODEV && errno != EINVAL)
			fail("PR_SCHED_CORE");
		prctl(PR_SET_TIMERSLACK, 1000);
		(*count)++;
	}
}

static void perf(unsigned int n)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .exclude_kernel = 1,
		.config = n % 2 ? PERF_COUNT_SW_CPU_CLOCK : PERF_COUNT_SW_CONTEXT_SWITCHES,
	};

	for (;;) {
		int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

		if (fd < 0)
			fail("perf_event_open");
		sched_yield();
		close(fd);
		(*count)++;
	}
}

/* System calls of the scheduler with a page that does not come. */
static void slow_interval(char *page) { syscall(SYS_sched_rr_get_interval, 0, page); }
static void slow_getparam(char *page) { syscall(SYS_sched_getparam, 0, page); }
static void slow_setparam(char *page) { syscall(SYS_sched_setparam, 0, page); }
static void slow_setscheduler(char *page) { syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, page); }
static void slow_getattr(char *page) { syscall(SYS_sched_getattr, 0, page, 56, 0); }
static void slow_setattr(char *page) { syscall(SYS_sched_setattr, 0, page, 0); }
static void slow_getaffinity(char *page) { syscall(SYS_sched_getaffinity, 0, 128, page); }
static void slow_setaffinity(char *page) { syscall(SYS_sched_setaffinity, 0, 128, page); }

static void slow_trigger(char *page)
{
	int fd = open("/proc/pressure/cpu", O_RDWR | O_NONBLOCK);

	if (fd < 0 || write(fd, page, 32) < 0)
		fail("/proc/pressure/cpu");
}

/* schedule_tail() tells the child its number. */
static void slow_clone(char *page)
{
	if (!syscall(SYS_clone, CLONE_CHILD_SETTID | SIGCHLD, 0, NULL, page, 0))
		_exit(0);
	pause();
}

static void (*const slow_calls[])(char *page) = {
	slow_interval, slow_getparam, slow_setparam, slow_setscheduler, slow_getattr,
	slow_setattr, slow_getaffinity, slow_setaffinity, slow_trigger, slow_clone,
};

#define NSLOW (sizeof(slow_calls) / sizeof(*slow_calls))

static void slow(unsigned int n)
{
	int fd = open(SLOW_FILE, O_RDONLY);
	struct stat st;
	char *page;

	/* A fault behind the end would be an error; the kernel does not ask by itself. */
	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		fail(SLOW_FILE);
	page = mmap(NULL, SLOW_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (page == MAP_FAILED)
		fail("mmap " SLOW_FILE);
	(*count)++;
	slow_calls[n](page + n * PAGE);
	fprintf(stderr, "annoy: slow call %u came back\n", n);
	exit(1);
}

/* Mounts a file that consists of pages that never come; returns the server's end. */
static int mount_slow(void)
{
	int fuse = open("/dev/fuse", O_RDWR), fd = open(SLOW_FILE, O_CREAT | O_RDWR, 0644);
	char options[128];

	if (fuse < 0 || fd < 0)
		fail("/dev/fuse, " SLOW_FILE);
	close(fd);
	snprintf(options, sizeof(options), "fd=%d,rootmode=%o,user_id=%d,group_id=%d", fuse,
		 S_IFREG | 0444, NOBODY, NOBODY);
	if (mount("annoy", SLOW_FILE, "fuse", MS_NOSUID | MS_NODEV, options))
		fail("mount " SLOW_FILE);
	return fuse;
}

static void answer(int fuse, uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header h = { .len = sizeof(h) + size, .error = error, .unique = unique };
	char buf[256];

	memcpy(buf, &h, sizeof(h));
	if (size)
		memcpy(buf + sizeof(h), data, size);
	if (write(fuse, buf, h.len) < 0 && errno != ENOENT)
		fail("write /dev/fuse");
}

/* Answers everything but reads. */
static void serve(int fuse)
{
	static char buf[1 << 17];
	const struct fuse_in_header *h = (void *)buf;

	while (read(fuse, buf, sizeof(buf)) > 0) {
		switch (h->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = { .major = 7, .minor = 31, .max_write = PAGE };

			answer(fuse, h->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = { .attr_valid = 3600, .attr = {
				.ino = 1, .size = SLOW_PAGES * PAGE, .mode = S_IFREG | 0444, .nlink = 1,
				.uid = NOBODY, .gid = NOBODY, .blksize = PAGE } };

			answer(fuse, h->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_OPEN: {
			/* Else the next open waits for the pages that others wait for. */
			struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };

			answer(fuse, h->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_READ:
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			answer(fuse, h->unique, 0, NULL, 0);
			break;
		default:
			answer(fuse, h->unique, -ENOSYS, NULL, 0);
		}
	}
	fail("read /dev/fuse");
}

static const struct way {
	const char *name;
	void (*run)(unsigned int n);
} ways[] = {
	{ "psi", psi }, { "slow", slow }, { "read", readers }, { "policy", policy },
	{ "affinity", affinity }, { "prctl", core }, { "perf", perf },
};

static void start(void (*run)(unsigned int n), unsigned int n)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run(n);
}

int main(int argc, char **argv)
{
	unsigned int n = argc == 3 ? atoi(argv[2]) : 4;
	const struct way *w = NULL;
	int fuse = -1;

	for (size_t i = 0; argc > 1 && i < sizeof(ways) / sizeof(*ways); i++)
		if (!strcmp(argv[1], ways[i].name))
			w = &ways[i];
	if (!w || argc > 3 || !n) {
		fprintf(stderr, "usage: annoy psi|slow|read|policy|affinity|prctl|perf [PROCESSES]\n");
		return 2;
	}
	count = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED)
		fail("mmap");
	if (w->run == slow) {
		fuse = mount_slow();
		n = NSLOW;
	}
	become_nobody();
	if (fuse >= 0 && !fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fuse);
	}
	if (fuse >= 0)
		close(fuse);	/* the server's end ends the file, and what waits for it */
	for (unsigned int i = 0; i < n; i++)
		start(w->run, i);
	for (;;) {
		sleep(1);
		printf("%lu\n", atomic_load(count));
		fflush(stdout);
	}
}
