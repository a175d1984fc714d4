// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stack inspection: an update may go ahead only when no task would come back to
 * code that it takes away.
 *
 * Context of everything here: stopped machine, IRQs off. No stack can change:
 * every CPU runs its stopper thread and nothing else.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/stacktrace.h>

#include "plugsched.h"
#include "internal.h"

/* Return the replaced piece of the kernel's text that holds addr, or NULL. */
static const struct plugsched_range *find_range(unsigned long addr)
{
	unsigned long lo = 0, hi = plugsched_nr_ranges;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;
		const struct plugsched_range *r = &plugsched_ranges[mid];

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
 * Install: no task may return into a function that is replaced. Remove: none may
 * return into the module. The one exception each way is by design: sleepers are
 * inside the kernel's __schedule, behind its call of the context switch, which
 * is not replaced; and the initiator got here through this module's own code,
 * which stays until after the update.
 */
static bool in_the_way(const struct plugsched_update *u, const struct task_struct *p,
		       unsigned long addr)
{
	const struct plugsched_range *r;

	if (!u->install)
		return p != u->initiator && within_module_core(addr, THIS_MODULE);
	r = find_range(addr);
	return r && !(r->allow && addr == r->start + r->allow);
}

static int report(struct plugsched_update *u, const struct task_struct *p, int err,
		  unsigned long frame, const unsigned long *stack, int nr)
{
	unsigned int i = atomic_inc_return(&u->nr_busy) - 1;
	struct plugsched_busy *b;

	if (i < PLUGSCHED_BUSY_MAX) {
		b = &u->busy[i];
		b->pid = task_pid_nr((struct task_struct *)p);
		memcpy(b->comm, p->comm, sizeof(b->comm));
		b->comm[sizeof(b->comm) - 1] = '\0';
		b->err = err;
		b->frame = frame;
		b->nr = min_t(int, max(nr, 0), PLUGSCHED_BUSY_DEPTH);
		memcpy(b->stack, stack, b->nr * sizeof(*stack));
	}
	return -EBUSY;
}

static int check_task(struct plugsched_update *u, struct task_struct *p, unsigned long *stack)
{
	int nr, i;

	/* A stopper: below multi_cpu_stop() there is only its thread function. */
	if (p == cpu_rq(task_cpu(p))->stop && task_curr(p))
		return 0;
	nr = stack_trace_save_tsk_reliable(p, stack, PLUGSCHED_STACK_DEPTH);
	if (nr < 0)
		return report(u, p, nr, 0, stack, 0);
	for (i = 0; i < nr; i++)
		if (in_the_way(u, p, stack[i]))
			return report(u, p, 0, stack[i], stack, nr);
	return 0;
}

/*
 * A task that is past release_task() is on no list of tasks any more. Until its
 * last switch it is runnable: what do_exit() does from there on does not sleep.
 */
static void check_exiting(struct plugsched_update *u, struct task_struct *p,
			  unsigned long *stack, int *ret)
{
	int err = pid_alive(p) ? 0 : check_task(u, p, stack);

	if (err)
		*ret = err;
}

static int check_queued(struct plugsched_update *u, struct rq *rq, unsigned long *stack)
{
	struct rt_prio_array *array = &rq->rt.active;
	struct task_struct *p;
	struct rb_node *node;
	int ret = 0, prio;

	list_for_each_entry(p, &rq->cfs_tasks, se.group_node)
		check_exiting(u, p, stack, &ret);
	for_each_set_bit(prio, array->bitmap, MAX_RT_PRIO)
		list_for_each_entry(p, array->queue + prio, rt.run_list)
			check_exiting(u, p, stack, &ret);
	for (node = rb_first_cached(&rq->dl.root); node; node = rb_next(node))
		check_exiting(u, container_of(node, struct task_struct, dl.rb_node), stack, &ret);
	return ret;
}

/*
 * Inspect this CPU's share of the tasks, what it has queued that is on no list,
 * and its idle task. An offline CPU's idle task is left out: it never returns to
 * its old frames, the CPU comes back through start_secondary().
 */
int plugsched_check_stacks(struct plugsched_update *u, unsigned int id)
{
	unsigned long *stack = u->stacks + id * PLUGSCHED_STACK_DEPTH;
	struct rq *rq = cpu_rq(smp_processor_id());
	struct task_struct *g, *p;
	unsigned int i = 0, seen = 1;
	int ret, err;

	ret = check_task(u, rq->idle, stack);
	err = check_queued(u, rq, stack);
	if (err)
		ret = err;
	for_each_process_thread(g, p) {
		if (i++ % u->cpus != id)
			continue;
		seen++;
		err = check_task(u, p, stack);
		if (err)
			ret = err;
	}
	atomic_add(seen, &u->threads);
	return ret;
}
