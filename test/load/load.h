// SPDX-License-Identifier: BSD-3-Clause
#ifndef SCHEDLOAD_LOAD_H
#define SCHEDLOAD_LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "state.h"

#define NSEC_PER_MSEC	1000000ull
#define NSEC_PER_SEC	1000000000ull
#define STACK_SIZE	(64 * 1024)
#define MAX_SLOTS	8192
#define SLEEPERS_PER_UNIT 64
#define UNIT_FDS	16

enum exit_code {
	EXIT_OK,
	EXIT_FAILED,	/* the load does not do what it should */
	EXIT_USAGE,
	EXIT_NO_LOAD,
	EXIT_UNCLEAR,	/* too little happened to judge: ask again */
};

enum kind_id {
	K_PING_PIPE, K_PING_FUTEX, K_PING_EVENTFD,
	K_QUOTA, K_HOG, K_FIFO, K_RR, K_DEADLINE,
	K_FORK, K_CLONE, K_EXEC,
	K_SLEEPER, K_LONG,
	K_YIELD, K_PI, K_AFFINITY, K_POLICY,
	K_MOVER, K_CGCHURN, K_CPUSET, K_FREEZER,
	K_MEMBARRIER, K_TIMER, K_FAULT, K_JOBCTL,
	K_RTHOG, K_HOTPLUG, K_CGROUPS, K_SESSIONS,
	NKINDS,
};

/* Words that the parts of a unit share, also across processes. */
struct shared {
	uint32_t turn;
	uint32_t pad[15];
};

/* Workers that belong together: a pair, a chain, a process of sleepers. */
struct unit {
	const struct kind *kind;
	unsigned int index;
	unsigned int first_id;
	unsigned int nslots;
	unsigned int period_ms;
	unsigned int percent;	/* quota only */
	unsigned int members;	/* cgroups and sessions only */
	bool procs;		/* one process per slot rather than threads */
	struct slot *slots;
	struct shared *shared;
	int fds[UNIT_FDS];
};

struct worker {
	struct unit *unit;
	struct slot *slot;
	unsigned int id;
	unsigned int role;
	bool no_latency;	/* is stopped or frozen on purpose */
	uint64_t rng;
};

enum layout {
	THREADS,	/* a unit is one process */
	PROCS,		/* every slot is a process */
	MIXED,		/* even units threads, odd units processes */
};

struct kind {
	const char *name;
	const char *what;
	unsigned int count;	/* units in the default load */
	unsigned int period_ms;
	unsigned int slots;	/* per unit; 0: see spec.c */
	enum layout layout;
	bool cgroup;		/* needs the cgroup2 cpu controller */
	/* Runs in the supervisor before the unit's processes exist. */
	int (*setup)(struct unit *u);
	void (*run)(struct worker *w);
};

struct spec {
	unsigned int count[NKINDS];
	unsigned int period_ms[NKINDS];
	unsigned int nquotas;
	struct { unsigned int percent, hogs; } quotas[MAX_QUOTAS];
};

extern const struct kind kinds[NKINDS];

/* The mapped state file of this process. */
extern struct header *hdr;
extern struct slot *slots;

/* util.c */
uint64_t now_ns(void);
uint64_t cputime_ns(void);
void sleep_ns(uint64_t ns);
void burn_us(unsigned int us);
void spin(void);
void die(int code, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
int write_file(const char *path, const char *text);
ssize_t read_file(const char *path, char *buf, size_t size);
long total_threads(void);
const char *errno_name(int err);
void json_string(FILE *f, const char *s);

/* worker.c */
void progress(struct worker *w);
void fail(struct worker *w, const char *op, int err);
void must(struct worker *w, const char *op, int err);
void note_latency(struct worker *w, uint64_t ns);
void set_variant(struct worker *w, const char *name);
uint64_t worker_rand(struct worker *w, uint64_t below);
pid_t wait_tid(const struct slot *s);
void duty(struct worker *w, unsigned int work_us, unsigned int period_ms) __attribute__((noreturn));
bool reap(struct worker *w, pid_t pid, const char *op);

struct tick {
	uint64_t next;
	uint64_t period;
};

void tick_start(struct worker *w, struct tick *t, unsigned int period_ms);
void tick_wait(struct worker *w, struct tick *t);

/* sched.c */
int set_policy(pid_t tid, int policy, int nice, unsigned int rtprio);
int set_deadline(pid_t tid, uint64_t runtime, uint64_t deadline, uint64_t period);
int futex_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns);
int futex_wake(uint32_t *word, int n);

/* state.c */
void state_create(const char *path, unsigned int nslots);
void state_open(const char *path, bool must_live);
bool supervisor_alive(void);
int proc_stat(pid_t pid, pid_t tid, char *state, pid_t *session, uint64_t *start);
unsigned int session_members(pid_t sid, pid_t except, int sig, char *names, size_t size);

/* cgroup.c */
int cg_open_root(const char *root, const char *state, bool cpuset);
int cg_make(const char *name);
int cg_write(const char *name, const char *file, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int cg_read(const char *name, const char *file, char *buf, size_t size);
int cg_read_key(const char *name, const char *file, const char *key, uint64_t *val);
int cg_remove(const char *name);
int cg_remove_all(void);
int online_all_cpus(void);
bool cpu_online(unsigned int cpu);

/* spec.c */
void spec_parse(struct spec *sp, const char *text);
void spec_format(const struct spec *sp, char *buf, size_t size);
unsigned int spec_units(const struct spec *sp, struct unit *units, unsigned int max, unsigned int *nslots);
void spec_list(void);

/* supervise.c, check.c, quota.c */
int cmd_start(const char *state, const char *spec, const char *cgroot, unsigned int timeout);
int cmd_stop(const char *state);
int cmd_check(const char *state, unsigned int seconds, bool soon, bool json);
int cmd_quota(const char *state, unsigned int seconds, bool json);

/* Bodies of the kinds: wake.c, policy.c, procs.c, groups.c */
int setup_pipes(struct unit *u);
int setup_eventfds(struct unit *u);
int setup_sleepers(struct unit *u);
int setup_quota(struct unit *u);
int setup_mover(struct unit *u);
int setup_cpuset(struct unit *u);
int setup_freezer(struct unit *u);
int setup_cgroups(struct unit *u);
void run_ping_pipe(struct worker *w);
void run_ping_futex(struct worker *w);
void run_ping_eventfd(struct worker *w);
void run_sleeper(struct worker *w);
void run_long(struct worker *w);
void run_timer(struct worker *w);
void run_quota(struct worker *w);
void run_hog(struct worker *w);
void run_rt(struct worker *w);
void run_deadline(struct worker *w);
void run_yield(struct worker *w);
void run_pi(struct worker *w);
void run_affinity(struct worker *w);
void run_policy(struct worker *w);
void run_rthog(struct worker *w);
void run_fork(struct worker *w);
void run_clone(struct worker *w);
void run_exec(struct worker *w);
void run_membarrier(struct worker *w);
void run_fault(struct worker *w);
void run_jobctl(struct worker *w);
void run_mover(struct worker *w);
void run_cgchurn(struct worker *w);
void run_cpuset(struct worker *w);
void run_freezer(struct worker *w);
void run_hotplug(struct worker *w);
void run_cgroups(struct worker *w);
void run_sessions(struct worker *w);

#endif
