// SPDX-License-Identifier: GPL-2.0-only
/* What comes by itself: timers of both kinds, works, interrupt works. */
#include <linux/hrtimer.h>
#if __has_include(<linux/hrtimer_bases.h>)
#include <linux/hrtimer_bases.h>
#endif
#include <linux/irq_work.h>
#include <linux/lockdep.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "config.h"
#include "kernel.h"
#include "leftovers.h"
#include "ours.h"

static void nothing(struct work_struct *work)
{
}

/* What was queued before on one of the kernel's queues has begun when this returns. */
static void pass_queue(struct workqueue_struct *queue)
{
	struct work_struct work;
	int cpu;

	for_each_online_cpu(cpu) {
		INIT_WORK_ONSTACK(&work, nothing);
		queue_work_on(cpu, queue, &work);
		flush_work(&work);
		destroy_work_on_stack(&work);
	}
}

/* Works that were queued are over then, or a task is inside of them. */
void plugsched_look_at_queues(void)
{
	pass_queue(system_wq);
	pass_queue(system_highpri_wq);
	pass_queue(system_long_wq);
	pass_queue(system_unbound_wq);
	/* Where there are these, the kernel says once that the old ones should not be used. */
#ifdef PLUGSCHED_HAVE_SYSTEM_PERCPU_WQ
	pass_queue(system_percpu_wq);
	pass_queue(system_dfl_wq);
#endif
}

/* A timer of the timer wheel, perhaps the one of a delayed work. */
static void look_at_timer(const struct timer_list *t)
{
	const struct delayed_work *w = container_of(t, struct delayed_work, timer);

	if (plugsched_ours(t->function))
		plugsched_found("timer %ps is armed", t->function);
	else if (t->function == delayed_work_timer_fn && plugsched_ours(w->work.func))
		plugsched_found("delayed work %ps is pending", w->work.func);
}

#ifdef PLUGSCHED_SIZE_TIMER_BASES
DECLARE_PER_CPU(unsigned long [PLUGSCHED_SIZE_TIMER_BASES / sizeof(long)], timer_bases);

/*
 * The wheel's buckets are heads of lists somewhere in struct timer_base, which is private
 * to kernel/time/timer.c. A word is such a head if what it points to points back.
 * Nobody changes a list or holds a lock while the machine is stopped.
 */
static void look_at_wheel(int cpu)
{
	struct hlist_node **word = (void *)per_cpu_ptr(&timer_bases, cpu);
	struct hlist_node **end = (void *)word + PLUGSCHED_SIZE_TIMER_BASES;
	struct hlist_node *n, node;

	for (; word < end; word++) {
		if (!*word || copy_from_kernel_nofault(&node, *word, sizeof(node)) ||
		    node.pprev != word)
			continue;
		for (n = *word; n; n = n->next)
			look_at_timer(container_of(n, struct timer_list, entry));
	}
}
#else
static void look_at_wheel(int cpu)
{
}
#endif

static void look_at_hrtimers(int cpu)
{
	struct hrtimer_cpu_base *base = per_cpu_ptr(&hrtimer_bases, cpu);
	struct rb_node *node;
	struct hrtimer *t;
	unsigned int i;

	for (i = 0; i < HRTIMER_MAX_CLOCK_BASES; i++) {
		/* The leftmost node is cached, whose type is not the same in all kernels. */
		node = rb_first(&base->clock_base[i].active.rb_root.rb_root);
		for (; node; node = rb_next(node)) {
			t = container_of((void *)node, struct hrtimer, node.node);
			if (plugsched_ours(t->function))
				plugsched_found("high-resolution timer %ps is armed", t->function);
		}
	}
}

/* Those that wait for an interrupt or for the next tick. */
static void look_at_irq_works(const struct llist_head *list)
{
	const struct irq_work *w;

	llist_for_each_entry(w, READ_ONCE(list->first), node.llist)
		if (plugsched_ours(w->func))
			plugsched_found("irq_work %ps is queued", w->func);
}

void plugsched_look_at_armed(void)
{
	int cpu;

	lockdep_assert_irqs_disabled();
	for_each_possible_cpu(cpu) {
		look_at_wheel(cpu);
		look_at_hrtimers(cpu);
#ifdef CONFIG_IRQ_WORK
		look_at_irq_works(per_cpu_ptr(&raised_list, cpu));
		look_at_irq_works(per_cpu_ptr(&lazy_list, cpu));
#endif
	}
}
