// SPDX-License-Identifier: BSD-3-Clause
/*
 * What to run. A spec is a comma-separated list: presets (default, light,
 * storm, none) and KIND=COUNT[/PERIOD_MS]; quota=PERCENT:HOGS[+PERCENT:HOGS...].
 * Later items override earlier ones.
 */
#include "load.h"

const struct kind kinds[NKINDS] = {
	[K_PING_PIPE] = { "ping_pipe", "pairs over pipes, bursts of 8 round trips",
		2, 200, 2, MIXED, false, setup_pipes, run_ping_pipe },
	[K_PING_FUTEX] = { "ping_futex", "pairs over a futex",
		2, 200, 2, MIXED, false, NULL, run_ping_futex },
	[K_PING_EVENTFD] = { "ping_eventfd", "pairs over eventfds",
		2, 200, 2, MIXED, false, setup_eventfds, run_ping_eventfd },
	[K_QUOTA] = { "quota", "hogs in cgroups with cpu.max, PERCENT:HOGS each",
		0, 0, 0, THREADS, true, setup_quota, run_quota },
	[K_HOG] = { "hog", "uncapped hogs: nice 10, batch nice 19, idle",
		2, 0, 1, PROCS, false, NULL, run_hog },
	[K_FIFO] = { "fifo", "SCHED_FIFO tasks, 0.5 ms per period",
		3, 100, 1, PROCS, false, NULL, run_rt },
	[K_RR] = { "rr", "SCHED_RR tasks, 0.5 ms per period",
		2, 100, 1, PROCS, false, NULL, run_rt },
	[K_DEADLINE] = { "deadline", "SCHED_DEADLINE, a tenth of a CPU: sleep, yield, overrun",
		3, 150, 1, PROCS, false, NULL, run_deadline },
	[K_FORK] = { "fork", "fork four, exit, wait; some orphans",
		1, 300, 1, PROCS, false, NULL, run_fork },
	[K_CLONE] = { "clone", "create and join four threads",
		1, 200, 1, PROCS, false, NULL, run_clone },
	[K_EXEC] = { "exec", "vfork and exec, exec from a thread",
		1, 500, 1, PROCS, false, NULL, run_exec },
	[K_SLEEPER] = { "sleeper", "threads in ten kinds of timed sleep",
		608, 1500, 1, THREADS, false, setup_sleepers, run_sleeper },
	[K_LONG] = { "long", "threads asleep until check wakes them",
		42, 0, 1, THREADS, false, NULL, run_long },
	[K_YIELD] = { "yield", "100 sched_yield, then a pause",
		1, 30, 1, PROCS, false, NULL, run_yield },
	[K_PI] = { "pi", "chains of four priority-inheritance mutexes",
		1, 100, 4, THREADS, false, NULL, run_pi },
	[K_AFFINITY] = { "affinity", "sets its own and a victim's affinity round the CPUs",
		1, 100, 2, THREADS, false, NULL, run_affinity },
	[K_POLICY] = { "policy", "sched_setattr storm on itself and a victim",
		1, 80, 2, THREADS, false, NULL, run_policy },
	[K_MOVER] = { "mover", "moves a victim between two cgroups",
		1, 150, 2, PROCS, true, setup_mover, run_mover },
	[K_CGCHURN] = { "cgchurn", "makes a cgroup, with a quota or not, runs a task in it, removes it",
		1, 500, 1, PROCS, true, NULL, run_cgchurn },
	[K_CPUSET] = { "cpuset", "changes cpuset.cpus under two victims",
		1, 300, 3, MIXED, true, setup_cpuset, run_cpuset },
	[K_FREEZER] = { "freezer", "freezes and thaws two victims",
		1, 600, 3, PROCS, true, setup_freezer, run_freezer },
	[K_MEMBARRIER] = { "membarrier", "all membarrier commands beside a running peer",
		1, 200, 2, THREADS, false, NULL, run_membarrier },
	[K_TIMER] = { "timer", "timerfd, ITIMER_REAL, ITIMER_PROF, timer_create",
		4, 200, 1, PROCS, false, NULL, run_timer },
	[K_FAULT] = { "fault", "mmap, page faults, madvise, munmap",
		1, 200, 1, PROCS, false, NULL, run_fault },
	[K_JOBCTL] = { "jobctl", "SIGSTOP and SIGCONT of a victim",
		1, 300, 2, PROCS, false, NULL, run_jobctl },
	[K_RTHOG] = { "rthog", "FIFO for 1.2 s at a time, against RT throttling",
		0, 6000, 1, PROCS, false, NULL, run_rthog },
	[K_HOTPLUG] = { "hotplug", "takes the CPUs but 0 down and up, in turn",
		0, 500, 1, PROCS, false, NULL, run_hotplug },
	[K_CGROUPS] = { "cgroups", "cgroups, every tenth with a quota; one task goes through all",
		0, 20, 1, PROCS, true, setup_cgroups, run_cgroups },
	[K_SESSIONS] = { "sessions", "sleepers with a session, and so an autogroup, of their own",
		0, 200, 1, PROCS, false, NULL, run_sessions },
};

