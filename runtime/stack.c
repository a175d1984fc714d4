// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stack inspection: an update may go ahead only when no task would come back to
 * code that it takes away. While the machine is stopped no stack can change:
 * every CPU runs its stopper thread and nothing else.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/stacktrace.h>

#include "plugsched.h"
#include "internal.h"

/* Return the replaced piece of the kernel's text that holds addr, or NULL. */
static const struct plugsched_range *find_range(const struct plugsched_module *m,
						unsigned long addr)
{
	unsigned long lo = 0, hi = *m->nr_ranges;

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
 * module is left: none may return into it. There is one exception each way, by
 * design: sleepers are inside the kernel's __schedule, behind its call of the
 * context switch, which is not replaced; and who asked for the update, or watches,
 * is in a part of the module that has nothing to do with its scheduler.
 */
static bool in_the_way(const struct plugsched_update *u, const struct task_struct *p,
		       unsigned long addr)
{
	const struct plugsched_range *r;

	if (u->from && within_module_core(addr, u->from->owner))
		return p != u->initiator && p != READ_ONCE(plugsched_watchdog_task);
	if (!u->to)
		return false;
	r = find_range(u->to, addr);
	return r && !(r->allow && addr == r->start + r->allow);
}

/*
 * Say whether a task forbids the update, and in *b why.
 * Context: stopped machine, or process; there the answer holds as long as the
 * task sleeps.
 */
int plugsched_inspect(const struct plugsched_update *u, struct task_struct *p,
		      unsigned long *stack, struct plugsched_busy *b)
{
	int nr, i;

	nr = stack_trace_save_tsk_reliable(p, stack, PLUGSCHED_STACK_DEPTH);
	b->err = min(nr, 0);
	for (i = 0; i < nr && !in_the_way(u, p, stack[i]); i++)
		;
	if (nr >= 0 && i == nr)
		return 0;
	b->pid = task_pid_nr(p);
	memcpy(b->comm, p->comm, sizeof(b->comm));
	b->comm[sizeof(b->comm) - 1] = '\0';
	b->frame = nr < 0 ? 0 : stack[i];
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

/* Context of the rest: stopped machine. */
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

/*
 * A task that is past release_task() is on no list of tasks any more. Until its
 * last switch it is runnable, but for short sleeps outside of the scheduler
 * (proc_flush_pid()): from do_exit() into the scheduler it runs.
 */
static void check_exiting(struct plugsched_update *u, struct task_struct *p, unsigned long *stack)
{
	if (!pid_alive(p))
		plugsched_check_task(u, p, stack);
}

static void check_queued(struct plugsched_update *u, struct rq *rq, unsigned long *stack)
{
	struct rt_prio_array *array = &rq->rt.active;
	struct task_struct *p;
	struct rb_node *node;
	int prio;

	list_for_each_entry(p, &rq->cfs_tasks, se.group_node)
		check_exiting(u, p, stack);
	for_each_set_bit(prio, array->bitmap, MAX_RT_PRIO)
		list_for_each_entry(p, array->queue + prio, rt.run_list)
			check_exiting(u, p, stack);
	for (node = rb_first_cached(&rq->dl.root); node; node = rb_next(node))
		check_exiting(u, container_of(node, struct task_struct, dl.rb_node), stack);
}

static void check_share(struct plugsched_update *u, unsigned int id, unsigned long *stack)
{
	struct task_struct *g, *p;
	unsigned int i = 0;

	for_each_process_thread(g, p)
		if (i++ % u->cpus == id)
			plugsched_check_task(u, p, stack);
}

/*
 * Inspect this CPU's share of the tasks: all, or those that the scan could not
 * clear; what the CPU has queued that is on no list; and its idle task. An offline
 * CPU's idle task is left out: it never returns to its old frames, the CPU comes
 * back through start_secondary().
 */
void plugsched_check_stacks(struct plugsched_update *u, unsigned int id)
{
	unsigned long *stack = u->stacks + id * PLUGSCHED_STACK_DEPTH;
	struct rq *rq = cpu_rq(smp_processor_id());

	plugsched_check_task(u, rq->idle, stack);
	check_queued(u, rq, stack);
	if (plugsched_scan_complete(u))
		plugsched_scan_check(u, id, stack);
	else
		check_share(u, id, stack);
}
