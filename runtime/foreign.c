// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks of a scheduling class that the kernel does not have: the kernel would call it
 * when the module is gone. Whoever has such a class was to take them out of it, and own.c
 * did when its scheduler was left; this looks nevertheless.
 */
#include <linux/lockdep.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

#include "config.h"
#include "internal.h"
#include "kernel.h"
#include "leftovers.h"
#include "ours.h"
#include "plugsched.h"

static bool foreign(const struct sched_class *class)
{
	unsigned long i;

	for (i = 0; i < plugsched_nr_tables; i++)
		if (class == plugsched_tables[i].old)
			return false;
	return true;
}

/* Context: any; the answer holds as long as the task's class cannot change. */
bool plugsched_foreign_class(const struct task_struct *p)
{
	return foreign(READ_ONCE(p->sched_class));
}

/* It has tasks in its own classes, while its scheduler runs. Context: preemption off. */
static bool of_another_module(const struct sched_class *class)
{
	const struct module *m = __module_address((unsigned long)class);

	return m && m != THIS_MODULE;
}

static void look_at_class(struct task_struct *p)
{
	if (plugsched_foreign_class(p) && !of_another_module(p->sched_class))
		plugsched_found("task %d (%.16s) has the class %ps", task_pid_nr(p), p->comm,
				p->sched_class);
}

/*
 * A word on a stack may be a left-over that leads anywhere, into old stacks with addresses of
 * the module too. A task has a stack, which ends as dup_task_struct() makes it end.
 */
static bool has_stack(const struct task_struct *p)
{
	unsigned long *stack, end;

	return !copy_from_kernel_nofault(&stack, &p->stack, sizeof(stack)) &&
	       PAGE_ALIGNED(stack) &&
	       !copy_from_kernel_nofault(&end, stack, sizeof(end)) && end == STACK_END_MAGIC;
}

static bool is_foreign_task(unsigned long word)
{
	const struct task_struct *p = (const void *)word;
	const struct sched_class *class;

	return IS_ALIGNED(word, sizeof(long)) && virt_addr_valid(p) &&
	       !copy_from_kernel_nofault(&class, &p->sched_class, sizeof(class)) &&
	       plugsched_ours(class) && has_stack(p);
}

/*
 * A task that is being made is on no list: only its parent knows it, inside of
 * copy_process(). While the machine is stopped, all that the parent knows is on its stack.
 */
static void look_at_fork(struct task_struct *p)
{
	const unsigned long *stack = task_stack_page(p), *end = (void *)stack + THREAD_SIZE;
	const unsigned long *word, *sp = plugsched_arch_stack(p);

	if (!stack || sp < stack || sp >= end || task_curr(p))
		return;
	/* KASAN guards what is between the variables of somebody's frame. */
	for (word = sp; word < end && !plugsched_in_copy_process(READ_ONCE_NOCHECK(*word)); word++)
		;
	if (word == end)
		return;
	for (word = sp; word < end && !is_foreign_task(READ_ONCE_NOCHECK(*word)); word++)
		;
	if (word < end)
		plugsched_found("task %d (%.16s) makes a task with a class of the module's",
				task_pid_nr(p), p->comm);
}

static void look_at_cpu(const struct rq *rq)
{
	if (rq->idle)
		look_at_class(rq->idle);
	if (rq->stop)
		look_at_class(rq->stop);
}

/*
 * Zombies are on the list of tasks. Who is past release_task() is on none, and never runs
 * again if its class is foreign: the kernel's classes do not know of it.
 */
void plugsched_look_at_classes(void)
{
	struct task_struct *g, *p;
	int cpu;

	lockdep_assert_irqs_disabled();
	for_each_possible_cpu(cpu)
		look_at_cpu(cpu_rq(cpu));
	for_each_process_thread(g, p) {
		look_at_class(p);
		look_at_fork(p);
	}
}