/*
 * Every kind but those that always run, each seldom: a guest whose CPUs have pauses does the
 * rest of what it is asked several times as fast, and leaves the host to others.
 */
static const char light_spec[] =
	"ping_pipe=1/400,ping_futex=1/400,ping_eventfd=1/400,quota=10:1,fifo=1/200,rr=1/200,"
	"deadline=3/300,fork=1/600,clone=1/400,exec=1/1000,sleeper=40,long=7,yield=1/60,"
	"pi=1/200,affinity=1/200,policy=1/160,mover=1/300,cgchurn=1/1000,cpuset=1/600,"
	"freezer=1/1000,membarrier=1/400,timer=4/400,fault=1/400,jobctl=1/600";

static const char storm_spec[] =
	"default,ping_pipe=4/100,ping_futex=4/100,ping_eventfd=4/100,quota=20:4+40:4+70:4,"
	"fork=3/60,clone=2/60,exec=2/120,affinity=2/40,policy=2/20,mover=2/40,cgchurn=2/100,"
	"cpuset=2/80,freezer=2/150,fault=2/60,jobctl=2/60,pi=2/60";

static void preset_default(struct spec *sp)
{
	memset(sp, 0, sizeof(*sp));
	for (int i = 0; i < NKINDS; i++) {
		sp->count[i] = kinds[i].count;
		sp->period_ms[i] = kinds[i].period_ms;
	}
	sp->nquotas = 2;
	sp->quotas[0].percent = 20;
	sp->quotas[0].hogs = 3;
	sp->quotas[1].percent = 40;
	sp->quotas[1].hogs = 3;
}

static void preset_none(struct spec *sp)
{
	preset_default(sp);
	memset(sp->count, 0, sizeof(sp->count));
	sp->nquotas = 0;
}

/* Moves *p over a number not above max. */
static unsigned int number(const char *item, char **p, unsigned int max)
{
	char *start = *p;
	unsigned long n = strtoul(start, p, 10);

	if (*start < '0' || *start > '9' || n > max)
		die(EXIT_USAGE, "spec item '%s': want a number up to %u, not '%s'", item, max, start);
	return (unsigned int)n;
}

static void parse_quotas(struct spec *sp, const char *item, char *p)
{
	sp->nquotas = 0;
	if (!strcmp(p, "0"))
		return;
	for (;; p++) {
		unsigned int i = sp->nquotas++;

		if (i == MAX_QUOTAS)
			die(EXIT_USAGE, "spec item '%s': more than %d groups", item, MAX_QUOTAS);
		sp->quotas[i].percent = number(item, &p, 10000);
		if (*p++ != ':')
			die(EXIT_USAGE, "spec item '%s': want quota=PERCENT:HOGS[+PERCENT:HOGS...]", item);
		sp->quotas[i].hogs = number(item, &p, 64);
		if (!sp->quotas[i].percent || !sp->quotas[i].hogs)
			die(EXIT_USAGE, "spec item '%s': percent and hogs must be above 0", item);
		if (!*p)
			return;
		if (*p != '+')
			die(EXIT_USAGE, "spec item '%s': unexpected '%s'", item, p);
	}
}

static void parse_kind(struct spec *sp, const char *item, const char *name, char *p)
{
	for (int i = 0; i < NKINDS; i++) {
		if (strcmp(kinds[i].name, name))
			continue;
		if (i == K_QUOTA) {
			parse_quotas(sp, item, p);
			return;
		}
		/* One CPU down at a time: what stop must bring back is one number. */
		sp->count[i] = number(item, &p, i == K_HOTPLUG ? 1 : 4000);
		if (*p == '/') {
			p++;
			sp->period_ms[i] = number(item, &p, 60000);
		}
		if (*p)
			die(EXIT_USAGE, "spec item '%s': unexpected '%s'", item, p);
		return;
	}
	die(EXIT_USAGE, "spec item '%s': no such kind (see schedload kinds)", item);
}

