// SPDX-License-Identifier: BSD-3-Clause
/* Does the bandwidth limit of each quota cgroup hold, and is it reached? */
#include "load.h"

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

int cmd_quota(const char *state, unsigned int seconds, bool json)
{
	struct usage a[MAX_QUOTAS], b;
	bool bad = false;

	state_open(state, true);
	if (!hdr->nquotas)
		die(EXIT_FAILED, "%s: this load has no quota groups", state);
	for (unsigned int i = 0; i < hdr->nquotas; i++)
		a[i] = read_usage(&hdr->quotas[i]);
	sleep_ns(seconds * NSEC_PER_SEC);
	if (json)
		printf("{\"groups\":[");
	for (unsigned int i = 0; i < hdr->nquotas; i++) {
		const struct quota *q = &hdr->quotas[i];
		double used, limit = read_limit(q);
		const char *verdict = "ok";

		b = read_usage(q);
		used = 1e5 * (double)(b.used_us - a[i].used_us) / (double)(b.when - a[i].when);
		if (used > limit * 1.15)
			verdict = "over";
		else if (used < limit * 0.5)
			verdict = "starved";
		bad |= strcmp(verdict, "ok") != 0;
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
		printf("],\"ok\":%s}\n", bad ? "false" : "true");
	return bad ? EXIT_FAILED : EXIT_OK;
}
