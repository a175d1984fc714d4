// SPDX-License-Identifier: BSD-3-Clause
/* Workers that change cgroups, and the one that takes CPUs down. */
#include "load.h"

#include <sched.h>

#define PERIOD_US 100000

/*
 * Above the default of 100, so that on a busy guest the limit and not the
 * competition decides what the hogs get.
 */
#define QUOTA_WEIGHT 500

static int make_unit_cg(struct unit *u, const char *suffix)
{
	char name[40];

	snprintf(name, sizeof(name), "%s%u%s", u->kind->name, u->index, suffix);
	return cg_make(name);
}

int setup_quota(struct unit *u)
{
	struct quota *q = &hdr->quotas[u->index];
	int err = make_unit_cg(u, "");

	snprintf(q->name, sizeof(q->name), "%s%u", u->kind->name, u->index);
	q->percent = u->percent;
	q->hogs = u->nslots;
	q->period_us = PERIOD_US;
	q->quota_us = (uint64_t)u->percent * PERIOD_US / 100;
	hdr->nquotas = u->index + 1;
	if (!err)
		err = cg_write(q->name, "cpu.weight", "%d", QUOTA_WEIGHT);
	/* The load's own cgroup, which competes with everything outside. */
	if (!err)
		err = cg_write("", "cpu.weight", "%d", QUOTA_WEIGHT);
	if (err)
		return err;
	return cg_write(q->name, "cpu.max", "%llu %llu", (unsigned long long)q->quota_us,
			(unsigned long long)q->period_us);
}

int setup_mover(struct unit *u)
{
	char name[40];
	int err = make_unit_cg(u, "a");

	if (!err)
		err = make_unit_cg(u, "b");
	if (err)
		return err;
	snprintf(name, sizeof(name), "%s%ub", u->kind->name, u->index);
	return cg_write(name, "cpu.weight", "200");
}

void run_mover(struct worker *w)
{
	struct slot *victim = &w->unit->slots[1];
	struct tick t;
	char name[40];

	if (w->role == 1) {
		set_variant(w, "victim");
		duty(w, 1000, 40);
	}
	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		tick_wait(w, &t);
		snprintf(name, sizeof(name), "%s%u%c", w->unit->kind->name, w->unit->index, "ab"[n % 2]);
		must(w, "cgroup.procs", cg_write(name, "cgroup.procs", "%d", wait_tid(victim)));
		progress(w);
	}
}

/* Every other cgroup has a quota, and dies throttled or about to be. */
void run_cgchurn(struct worker *w)
{
	struct tick t;
	char name[40];

	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		pid_t pid;
		int err;

		tick_wait(w, &t);
		snprintf(name, sizeof(name), "%s%u-%u", w->unit->kind->name, w->unit->index, n % 4);
		err = cg_make(name);
		if (err) {
			fail(w, "mkdir cgroup", -err);
			cg_remove(name);
			continue;
		}
		if (n % 2)
			must(w, "cpu.max", cg_write(name, "cpu.max", "2000 20000"));
		pid = fork();
		if (pid == 0) {
			err = cg_write(name, "cgroup.procs", "0");
			burn_us(5000);
			_exit(-err);
		}
		if (pid < 0 && errno != EAGAIN)
			fail(w, "fork", errno);
		if (pid > 0)
			reap(w, pid, "cgroup child");
		err = cg_remove(name);
		must(w, "rmdir cgroup", err);
		if (!err)
			progress(w);
	}
}

int setup_cpuset(struct unit *u)
{
	return make_unit_cg(u, "");
}

void run_cpuset(struct worker *w)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct tick t;
	char name[40];

	snprintf(name, sizeof(name), "%s%u", w->unit->kind->name, w->unit->index);
	if (w->role) {
		set_variant(w, "victim");
		if (w->role == 1 || w->unit->procs)
			must(w, "cgroup.procs", cg_write(name, "cgroup.procs", "0"));
		duty(w, 1000, 40);
	}
	tick_start(w, &t, w->unit->period_ms);
	for (long n = 0;; n++) {
		long first = n % cpus, last = first + n % 3;

		tick_wait(w, &t);
		if (last >= cpus)
			last = cpus - 1;
		must(w, "cpuset.cpus", cg_write(name, "cpuset.cpus", "%ld-%ld", first, last));
		progress(w);
	}
}

