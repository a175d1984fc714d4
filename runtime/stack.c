// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stack inspection: an update may go ahead only when no task would come back to
 * code that it takes away. While the machine is stopped no stack can change:
 * every CPU runs its stopper thread and nothing else.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>

#include "config.h"
#include "plugsched.h"
#include "internal.h"

/* Return the replaced piece of the kernel's text that holds addr, or NULL. */
static const struct plugsched_range *find_range(const struct plugsched_module *m,
						unsigned long addr)
{
	unsigned long lo = 0, hi = *m->nr_ranges;

	if (plugsched_way == PLUGSCHED_SERIAL)
		return plugsched_bench_find(m, addr);
	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		const struct plugsched_range *r = &m->ranges[mid];

		if (addr < r->start)
			hi = mid;
		else if (addr >= r->start + r->size)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

/*
 * The kernel is left: no task may return into a function that is replaced. A
 * module is left: none may return into its scheduler. There is one exception, by
 * design: sleepers are inside the kernel's __schedule, behind its call of the
 * context switch, which is not replaced.
 */
static bool in_the_way(const struct plugsched_update *u, unsigned long addr)
{
	const struct plugsched_range *r;

	if (u->from && plugsched_is_scheduler(u->from, addr))
		return true;
	if (!u->to)
		return false;
	r = find_range(u->to, addr);
	return r && !(r->allow && addr == r->start + r->allow);
}

/* Whether a tracer may keep return addresses of a task elsewhere. */
static bool returns_hidden(const struct task_struct *p)
{
	bool hidden = false;

#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	hidden |= !!p->ret_stack;
#endif
#ifdef PLUGSCHED_HAVE_KRETPROBE_INSTANCES
	hidden |= !!p->kretprobe_instances.first;
#endif
#ifdef CONFIG_RETHOOK
	hidden |= !!p->rethooks.first;
#endif
	return hidden;
}

/* What a return probe puts where it takes a return address away. */
static bool hides_return(unsigned long word)
{
#if defined(CONFIG_KRETPROBES) && !defined(PLUGSCHED_HAVE_KRETPROBE_INSTANCES) && !defined(CONFIG_RETHOOK)
	return word == (unsigned long)kretprobe_trampoline;
#else
	return false; /* returns_hidden() knows */
#endif
}

/*
 * Whether no word on the stack of a task that does not run leads to what is in the way.
 * It is for stacks that cannot be unwound, for one because somebody's module has no
 * unwind information. What an earlier call has left in a frame counts too. A tracer that
 * takes return addresses away from the stack gives nothing to find.
 */
static bool no_word_in_the_way(const struct plugsched_update *u, struct task_struct *p)
{
	unsigned long *word = plugsched_arch_stack(p);
	unsigned long *end = (void *)task_stack_page(p) + THREAD_SIZE;

	if (returns_hidden(p))
		return false;
	for (; word < end; word++) {
		unsigned long value = plugsched_arch_code(READ_ONCE_NOCHECK(*word));

		if (in_the_way(u, value) || hides_return(value))
			return false;
	}
	return true;
}

static bool clear_of_it(const struct plugsched_update *u, struct task_struct *p,
			unsigned long *stack, int nr, int *i)
{
	if (nr < 0)
		return u->rollback && no_word_in_the_way(u, p);
	for (*i = 0; *i < nr && !in_the_way(u, stack[*i]); ++*i)
		;
	return *i == nr;
}

/*
 * Say whether a task forbids the update, and in *b why. A stack that cannot be unwound
 * does, but a rollback is content with one that holds nothing of what is left.
 * Context: stopped machine, or process; there the answer holds as long as the
 * task sleeps.
 */
int plugsched_inspect(const struct plugsched_update *u, struct task_struct *p,
		      unsigned long *stack, struct plugsched_busy *b)
{
	int nr, i = 0;

	nr = plugsched_arch_stack_trace(p, stack, PLUGSCHED_STACK_DEPTH);
	b->err = min(nr, 0);
	if (clear_of_it(u, p, stack, nr, &i))
		return 0;
	/* Where it gave up says who is to blame. */
	if (nr < 0)
		nr = stack_trace_save_tsk(p, stack, PLUGSCHED_STACK_DEPTH, 0);
	b->pid = task_pid_nr(p);
	memcpy(b->comm, p->comm, sizeof(b->comm));
	b->comm[sizeof(b->comm) - 1] = '\0';
	b->frame = b->err ? 0 : stack[i];
	b->nr = clamp(nr, 0, PLUGSCHED_BUSY_DEPTH);
	memcpy(b->stack, stack, b->nr * sizeof(*stack));
	return -EBUSY;
}

/* Note a task that forbids the update. */
void plugsched_report(struct plugsched_update *u, const struct plugsched_busy *b)
{
	unsigned int i = atomic_inc_return(&u->nr_busy) - 1;

	if (i < PLUGSCHED_BUSY_MAX)
		u->busy[i] = *b;
}

/* Context: stopped machine. */
void plugsched_check_task(struct plugsched_update *u, struct task_struct *p, unsigned long *stack)
{
	struct plugsched_busy busy;

	/* A stopper: below multi_cpu_stop() there is only its thread function. */
	if (p == cpu_rq(task_cpu(p))->stop && task_curr(p))
		return;
	atomic_inc(&u->stopped);
	if (plugsched_inspect(u, p, stack, &busy))
		plugsched_report(u, &busy);
}
