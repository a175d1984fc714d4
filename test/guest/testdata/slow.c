// SPDX-License-Identifier: BSD-3-Clause
/*
 * Keeps tasks in the kernel, in functions that use memory of theirs: its pages are
 * missing, and nobody delivers them. Says "stuck" when all wait, and waits for a signal.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 3, STACK = 65536 };

static char *pages; /* one for each task */

static void *in_syscall(void *unused)
{
	syscall(SYS_sched_rr_get_interval, 0, pages);
	return unused;
}

static void *in_file(void *unused)
{
	int fd = open("/proc/pressure/cpu", O_RDWR);

	if (fd < 0)
		err(1, "/proc/pressure/cpu");
	if (write(fd, pages + PAGE, 20) < 0)
		err(1, "write");
	return unused;
}

static int born(void *unused)
{
	(void)unused;
	pause();
	return 0;
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffd_msg msg;
	pthread_t thread;
	int uffd, i;

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (uffd < 0 || pages == MAP_FAILED || ioctl(uffd, UFFDIO_API, &api))
		err(1, "userfaultfd");
	reg.range.start = (unsigned long)pages;
	reg.range.len = PAGES * PAGE;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		err(1, "UFFDIO_REGISTER");
	if (pthread_create(&thread, NULL, in_syscall, NULL) || pthread_create(&thread, NULL, in_file, NULL))
		errx(1, "pthread_create");
	/* ret_from_fork writes the new task's number. */
	if (clone(born, (char *)malloc(STACK) + STACK, CLONE_VM | CLONE_CHILD_SETTID | SIGCHLD, NULL, NULL, NULL, pages + 2 * PAGE) < 0)
		err(1, "clone");
	for (i = 0; i < PAGES; i++)
		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			err(1, "read");
	puts("stuck");
	fflush(stdout);
	pause();
	return 0;
}
