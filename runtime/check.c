// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which stacks the stopped machine inspects: those that the scan could not clear, and
 * those of tasks that are on no list.
 * Context of everything here: stopped machine.
 */
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "internal.h"
#include "plugsched.h"

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
		if (!plugsched_is_server(rb_entry(node, struct sched_dl_entity, rb_node)))
			check_exiting(u, container_of(node, struct task_struct, dl.rb_node), stack);
#ifdef PLUGSCHED_HAVE_SCX
	list_for_each_entry(p, &rq->scx.runnable_list, scx.runnable_node)
		check_exiting(u, p, stack);
#endif
}

static void check_share(struct plugsched_update *u, unsigned int id, unsigned long *stack)
{
	struct task_struct *g, *p;
	unsigned int i = 0;

	for_each_process_thread(g, p)
		if (i++ % u->job.cpus == id)
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
	if (plugsched_way == PLUGSCHED_SERIAL)
		plugsched_bench_check(u, id, stack);
	else if (plugsched_scan_complete(u))
		plugsched_scan_check(u, id, stack);
	else
		check_share(u, id, stack);
}
