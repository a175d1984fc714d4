// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stack inspection ahead of time: a sleeping task's stack cannot change until the
 * task runs. The stacks of sleepers are inspected while the machine works, and a
 * probe on the sched_switch trace event notes who runs from before the first look
 * on. The more threads there are the longer that takes, and the more have run meanwhile. So
 * these, and who was not asleep, are looked at once more, with new notes, which takes next to
 * nothing. The stopped machine then only looks at who was not asleep then either, and at
 * what ran since: downtime does not grow with the number of threads.
 */
#include <linux/cpu.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>

#include "internal.h"
#include "kernel.h"
#include "plugsched.h"

#define RAN_BITS	10
#define RAN_SIZE	BIT(RAN_BITS)
#define RAN_PROBES	16		/* places that are tried for one task */

/*
 * The tasks that were switched to on one CPU, hashed. Written by that CPU only. The
 * trace event is called by the scheduler that is to be left, which somebody wrote:
 * each switch must begin where the last one ended, else one was not noted.
 */
struct ran {
	bool recording;
	bool incomplete;
	const struct task_struct *last;	/* switched to */
	struct task_struct *task[RAN_SIZE];
	unsigned int nr;		/* of them */
	u16 slot[RAN_SIZE];		/* where they are */
};

struct plugsched_scan {
	struct ran *earlier, *ran;	/* by CPU number: during the first look, and from the second on */
	struct task_struct **awake;	/* to be looked at while the machine is stopped */
	unsigned int nr_awake, max_awake;
	bool overflow;
	struct plugsched_update *update;
	unsigned long *stack;
};

/* Context: on the CPU, IRQs off. */
static void note_task(struct ran *ran, struct task_struct *p)
{
	unsigned int slot = hash_ptr(p, RAN_BITS), i;

	ran->last = p;
	if (is_idle_task(p))
		return;
	for (i = 0; i < RAN_PROBES; i++, slot = (slot + 1) % RAN_SIZE) {
		if (ran->task[slot] == p)
			return;
		if (!ran->task[slot]) {
			get_task_struct(p);
			ran->task[slot] = p;
			ran->slot[ran->nr++] = slot;
			return;
		}
	}
	ran->incomplete = true;
}

/* Context: __schedule(), IRQs off, run queue locked. */
static void note_switch(void *data, bool preempt, struct task_struct *prev,
			struct task_struct *next)
{
	struct plugsched_scan *s = data;
	struct ran *ran = &s->ran[raw_smp_processor_id()];

	if (!ran->recording)
		ran = &s->earlier[raw_smp_processor_id()];
	if (!ran->recording)
		return;
	if (ran->last != prev)
		ran->incomplete = true;
	note_task(ran, next);
}

/* New notes go on where those before ended, or a switch was not noted. */
static void begin_notes(struct ran *ran, const struct ran *before, const struct task_struct *now)
{
	if (before->recording && before->last != now)
		ran->incomplete = true;
	ran->last = now;
}

/* Of two sets of notes, which one is begun. */
struct recording {
	struct ran *ran, *before;
};

/* Context: hard interrupt on the CPU, so between two switches. */
static void record_here(void *data)
{
	const struct recording *r = data;
	struct ran *ran = &r->ran[smp_processor_id()];

	begin_notes(ran, &r->before[smp_processor_id()], current);
	note_task(ran, current);
	ran->recording = true;
}

/* A CPU that comes online begins with its idle task. Context: process, may sleep. */
static void record_everywhere(struct ran *ran, struct ran *before)
{
	struct recording r = { .ran = ran, .before = before };
	unsigned int cpu;

	cpus_read_lock();
	for_each_possible_cpu(cpu) {
		if (cpu_online(cpu))
			continue;
		begin_notes(&ran[cpu], &before[cpu], cpu_rq(cpu)->idle);
		ran[cpu].recording = true;
	}
	on_each_cpu(record_here, &r, 1);
	cpus_read_unlock();
}

/* Whether every switch on a CPU was noted. Context: stopped machine. */
static bool all_noted(const struct ran *ran, int cpu)
{
	const struct rq *rq = cpu_rq(cpu);

	return !ran->incomplete && ran->last == (cpu_online(cpu) ? rq->stop : rq->idle);
}

/* One that is lost does not change either, but the stop has to look after it. */
static bool asleep(struct task_struct *p)
{
	/* Pairs with the release in finish_task(): the stack is complete. */
	return !smp_load_acquire(&p->on_cpu) && !READ_ONCE(p->on_rq) && !plugsched_lost(p);
}

static void look_again(struct plugsched_scan *s, struct task_struct *p)
{
	if (s->nr_awake == s->max_awake) {
		s->overflow = true;
		return;
	}
	get_task_struct(p);
	s->awake[s->nr_awake++] = p;
}

/*
 * A task in the way that sleeps on makes the update busy without a stop; whoever
 * is not sure to sleep is looked at again.
 */
static int scan_task(struct plugsched_scan *s, struct task_struct *p, bool count)
{
	struct plugsched_busy busy;

	if (asleep(p) && !plugsched_inspect(s->update, p, s->stack, &busy)) {
		if (count)
			atomic_inc(&s->update->threads);
		return 0;
	}
	smp_rmb(); /* the stack was read before it is asked whether that still holds */
	if (!asleep(p)) {
		look_again(s, p);
		return 0;
	}
	plugsched_report(s->update, &busy);
	return -EBUSY;
}

static int first_look(struct task_struct *p, void *data)
{
	return scan_task(data, p, true);
}

