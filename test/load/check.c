// SPDX-License-Identifier: BSD-3-Clause
/* Does every worker progress? */
#include "load.h"

#include <signal.h>
#include <sys/syscall.h>

#define SHOW_STALLED 20

struct sample {
	uint64_t *counter;
	uint64_t when;
};

struct summary {
	unsigned int workers, stalled;
	uint64_t min, median, max, missed, errors, latency, window;
};

static struct sample take_sample(void)
{
	struct sample s = { .counter = calloc(hdr->nslots, sizeof(uint64_t)) };

	if (!s.counter)
		die(EXIT_FAILED, "out of memory");
	s.when = now_ns();
	for (unsigned int i = 0; i < hdr->nslots; i++)
		s.counter[i] = __atomic_load_n(&slots[i].counter, __ATOMIC_ACQUIRE);
	return s;
}

static void open_window(void)
{
	for (unsigned int i = 0; i < hdr->nslots; i++)
		__atomic_store_n(&slots[i].window_latency_ns, 0, __ATOMIC_RELAXED);
}

/* Sent once: a long sleeper that misses its wake-up must show. */
static void wake_long_sleepers(void)
{
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		struct slot *s = &slots[i];
		uint32_t flags = __atomic_load_n(&s->flags, __ATOMIC_ACQUIRE);

		if (!(flags & (SLOT_WAKE_FUTEX | SLOT_WAKE_SIGNAL)) || (flags & SLOT_DEAD))
			continue;
		s->wake_sent_ns = now_ns();
		__atomic_fetch_add(&s->wake_seq, 1, __ATOMIC_RELEASE);
		if (flags & SLOT_WAKE_FUTEX)
			futex_wake(&s->wake_seq, 1);
		else
			syscall(SYS_tgkill, s->pid, s->tid, SIGUSR1);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void summarise(struct summary *sum, uint32_t kind, const uint64_t *delta)
{
	uint64_t *v = calloc(hdr->nslots, sizeof(*v));

	if (!v)
		die(EXIT_FAILED, "out of memory");
	memset(sum, 0, sizeof(*sum));
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		const struct slot *s = &slots[i];

		if (s->kind != kind)
			continue;
		v[sum->workers++] = delta[i];
		sum->stalled += delta[i] == 0;
		sum->errors += s->errors;
		sum->missed += s->missed;
		if (s->max_latency_ns > sum->latency)
			sum->latency = s->max_latency_ns;
		if (s->window_latency_ns > sum->window)
			sum->window = s->window_latency_ns;
	}
	qsort(v, sum->workers, sizeof(*v), compare);
	if (sum->workers) {
		sum->min = v[0];
		sum->median = v[sum->workers / 2];
		sum->max = v[sum->workers - 1];
	}
	free(v);
}

/* What the kernel says about a thread; "" where it does not let us read. */
struct where {
	char state[2], wchan[64], stack[2048], sched[512];
};

/* /proc/PID/sched is long: keep the lines about switches, policy and priority. */
static void pick_sched(char *out, size_t size, char *text)
{
	static const char *const keys[] = { "nr_switches", "policy", "prio", "se.vruntime" };
	char *save, *line;
	size_t len = 0;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
			char *val = strchr(line, ':');
			size_t n = strlen(keys[i]);

			if (strncmp(line, keys[i], n) || !val || (line[n] != ' ' && line[n] != ':'))
				continue;
			val += 1 + strspn(val + 1, " ");
			if (len < size)
				len += (size_t)snprintf(out + len, size - len, "%s%s=%s",
							len ? " " : "", keys[i], val);
		}
	}
}

