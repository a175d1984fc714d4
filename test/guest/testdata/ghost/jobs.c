// SPDX-License-Identifier: BSD-3-Clause
/*
 * jobs FILE UNITS: three processes on CPU 1 that get a job again and again, each to be done before
 * the next comes, and a fourth that uses what is left. They use 80 % of the CPU. The time is the
 * CPU's work: all units that were done on it. Says for each process how many jobs it did, how many
 * of them too late, and how much of the time that a job had was used at most, in percent; what else
 * is said is how many jobs could not be judged, because whoever gives them had no CPU.
 */
#include "work.h"

static const struct kind {
	unsigned long period, work;	/* in a hundredth of what the longest has */
} kinds[] = { { 10, 3 }, { 15, 3 }, { 100, 30 } };

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), SCALE = 1000, YIELDS = 300 };

static struct task {
	int job;		/* futex: its number, 0 before the first */
	int done;		/* the last that is done */
	unsigned long units;
	unsigned long given, next, finished;
	unsigned long jobs, late, worst, lost;
} *tasks;

static unsigned long now(void)
{
	unsigned long sum = 0;

	for (int i = 0; i <= KINDS; i++)
		sum += __atomic_load_n(&tasks[i].units, __ATOMIC_SEQ_CST);
	return sum;
}

static void work(struct task *t, unsigned long units)
{
	while (units--) {
		unit();
		__atomic_add_fetch(&t->units, 1, __ATOMIC_SEQ_CST);
	}
}

static void run(int i)
{
	struct task *t = &tasks[i];

	for (int job = 0;; job++) {
		sleep_while(&t->job, job);
		if (i == KINDS)
			for (;;) {	/* who comes first is not kept from the CPU, whatever the policy */
				work(t, YIELDS);
				sched_yield();
			}
		work(t, kinds[i].work * SCALE);
		t->finished = now();
		__atomic_store_n(&t->done, job + 1, __ATOMIC_SEQ_CST);
	}
}

static void judge(struct task *t, const struct kind *k, unsigned long finished)
{
	unsigned long used = (finished - t->given) * 100 / (k->period * SCALE);

	t->jobs++;
	t->late += used > 100;
	if (used > t->worst)
		t->worst = used;
}

static void give(struct task *t, const struct kind *k)
{
	t->given = now();
	t->next = t->given + k->period * SCALE;
	set_and_wake(&t->job, t->job + 1);
	/* Not woken when it was given: the host had other things to do. */
	if (now() - t->given > k->period * SCALE / 10) {
		t->lost++;
		t->given = now();
	}
}

int main(int argc, char **argv)
{
	unsigned long end;
	int pids[KINDS + 1];

	if (argc != 3)
		return 2;
	end = strtoul(argv[2], NULL, 10);
	signal(SIGCHLD, SIG_IGN);
	tasks = shared((KINDS + 1) * sizeof(*tasks));
	for (int i = 0; i <= KINDS; i++) {
		pids[i] = child(1 << 1);
		if (!pids[i])
			run(i);
	}
	for (int i = 0; i <= KINDS; i++)
		while (!sleeps_of(pids[i]))
			nap(1000);
	when_told(pids, KINDS + 1, argv[1]);
	set_and_wake(&tasks[KINDS].job, 1);
	while (now() < end) {
		for (int i = 0; i < KINDS; i++) {
			struct task *t = &tasks[i];

			if (t->job != __atomic_load_n(&t->done, __ATOMIC_SEQ_CST))
				continue;
			if (now() < t->next)
				continue;
			if (t->job)
				judge(t, &kinds[i], t->finished);
			give(t, &kinds[i]);
		}
		nap(200);
	}
	for (int i = 0; i < KINDS; i++) {
		if (tasks[i].job != tasks[i].done && now() > tasks[i].next)	/* not done even now */
			judge(&tasks[i], &kinds[i], now());
		printf("jobs %lu late %lu worst %lu lost %lu\n", tasks[i].jobs, tasks[i].late,
		       tasks[i].worst, tasks[i].lost);
	}
	for (int i = 0; i <= KINDS; i++)
		kill(pids[i], SIGKILL);
	return 0;
}