/* Those that were awake. What is kept of the list takes the place of what is not. */
static int second_look_awake(struct plugsched_scan *s)
{
	unsigned int i, nr = s->nr_awake;
	int err = 0;

	s->nr_awake = 0;
	for (i = 0; i < nr; i++) {
		struct task_struct *p = s->awake[i];

		if (!err)
			err = scan_task(s, p, true);
		put_task_struct(p);
	}
	return err;
}

/* Those that have run; who slept before was counted then. */
static int second_look_ran(struct plugsched_scan *s)
{
	unsigned int cpu, i;
	int err = 0;

	for_each_possible_cpu(cpu) {
		const struct ran *ran = &s->earlier[cpu];

		for (i = 0; !err && i < READ_ONCE(ran->nr); i++)
			err = scan_task(s, ran->task[ran->slot[i]], false);
	}
	return err;
}

/*
 * The same with less: whoever the first look has cleared has not run until the new notes are
 * begun, or is in the old ones. Context: process, may sleep.
 */
static int second_look(struct plugsched_scan *s)
{
	record_everywhere(s->ran, s->earlier);
	return second_look_awake(s) ?: second_look_ran(s);
}

static int alloc_scan(struct plugsched_update *u)
{
	struct plugsched_scan *s;

	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	u->scan = s;
	s->update = u;
	s->stack = u->stacks;
	s->max_awake = 4096;
	s->ran = kvcalloc(nr_cpu_ids, sizeof(*s->ran), GFP_KERNEL);
	s->earlier = kvcalloc(nr_cpu_ids, sizeof(*s->earlier), GFP_KERNEL);
	s->awake = kvmalloc_array(s->max_awake, sizeof(*s->awake), GFP_KERNEL);
	return s->ran && s->earlier && s->awake ? 0 : -ENOMEM;
}

static void put_tasks(struct task_struct **list, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (list[i])
			put_task_struct(list[i]);
}

static void free_scan(struct plugsched_scan *s)
{
	unsigned int cpu;

	for (cpu = 0; s->ran && cpu < nr_cpu_ids; cpu++)
		put_tasks(s->ran[cpu].task, RAN_SIZE);
	for (cpu = 0; s->earlier && cpu < nr_cpu_ids; cpu++)
		put_tasks(s->earlier[cpu].task, RAN_SIZE);
	if (s->awake)
		put_tasks(s->awake, s->nr_awake);
	kvfree(s->ran);
	kvfree(s->earlier);
	kvfree(s->awake);
	kfree(s);
}

/*
 * Look at the sleepers. Until plugsched_scan_end() it is noted who runs.
 * Returns -EBUSY when a sleeper is in the way.
 * Context: process, may sleep.
 */
int plugsched_scan_begin(struct plugsched_update *u)
{
	u64 start = ktime_get_mono_fast_ns();
	int err;

	if (plugsched_way != PLUGSCHED_OURS)
		return 0;
	err = alloc_scan(u);
	if (!err)
		err = tracepoint_probe_register(&__tracepoint_sched_switch, note_switch, u->scan);
	if (err) {
		if (u->scan)
			free_scan(u->scan);
		u->scan = NULL;
		return err;
	}
	/* When others use the event too, a CPU may still work on the old list of probes. */
	tracepoint_synchronize_unregister();
	record_everywhere(u->scan->earlier, u->scan->ran);
	err = plugsched_for_each_task(first_look, u->scan);
	if (!err)
		err = second_look(u->scan);
	u->scan_ns = ktime_get_mono_fast_ns() - start;
	return err;
}

/* Context: process, may sleep. */
void plugsched_scan_end(struct plugsched_update *u)
{
	if (!u->scan)
		return;
	tracepoint_probe_unregister(&__tracepoint_sched_switch, note_switch, u->scan);
	tracepoint_synchronize_unregister();
	free_scan(u->scan);
	u->scan = NULL;
}

/* Whether the stopped machine may leave the sleepers out. All CPUs get the same answer. */
bool plugsched_scan_complete(const struct plugsched_update *u)
{
	unsigned int cpu;

	if (!u->scan || u->scan->overflow)
		return false;
	for_each_possible_cpu(cpu)
		if (u->scan->earlier[cpu].incomplete || !all_noted(&u->scan->ran[cpu], cpu))
			return false;
	return true;
}

/* Whether a task is in a CPU's notes; no is no proof. */
static bool noted(const struct ran *ran, const struct task_struct *p)
{
	unsigned int slot = hash_ptr(p, RAN_BITS), i;

	for (i = 0; i < RAN_PROBES && ran->task[slot]; i++, slot = (slot + 1) % RAN_SIZE)
		if (ran->task[slot] == p)
			return true;
	return false;
}

/*
 * Look at a share of who was awake and of what ran since, also on CPUs that have
 * gone offline meanwhile.
 */
void plugsched_scan_check(struct plugsched_update *u, unsigned int id, unsigned long *stack)
{
	const struct plugsched_scan *s = u->scan;
	const struct ran *ran;
	unsigned int cpu, i;

	for (i = id; i < s->nr_awake; i += u->job.cpus)
		/* Most ran where they were, and are not looked at twice. */
		if (!noted(&s->ran[task_cpu(s->awake[i])], s->awake[i]))
			plugsched_check_task(u, s->awake[i], stack);
	for (cpu = id; cpu < nr_cpu_ids; cpu += u->job.cpus) {
		ran = &s->ran[cpu];
		for (i = 0; i < ran->nr; i++)
			plugsched_check_task(u, ran->task[ran->slot[i]], stack);
	}
}

/*
 * The i-th of the tasks that were awake, or lost, when they were looked at; NULL: there
 * are no more. Context: stopped machine.
 */
struct task_struct *plugsched_scan_awake(const struct plugsched_update *u, unsigned int i)
{
	return i < u->scan->nr_awake ? u->scan->awake[i] : NULL;
}
