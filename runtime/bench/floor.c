// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no update can be quicker than: a stop in which nothing is done, all CPUs waiting for
 * each other, the bytes of all jumps and tables written. Measured behind each update, with
 * what that one had: the same CPUs, the same mapping.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/nmi.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "plugsched.h"

/* All are of the last update; the module's files are read when it is over. */
static unsigned long empty_ns, gather_ns, meet_ns, write_ns, write_bytes, compare_ns, redirects;
module_param(empty_ns, ulong, 0400);
MODULE_PARM_DESC(empty_ns, "a stop in which nothing is done");
module_param(gather_ns, ulong, 0400);
MODULE_PARM_DESC(gather_ns, "of it, until all CPUs had come");
module_param(meet_ns, ulong, 0400);
MODULE_PARM_DESC(meet_ns, "all CPUs waiting for each other, as often as in an update");
module_param(write_ns, ulong, 0400);
MODULE_PARM_DESC(write_ns, "writing all jumps and tables once");
module_param(write_bytes, ulong, 0400);
MODULE_PARM_DESC(write_bytes, "how many bytes these are");

module_param(compare_ns, ulong, 0400);
MODULE_PARM_DESC(compare_ns, "comparing all jumps' places with what should be there");
module_param(redirects, ulong, 0400);
MODULE_PARM_DESC(redirects, "how many functions are redirected");

/* Around each step one, and two in each phase of writing (stopped.c). */
#define MEETINGS	(3 + 2 * plugsched_poke_phases)

struct meeting {
	struct plugsched_job job;
	atomic_t arrived;
	u64 ns;
};

static int nothing(struct plugsched_job *job)
{
	return 0;
}

/* Context: stopped machine. */
static int meet(struct plugsched_job *job)
{
	struct meeting *m = container_of(job, struct meeting, job);
	u64 begun = ktime_get_mono_fast_ns();
	unsigned int i;

	for (i = 1; i <= MEETINGS; i++) {
		if (atomic_inc_return(&m->arrived) == i * job->cpus && i == MEETINGS)
			m->ns = ktime_get_mono_fast_ns() - begun;
		while (atomic_read_acquire(&m->arrived) < i * job->cpus) {
			touch_nmi_watchdog();
			cpu_relax();
		}
	}
	return 0;
}

static const struct plugsched_update *written;

/* Write what is there. Context: stopped machine, one CPU. */
static void write_all(void)
{
	const struct plugsched_module *m = written->to ?: written->from;
	u64 begun = ktime_get_mono_fast_ns();
	unsigned long i, bytes = 0;
	bool compared;

	for (i = 0; i < written->nr_writes; i++) {
		const struct plugsched_write *w = &written->writes[i];

		/* Of constant sizes: one instruction each. */
		memcpy(w->alias, w->site, 4);
		if (plugsched_jump_size > 4)
			w->alias[4] = w->site[4];
		bytes += plugsched_jump_size;
	}
	for (i = 0; i < *m->nr_tables; i++) {
		const struct plugsched_table *t = &m->tables[i];

		if (t->alias)
			memcpy(t->alias, t->old, t->size);
		bytes += t->size;
	}
	write_ns = ktime_get_mono_fast_ns() - begun;
	write_bytes = bytes;
	/* The update is over: what is there now is what it has written. */
	for (i = 0; i < written->nr_writes; i++)
		memcpy(written->writes[i].was, written->writes[i].is, PLUGSCHED_JUMP_MAX);
	begun = ktime_get_mono_fast_ns();
	compared = plugsched_arch_unchanged(written->writes, written->nr_writes);
	compare_ns = compared ? ktime_get_mono_fast_ns() - begun : 0;
}

/* A floor that could not be measured is 0. */
void plugsched_bench_floor(const struct plugsched_update *u)
{
	struct plugsched_job empty = { .run = nothing };
	struct meeting m = { .job.run = meet };

	empty_ns = 0;
	gather_ns = 0;
	meet_ns = 0;
	write_ns = 0;
	write_bytes = 0;
	compare_ns = 0;
	if (!plugsched_stop_patiently(&empty)) {
		empty_ns = empty.ended - empty.begun;
		gather_ns = empty.gathered - empty.begun;
	}
	if (!plugsched_stop_patiently(&m.job))
		meet_ns = m.ns;
	written = u;
	redirects = *(u->to ?: u->from)->nr_redirects;
	plugsched_stop_others(write_all);
}
