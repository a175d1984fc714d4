// SPDX-License-Identifier: BSD-3-Clause
/* Yields and has children that do, until it is killed. */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	for (;;) {
		pid_t child = fork();

		sched_yield();
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
		usleep(5000);
	}
}