static void look_at(const struct slot *s, struct where *w)
{
	static char text[8192];
	char path[80];

	memset(w, 0, sizeof(*w));
	if (proc_stat(s->pid, s->tid, w->state, NULL, NULL))
		return;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/wchan", s->pid, s->tid);
	if (read_file(path, w->wchan, sizeof(w->wchan)) < 0)
		w->wchan[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", s->pid, s->tid);
	if (read_file(path, w->stack, sizeof(w->stack)) < 0)
		w->stack[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/task/%d/sched", s->pid, s->tid);
	if (read_file(path, text, sizeof(text)) > 0)
		pick_sched(w->sched, sizeof(w->sched), text);
}

static void print_stalled(const struct slot *s)
{
	double ago = (double)(now_ns() - s->last_progress_ns) / 1e9;
	char *save, *line;
	struct where w;

	printf("NO PROGRESS %s/%u (%s) pid %d tid %d: count %llu, last %.1f s ago", hdr->kinds[s->kind],
	       s->id, s->variant, s->pid, s->tid, (unsigned long long)s->counter, ago);
	if (s->flags & SLOT_DEAD) {
		printf(", DEAD, wait status 0x%x\n", s->exit_status);
		return;
	}
	look_at(s, &w);
	printf(", state %s, wchan %s\n", *w.state ? w.state : "?", *w.wchan ? w.wchan : "?");
	if (*w.sched)
		printf("    %s\n", w.sched);
	for (line = strtok_r(w.stack, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("    %s\n", line);
}

static void print_text(const uint64_t *delta, double seconds, unsigned int stalled, unsigned int failed)
{
	unsigned int shown = 0;
	struct summary s;

	printf("%-13s %7s %9s %9s %9s %7s %7s %8s %11s %11s\n", "kind", "workers", "min", "median", "max",
	       "stalled", "errors", "missed", "latency ms", "since start");
	for (uint32_t k = 0; k < hdr->nkinds; k++) {
		summarise(&s, k, delta);
		if (!s.workers)
			continue;
		printf("%-13s %7u %9llu %9llu %9llu %7u %7llu %8llu %11.1f %11.1f\n", hdr->kinds[k], s.workers,
		       (unsigned long long)s.min, (unsigned long long)s.median,
		       (unsigned long long)s.max, s.stalled, (unsigned long long)s.errors,
		       (unsigned long long)s.missed, (double)s.window / 1e6, (double)s.latency / 1e6);
	}
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		if (!delta[i] && shown++ < SHOW_STALLED)
			print_stalled(&slots[i]);
		if (slots[i].errors)
			printf("ERRORS %s/%u (%s) pid %d: %u, last %s: %s\n", hdr->kinds[slots[i].kind],
			       slots[i].id, slots[i].variant, slots[i].pid, slots[i].errors,
			       slots[i].op, strerror(slots[i].last_errno));
	}
	if (shown > SHOW_STALLED)
		printf("... and %u more without progress\n", shown - SHOW_STALLED);
	printf("schedload: %s: %u of %u workers progressed in %.1f s, %u with errors, %u processes died; "
	       "%ld threads in the system\n", stalled || failed || hdr->deaths ? "FAILED" : "ok",
	       hdr->nslots - stalled, hdr->nslots, seconds, failed, hdr->deaths, total_threads());
}

static void json_stack(char *stack)
{
	char *save, *line;
	const char *sep = "";

	printf("[");
	for (line = strtok_r(stack, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		printf("%s", sep);
		json_string(stdout, line);
		sep = ",";
	}
	printf("]");
}

static void json_worker(const struct slot *s)
{
	printf("{\"kind\":\"%s\",\"id\":%u,\"variant\":", hdr->kinds[s->kind], s->id);
	json_string(stdout, s->variant);
	printf(",\"pid\":%d,\"tid\":%d,\"counter\":%llu,\"errors\":%u,\"errno\":\"%s\",\"op\":", s->pid,
	       s->tid, (unsigned long long)s->counter, s->errors,
	       s->errors ? errno_name(s->last_errno) : "");
	json_string(stdout, s->op);
	printf(",\"dead\":%s", s->flags & SLOT_DEAD ? "true" : "false");
}

static void json_stalled(const struct slot *s)
{
	struct where w = { 0 };

	json_worker(s);
	if (!(s->flags & SLOT_DEAD))
		look_at(s, &w);
	printf(",\"last_progress_s\":%.3f,\"state\":\"%s\",\"wchan\":",
	       (double)(now_ns() - s->last_progress_ns) / 1e9, w.state);
	json_string(stdout, w.wchan);
	printf(",\"sched\":");
	json_string(stdout, w.sched);
	printf(",\"stack\":");
	json_stack(w.stack);
	printf("}");
}

static void print_json(const uint64_t *delta, double seconds, unsigned int stalled, unsigned int failed)
{
	const char *sep = "";
	struct summary s;

	printf("{\"ok\":%s,\"supervisor\":%d,\"seconds\":%.3f,\"workers\":%u,\"progressed\":%u,\"failed\":%u,\"deaths\":%u,"
	       "\"threads\":%ld,\"kinds\":[", stalled || failed || hdr->deaths ? "false" : "true",
	       hdr->supervisor, seconds, hdr->nslots, hdr->nslots - stalled, failed, hdr->deaths, total_threads());
	for (uint32_t k = 0; k < hdr->nkinds; k++) {
		summarise(&s, k, delta);
		if (!s.workers)
			continue;
		printf("%s{\"kind\":\"%s\",\"workers\":%u,\"stalled\":%u,\"min\":%llu,\"median\":%llu,"
		       "\"max\":%llu,\"errors\":%llu,\"missed\":%llu,\"latency_ms\":%.3f,"
		       "\"max_latency_ms\":%.3f}", sep, hdr->kinds[k], s.workers, s.stalled,
		       (unsigned long long)s.min, (unsigned long long)s.median,
		       (unsigned long long)s.max, (unsigned long long)s.errors,
		       (unsigned long long)s.missed, (double)s.window / 1e6, (double)s.latency / 1e6);
		sep = ",";
	}
	printf("],\"stalled\":[");
	sep = "";
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		if (delta[i])
			continue;
		printf("%s", sep);
		json_stalled(&slots[i]);
		sep = ",";
	}
	printf("],\"errors\":[");
	sep = "";
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		if (!slots[i].errors)
			continue;
		printf("%s", sep);
		json_worker(&slots[i]);
		printf("}");
		sep = ",";
	}
	printf("]}\n");
}

/*
 * Whether every worker has done something from its beginning to its end since a sample:
 * one count may be of what began before. A long sleeper counts the one time that it is woken.
 */
static bool all_progressed(const struct sample *from)
{
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		const struct slot *s = &slots[i];
		uint64_t n = __atomic_load_n(&s->counter, __ATOMIC_ACQUIRE) - from->counter[i];

		if (n < (s->flags & (SLOT_WAKE_FUTEX | SLOT_WAKE_SIGNAL) ? 1 : 2))
			return false;
	}
	return true;
}

static void watch(const struct sample *from, unsigned int seconds, bool soon)
{
	uint64_t end = from->when + seconds * NSEC_PER_SEC;

	if (!soon) {
		sleep_ns(seconds * NSEC_PER_SEC);
		return;
	}
	while (now_ns() < end && !all_progressed(from))
		sleep_ns(NSEC_PER_SEC / 10);
}

int cmd_check(const char *state, unsigned int seconds, bool soon, bool json)
{
	unsigned int stalled = 0, failed = 0;
	struct sample a, b;
	double took;

	state_open(state, true);
	open_window();
	a = take_sample();
	wake_long_sleepers();
	watch(&a, seconds, soon);
	b = take_sample();
	took = (double)(b.when - a.when) / 1e9;
	for (unsigned int i = 0; i < hdr->nslots; i++) {
		b.counter[i] -= a.counter[i];
		stalled += b.counter[i] == 0;
		failed += slots[i].errors != 0;
	}
	(json ? print_json : print_text)(b.counter, took, stalled, failed);
	free(a.counter);
	free(b.counter);
	return stalled || failed || hdr->deaths ? EXIT_FAILED : EXIT_OK;
}
