// SPDX-License-Identifier: BSD-3-Clause
/* Does the bandwidth limit of each quota cgroup hold, and is it reached? */
#include "load.h"

#include <unistd.h>

struct usage {
	uint64_t when, used_us, periods, throttled;
};

static struct usage read_usage(const struct quota *q)
{
	struct usage u = { .when = now_ns() };
	int err = cg_read_key(q->name, "cpu.stat", "usage_usec", &u.used_us);

	if (!err)
		err = cg_read_key(q->name, "cpu.stat", "nr_periods", &u.periods);
	if (!err)
		err = cg_read_key(q->name, "cpu.stat", "nr_throttled", &u.throttled);
	if (err)
		die(EXIT_FAILED, "%s/%s/cpu.stat: %s", hdr->cgroup, q->name, strerror(-err));
	return u;
}

/* The limit as the kernel has it now, in percent of one CPU. */
static double read_limit(const struct quota *q)
{
	unsigned long long quota, period;
	char buf[64];

	if (cg_read(q->name, "cpu.max", buf, sizeof(buf)) ||
	    sscanf(buf, "%llu %llu", &quota, &period) != 2 || !period)
		die(EXIT_FAILED, "%s/%s/cpu.max: no limit set", hdr->cgroup, q->name);
	return 100.0 * (double)quota / (double)period;
}

/* What all tasks of the system used, in microseconds. */
static uint64_t read_all(void)
{
	unsigned long long user, nice, sys;
	char buf[4096];

	if (read_file("/proc/stat", buf, sizeof(buf)) < 0 ||
	    sscanf(buf, "cpu %llu %llu %llu", &user, &nice, &sys) != 3)
		die(EXIT_FAILED, "/proc/stat: unreadable");
	return (user + nice + sys) * (1000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* How many tasks want a CPU now. */
static unsigned int read_running(void)
{
	unsigned int running;
	char buf[128];

	if (read_file("/proc/loadavg", buf, sizeof(buf)) < 0 ||
	    sscanf(buf, "%*s %*s %*s %u/", &running) != 1)
		die(EXIT_FAILED, "/proc/loadavg: unreadable");
	return running;
}

/* Sleeps, and returns the most tasks that wanted a CPU at a time. */
static unsigned int watch_crowd(unsigned int seconds)
{
	unsigned int most = 1;

	for (unsigned int i = 0; i < 10 * seconds; i++) {
		unsigned int now = read_running();

		if (now > most)
			most = now;
		sleep_ns(NSEC_PER_SEC / 10);
	}
	return most;
}

/*
 * The limit is an upper bound, which must hold. It is no promise: a machine that is short
 * of CPU time gives a group less. So that half the limit is not reached is a fault only if
 * the group did not even get a quarter of the share that each task would have had of all
 * that was used in the same time.
 */
static const char *judge(double used, double limit, double share)
{
	if (used > limit * 1.15)
		return "over";
	if (used >= limit * 0.5)
		return "ok";
	return used < share * 0.25 ? "starved" : "too little CPU to judge";
}

int cmd_quota(const char *state, unsigned int seconds, bool json)
{
	struct usage a[MAX_QUOTAS], b;
	bool bad = false, unclear = false;
	unsigned int crowd;
	uint64_t all, began;
	double share;

	state_open(state, true);
	if (!hdr->nquotas)
		die(EXIT_FAILED, "%s: this load has no quota groups", state);
	for (unsigned int i = 0; i < hdr->nquotas; i++)
		a[i] = read_usage(&hdr->quotas[i]);
	all = read_all();
	began = now_ns();
	crowd = watch_crowd(seconds);
	share = 1e5 * (double)(read_all() - all) / (double)(now_ns() - began) / crowd;
	if (json)
		printf("{\"groups\":[");
	for (unsigned int i = 0; i < hdr->nquotas; i++) {
		const struct quota *q = &hdr->quotas[i];
		double used, limit = read_limit(q);
		const char *verdict;

		b = read_usage(q);
		used = 1e5 * (double)(b.used_us - a[i].used_us) / (double)(b.when - a[i].when);
		verdict = judge(used, limit, share);
		bad |= !strcmp(verdict, "over") || !strcmp(verdict, "starved");
		unclear |= strcmp(verdict, "ok") != 0;
		if (json)
			printf("%s{\"name\":\"%s\",\"hogs\":%u,\"limit_percent\":%.1f,\"used_percent\":%.1f,"
			       "\"periods\":%llu,\"throttled\":%llu,\"verdict\":\"%s\"}", i ? "," : "",
			       q->name, q->hogs, limit, used, (unsigned long long)(b.periods - a[i].periods),
			       (unsigned long long)(b.throttled - a[i].throttled), verdict);
		else
			printf("%-8s %u hogs: limit %.1f %%, used %.1f %% of a CPU, throttled in %llu of %llu "
			       "periods: %s\n", q->name, q->hogs, limit, used,
			       (unsigned long long)(b.throttled - a[i].throttled),
			       (unsigned long long)(b.periods - a[i].periods), verdict);
	}
	if (json)
		printf("],\"share_percent\":%.1f,\"ok\":%s}\n", share, unclear ? "false" : "true");
	if (bad)
		return EXIT_FAILED;
	return unclear ? EXIT_UNCLEAR : EXIT_OK;
}