int setup_freezer(struct unit *u)
{
	return make_unit_cg(u, "");
}

static bool wait_frozen(const char *name)
{
	uint64_t frozen = 0;

	for (int tries = 0; tries < 500; tries++) {
		if (!cg_read_key(name, "cgroup.events", "frozen", &frozen) && frozen)
			return true;
		sleep_ns(10 * NSEC_PER_MSEC);
	}
	return false;
}

/* Role 0 freezes; the others are one that mostly sleeps and one that works. */
void run_freezer(struct worker *w)
{
	struct tick t;
	char name[40];

	snprintf(name, sizeof(name), "%s%u", w->unit->kind->name, w->unit->index);
	if (w->role) {
		set_variant(w, "victim");
		w->no_latency = true;
		must(w, "cgroup.procs", cg_write(name, "cgroup.procs", "0"));
		duty(w, w->role == 1 ? 100 : 1500, w->role == 1 ? 50 : 40);
	}
	tick_start(w, &t, w->unit->period_ms);
	for (;;) {
		bool frozen;

		tick_wait(w, &t);
		must(w, "cgroup.freeze", cg_write(name, "cgroup.freeze", "1"));
		frozen = wait_frozen(name);
		if (frozen)
			sleep_ns(w->unit->period_ms * NSEC_PER_MSEC / 4);
		must(w, "cgroup.freeze", cg_write(name, "cgroup.freeze", "0"));
		if (!frozen)
			fail(w, "not frozen", ETIMEDOUT);
		progress(w);
	}
}

static void member_name(const struct unit *u, unsigned int n, char *buf, size_t size)
{
	snprintf(buf, size, "%s%u", u->kind->name, n);
}

int setup_cgroups(struct unit *u)
{
	char name[40];
	int err = 0;

	for (unsigned int i = 0; !err && i < u->members; i++) {
		member_name(u, i, name, sizeof(name));
		err = cg_make(name);
		if (!err && i % 10 == 0)
			err = cg_write(name, "cpu.max", "20000 100000");
	}
	return err;
}

void run_cgroups(struct worker *w)
{
	struct tick t;
	char name[40];

	tick_start(w, &t, w->unit->period_ms);
	for (unsigned int n = 0;; n++) {
		tick_wait(w, &t);
		member_name(w->unit, n % w->unit->members, name, sizeof(name));
		must(w, "cgroup.procs", cg_write(name, "cgroup.procs", "0"));
		progress(w);
	}
}

/*
 * CPU 0 stays up. EBUSY is an answer, not an error: the deadline tasks may
 * need the CPU's bandwidth, or hotplug is disabled for the moment.
 */
static bool set_cpu(struct worker *w, unsigned int cpu, bool up)
{
	char path[64];
	int err = 0;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	for (int tries = 0; tries < 100; tries++) {
		err = write_file(path, up ? "1" : "0");
		if (err != -EBUSY || !up)
			break;
		sleep_ns(20 * NSEC_PER_MSEC);
	}
	if (err && !(err == -EBUSY && !up))
		fail(w, up ? "cpu up" : "cpu down", -err);
	return !err;
}

void run_hotplug(struct worker *w)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct tick t;

	if (cpus < 2)
		fail(w, "one cpu only", EINVAL);
	tick_start(w, &t, w->unit->period_ms);
	for (long n = 0; cpus > 1; n++) {
		unsigned int cpu = 1 + (unsigned int)(n % (cpus - 1));

		tick_wait(w, &t);
		hdr->offlined_cpu = (int32_t)cpu;
		if (set_cpu(w, cpu, false)) {
			sleep_ns(w->unit->period_ms * NSEC_PER_MSEC / 4);
			if (!set_cpu(w, cpu, true))
				continue;
		} else {
			w->slot->missed++;
		}
		hdr->offlined_cpu = -1;
		progress(w);
	}
}
