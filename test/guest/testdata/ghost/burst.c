// SPDX-License-Identifier: BSD-3-Clause
/*
 * burst FILE CPU: requests come in bursts, each a process of its own on one CPU: LONGS that
 * compute for long, and behind them SHORTS that do not. Says for every short one how many units of
 * work long ones did until it was done: how long it waited. Then how many units all long ones of a
 * burst have.
 */
#include "work.h"

enum { BURSTS = 6, LONGS = 6, SHORTS = 6, LONG = 5000, SHORT = 5 };

static struct burst {
	int longs, shorts;	/* futexes: 1 when they come */
	int done;
	unsigned int work[LONGS];	/* units, each by one task */
	unsigned int waited[SHORTS];
} *bursts;

static unsigned int work_of(struct burst *b)
{
	unsigned int sum = 0;

	for (int i = 0; i < LONGS; i++)
		sum += __atomic_load_n(&b->work[i], __ATOMIC_SEQ_CST);
	return sum;
}

static void request(struct burst *b, int i)
{
	if (i < LONGS) {
		sleep_while(&b->longs, 0);
		while (b->work[i] < LONG) {
			unit();
			__atomic_add_fetch(&b->work[i], 1, __ATOMIC_SEQ_CST);
		}
	} else {
		sleep_while(&b->shorts, 0);
		for (int n = 0; n < SHORT; n++)
			unit();
		b->waited[i - LONGS] = work_of(b);
	}
	__atomic_add_fetch(&b->done, 1, __ATOMIC_SEQ_CST);
	exit(0);
}

int main(int argc, char **argv)
{
	int pids[BURSTS * (LONGS + SHORTS)], n = 0;

	if (argc != 3)
		return 2;
	signal(SIGCHLD, SIG_IGN);
	bursts = shared(BURSTS * sizeof(*bursts));
	for (int b = 0; b < BURSTS; b++)
		for (int i = 0; i < LONGS + SHORTS; i++) {
			pids[n] = child(1UL << atoi(argv[2]));
			if (!pids[n++])
				request(&bursts[b], i);
		}
	for (int i = 0; i < n; i++)
		while (!sleeps_of(pids[i]))
			nap(1000);
	when_told(pids, n, argv[1]);
	for (struct burst *b = bursts; b < bursts + BURSTS; b++) {
		set_and_wake(&b->longs, 1);
		set_and_wake(&b->shorts, 1);
		while (__atomic_load_n(&b->done, __ATOMIC_SEQ_CST) < LONGS + SHORTS)
			nap(10000);
		for (int i = 0; i < SHORTS; i++)
			printf("waited %u\n", b->waited[i]);
	}
	printf("of %d\n", LONGS * LONG);
	return 0;
}
