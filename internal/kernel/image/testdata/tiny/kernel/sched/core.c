// SPDX-License-Identifier: BSD-3-Clause

#include "sched.h"

#define __used __attribute__((used))
#define alone __attribute__((noipa))

volatile int sink;
static int percpu_count __used __attribute__((section(".data..percpu"))) = 1;

alone int callee(int x)
{
	sink += x;
	return x;
}

alone int other(int x)
{
	static int count;

	return count += x;
}

alone int another(int x)
{
	static int count;

	return count += x * 2;
}

int alias_of_callee(int x) __attribute__((alias("callee")));

alone int caller(int x)
{
	return callee(x) + other(x) + 1;
}

alone int tail(int x)
{
	return other(x + 1);
}

/* gcc folds the two: one calls the other. */
int folded_one(int x)
{
	return callee(x) * 5 + sink;
}

int folded_two(int x)
{
	return callee(x) * 5 + sink;
}

alone void *take_in_code(void)
{
	return callee;
}

alone int range_check(unsigned long addr)
{
	extern char __sched_text_start[], __sched_text_end[];

	return addr >= (unsigned long)__sched_text_start && addr < (unsigned long)__sched_text_end;
}

alone __attribute__((section(".sched.text"))) int sched_first(int x)
{
	return callee(x) - 1;
}

alone int inlines(int x)
{
	return inner(x) + inner(x + 1);
}

alone int with_cold(int x)
{
	if (__builtin_expect(x == 42, 0)) {
		fail();
		sink = 1;
	}
	return x + sink;
}

static int cloned(int x) __asm__("cloned.constprop.0");
static alone __used int cloned(int x)
{
	return callee(x) * 2;
}

alone void enqueue_task(struct rq *rq)
{
	rq->nr++;
}

/* Replaces the weak one in lib.c. */
alone int arch_hook(int x)
{
	return x;
}

int (*chooser(struct rq *rq, int (*def)(int), ...))(int)
{
	return rq->nr ? def : 0;
}

static alone __used int same_name(int x)
{
	return x + sink;
}

const struct sched_class tiny_sched_class = { .enqueue = enqueue_task, .select = callee };
static int (*jump_table[3])(int) __used = { 0, other, caller };

/* What the kernel keeps for itself is no use of the address. */
static void *blacklist __used __attribute__((section("_kprobe_blacklist"))) = (void *)tail;
