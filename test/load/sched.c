// SPDX-License-Identifier: BSD-3-Clause
/* System calls that glibc 2.36 does not wrap. */
#include "load.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

/* struct sched_attr, include/uapi/linux/sched/types.h, SCHED_ATTR_SIZE_VER0. */
struct attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
};

static int setattr(pid_t tid, struct attr *a)
{
	a->size = sizeof(*a);
	for (;;) {
		if (syscall(SYS_sched_setattr, tid, a, 0) == 0)
			return 0;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
}

int set_policy(pid_t tid, int policy, int nice, unsigned int rtprio)
{
	struct attr a = {
		.policy = (uint32_t)policy,
		.nice = nice,
		.priority = rtprio,
	};

	return setattr(tid, &a);
}

int set_deadline(pid_t tid, uint64_t runtime, uint64_t deadline, uint64_t period)
{
	struct attr a = {
		.policy = 6, /* SCHED_DEADLINE */
		.runtime = runtime,
		.deadline = deadline,
		.period = period,
	};

	return setattr(tid, &a);
}

/* A timeout of 0 waits for ever. Returns 0 or a negative errno. */
int futex_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(timeout_ns % NSEC_PER_SEC),
	};

	if (syscall(SYS_futex, word, FUTEX_WAIT, value,
		    timeout_ns ? &ts : NULL, NULL, 0) == 0)
		return 0;
	return -errno;
}

int futex_wake(uint32_t *word, int n)
{
	long ret = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);

	return ret < 0 ? -errno : (int)ret;
}
