// SPDX-License-Identifier: BSD-3-Clause
/*
 * barrier FILE ROUNDS: three processes on CPUs 1 to 3 that meet again and again: when all sleep,
 * all are woken, and nobody of lower priority runs on the waker's CPU before all are. The last time
 * they end.
 */
#include "work.h"
#include <sys/wait.h>

enum { TASKS = 3 };

static struct {
	int round;		/* futex */
	int done;
} *meeting;

static void run(int rounds)
{
	for (int round = 0; round < rounds; round++) {
		sleep_while(&meeting->round, round);
		unit();
		__atomic_add_fetch(&meeting->done, 1, __ATOMIC_SEQ_CST);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	long slept[TASKS];
	int pids[TASKS], rounds;

	if (argc != 3)
		return 2;
	rounds = atoi(argv[2]);
	signal(SIGCHLD, SIG_IGN);
	meeting = shared(sizeof(*meeting));
	for (int i = 0; i < TASKS; i++) {
		pids[i] = child(7 << 1);
		if (!pids[i])
			run(rounds);
	}
	for (int i = 0; i < TASKS; i++)
		while (!sleeps_of(pids[i]))
			nap(1000);
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ 50 }))
		die("SCHED_FIFO");
	when_told(pids, TASKS, argv[1]);
	for (int round = 1; round <= rounds; round++) {
		for (int i = 0; i < TASKS; i++)
			slept[i] = sleeps_of(pids[i]);
		set_and_wake(&meeting->round, round);
		while (__atomic_load_n(&meeting->done, __ATOMIC_SEQ_CST) < round * TASKS)
			nap(1000);
		for (int i = 0; i < TASKS; i++)	/* it sleeps, and has not only begun to */
			while (round < rounds && sleeps_of(pids[i]) == slept[i])
				nap(1000);
	}
	while (wait(NULL) > 0)	/* all are gone: there is none */
		;
	printf("rounds %d\n", rounds);
	return 0;
}
