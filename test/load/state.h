// SPDX-License-Identifier: BSD-3-Clause
/*
 * Layout of the state file that schedload shares with its readers.
 *
 * The file is one struct header followed by nslots struct slot, in native byte
 * order and mapped shared by every worker. Readers may map it read-only at any
 * time: counters are stored atomically, and nothing moves after start-up.
 * Times are CLOCK_MONOTONIC nanoseconds. A change of any offset changes
 * STATE_VERSION.
 */
#ifndef SCHEDLOAD_STATE_H
#define SCHEDLOAD_STATE_H

#include <stddef.h>
#include <stdint.h>

#define STATE_MAGIC	"SCHDLOAD"
#define STATE_VERSION	1
#define MAX_QUOTAS	8
#define MAX_KINDS	32

enum phase {
	PHASE_STARTING,
	PHASE_RUNNING,		/* every worker has progressed once */
	PHASE_STOPPING,
	PHASE_STOPPED,		/* no worker and no cgroup is left */
	PHASE_FAILED,		/* start-up failed, see header.message */
};

struct quota {
	uint32_t percent;	/* of one CPU */
	uint32_t hogs;
	uint64_t quota_us;	/* as written to cpu.max */
	uint64_t period_us;
	char name[40];		/* directory below header.cgroup */
};

struct header {
	char magic[8];
	uint32_t version;
	uint32_t header_size;
	uint32_t slot_size;
	uint32_t nslots;
	uint32_t phase;
	int32_t supervisor;		/* pid, leader of the load's session */
	uint64_t supervisor_start;	/* field 22 of /proc/PID/stat */
	uint64_t start_ns;
	uint64_t ready_ns;
	uint32_t nquotas;
	uint32_t deaths;		/* worker processes that ended by themselves */
	int32_t offlined_cpu;		/* taken down by the hotplug worker, or -1 */
	uint32_t nkinds;
	char cgroup[120];		/* the load's own cgroup, "" without one */
	struct quota quotas[MAX_QUOTAS];
	char kinds[MAX_KINDS][16];	/* names, indexed by slot.kind */
	char spec[1024];		/* normalised: names every kind */
	char message[256];
	uint8_t reserved[1600];
};

enum slot_flags {
	SLOT_DEAD = 1,		/* its process ended; see exit_status */
	SLOT_WAKE_FUTEX = 2,	/* sleeps until FUTEX_WAKE on wake_seq */
	SLOT_WAKE_SIGNAL = 4,	/* sleeps until SIGUSR1 to tid */
};

struct slot {
	uint32_t kind;
	uint32_t id;			/* unique within the kind */
	int32_t pid;
	int32_t tid;
	uint64_t counter;		/* progress made since start */
	uint64_t last_progress_ns;
	uint32_t errors;
	int32_t last_errno;
	uint64_t max_latency_ns;	/* since start */
	uint64_t window_latency_ns;	/* since the last check began */
	uint64_t missed;		/* periods skipped because a wake-up was late */
	uint64_t wake_sent_ns;		/* when check last woke this one */
	uint32_t wake_seq;		/* incremented by check at each wake-up */
	uint32_t flags;
	uint32_t role;			/* which part of its unit: 0 leads */
	uint32_t exit_status;		/* of wait(2), valid with SLOT_DEAD */
	char op[24];			/* what last failed */
	char variant[16];
};

_Static_assert(offsetof(struct header, cgroup) == 72, "layout");
_Static_assert(offsetof(struct header, quotas) == 192, "layout");
_Static_assert(offsetof(struct header, kinds) == 704, "layout");
_Static_assert(offsetof(struct header, spec) == 1216, "layout");
_Static_assert(offsetof(struct header, message) == 2240, "layout");
_Static_assert(sizeof(struct header) == 4096, "layout");
_Static_assert(offsetof(struct slot, wake_sent_ns) == 64, "layout");
_Static_assert(offsetof(struct slot, op) == 88, "layout");
_Static_assert(sizeof(struct slot) == 128, "layout");

#endif