void spec_parse(struct spec *sp, const char *text)
{
	char copy[2048], item[256], *save, *p, *val;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		die(EXIT_USAGE, "spec too long");
	preset_none(sp);
	for (p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		snprintf(item, sizeof(item), "%s", p);
		val = strchr(p, '=');
		if (val) {
			*val++ = '\0';
			parse_kind(sp, item, p, val);
		} else if (!strcmp(p, "default")) {
			preset_default(sp);
		} else if (!strcmp(p, "none")) {
			preset_none(sp);
		} else if (!strcmp(p, "light")) {
			spec_parse(sp, light_spec);
		} else if (!strcmp(p, "storm")) {
			spec_parse(sp, storm_spec);
		} else {
			die(EXIT_USAGE, "spec item '%s': want KIND=COUNT[/PERIOD_MS], default, light, "
			    "storm or none", item);
		}
	}
}

void spec_format(const struct spec *sp, char *buf, size_t size)
{
	size_t len = (size_t)snprintf(buf, size, "none");

	for (int i = 0; i < NKINDS && len < size; i++)
		if (i != K_QUOTA && sp->count[i])
			len += (size_t)snprintf(buf + len, size - len, ",%s=%u/%u", kinds[i].name,
						sp->count[i], sp->period_ms[i]);
	for (unsigned int i = 0; i < sp->nquotas && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%u:%u", i ? "+" : ",quota=",
					sp->quotas[i].percent, sp->quotas[i].hogs);
}

void spec_list(void)
{
	printf("%-13s %5s %9s  %s\n", "kind", "count", "period ms", "what one does");
	for (int i = 0; i < NKINDS; i++) {
		if (i == K_QUOTA)
			printf("%-13s %5s %9s  %s\n", kinds[i].name, "2", "-", kinds[i].what);
		else
			printf("%-13s %5u %9u  %s\n", kinds[i].name, kinds[i].count,
			       kinds[i].period_ms, kinds[i].what);
	}
}

static unsigned int add_unit(struct unit *u, unsigned int n, unsigned int max,
			     const struct spec *sp, unsigned int kind,
			     unsigned int index, unsigned int first_id, unsigned int nslots)
{
	const struct kind *k = &kinds[kind];

	if (n == max)
		die(EXIT_USAGE, "spec asks for more than %u units", max);
	u[n] = (struct unit) {
		.kind = k,
		.index = index,
		.first_id = first_id,
		.nslots = nslots,
		.period_ms = sp->period_ms[kind],
		.procs = k->layout == PROCS || (k->layout == MIXED && index % 2),
	};
	memset(u[n].fds, -1, sizeof(u[n].fds));
	return n + 1;
}

/* Turns the spec into units; returns how many, and their slots in *nslots. */
unsigned int spec_units(const struct spec *sp, struct unit *units, unsigned int max, unsigned int *nslots)
{
	unsigned int n = 0, id, left, chunk;

	for (unsigned int k = 0; k < NKINDS; k++) {
		id = 0;
		if (k == K_QUOTA) {
			for (unsigned int i = 0; i < sp->nquotas; i++) {
				n = add_unit(units, n, max, sp, k, i, id, sp->quotas[i].hogs);
				units[n - 1].percent = sp->quotas[i].percent;
				id += sp->quotas[i].hogs;
			}
			continue;
		}
		if ((k == K_CGROUPS || k == K_SESSIONS) && sp->count[k]) {
			n = add_unit(units, n, max, sp, k, 0, id, 1);
			units[n - 1].members = sp->count[k];
			continue;
		}
		for (unsigned int i = 0; i < sp->count[k]; i += chunk) {
			left = sp->count[k] - i;
			chunk = k == K_SLEEPER || k == K_LONG ? SLEEPERS_PER_UNIT : 1;
			chunk = chunk < left ? chunk : left;
			n = add_unit(units, n, max, sp, k, chunk > 1 ? i / chunk : i, id,
				     chunk * kinds[k].slots);
			id += chunk * kinds[k].slots;
		}
	}
	*nslots = 0;
	for (unsigned int i = 0; i < n; i++)
		*nslots += units[i].nslots;
	if (!n)
		die(EXIT_USAGE, "the spec is empty: nothing to run");
	if (*nslots > MAX_SLOTS)
		die(EXIT_USAGE, "spec asks for %u workers, more than %d", *nslots, MAX_SLOTS);
	return n;
}
