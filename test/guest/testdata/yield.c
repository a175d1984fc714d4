// SPDX-License-Identifier: BSD-3-Clause
/* Yields a hundred times on each CPU. */
#define _GNU_SOURCE
#include <sched.h>

int main(void)
{
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			continue;
		for (int i = 0; i < 100; i++)
			sched_yield();
	}
	return 0;
}
