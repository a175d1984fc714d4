// SPDX-License-Identifier: GPL-2.0-only
/* What is called when others run: probes on trace events and functions, tracers. */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/tracepoint.h>

#include "config.h"
#include "kernel.h"
#include "leftovers.h"
#include "ours.h"

#ifdef CONFIG_TRACEPOINTS
static void look_at_event(struct tracepoint *t, void *unused)
{
	const struct tracepoint_func *f;

	lockdep_assert_held(&tracepoints_mutex);
	f = rcu_dereference_protected(t->funcs, true);
	for (; f && f->func; f++)
		if (plugsched_ours(f->func) && !plugsched_data_probe(f->func))
			plugsched_found("probe %ps on trace event %s", f->func, t->name);
}

static void look_at_events(void)
{
	mutex_lock(&tracepoints_mutex);
	for_each_kernel_tracepoint(look_at_event, NULL);
	mutex_unlock(&tracepoints_mutex);
}
#else
static void look_at_events(void)
{
}
#endif

#ifdef CONFIG_KPROBES
static bool kretprobe_leads_here(const struct kprobe *p)
{
#ifdef CONFIG_KRETPROBES
	const struct kretprobe *rp = container_of(p, struct kretprobe, kp);

	return p->pre_handler == pre_handler_kretprobe &&
	       (plugsched_ours(rp->handler) || plugsched_ours(rp->entry_handler));
#else
	return false;
#endif
}

static bool kprobe_leads_here(const struct kprobe *p)
{
	return plugsched_ours(p) || plugsched_ours(p->pre_handler) ||
	       plugsched_ours(p->post_handler) || kretprobe_leads_here(p);
}

static void look_at_kprobe(const struct kprobe *p)
{
	if (kprobe_leads_here(p))
		plugsched_found("kprobe on %pS", p->addr);
}

/* Several probes on one place hang on one that stands for them all. */
static void look_at_kprobes(void)
{
	const struct kprobe *p, *one;
	unsigned int i;

	mutex_lock(&kprobe_mutex);
	for (i = 0; i < PLUGSCHED_SIZE_KPROBE_TABLE / sizeof(*kprobe_table); i++) {
		hlist_for_each_entry(p, &kprobe_table[i], hlist) {
			look_at_kprobe(p);
			list_for_each_entry(one, &p->list, list)
				look_at_kprobe(one);
		}
	}
	mutex_unlock(&kprobe_mutex);
}
#else
static void look_at_kprobes(void)
{
}
#endif

#ifdef CONFIG_FUNCTION_TRACER
static void look_at_tracers(void)
{
	const struct ftrace_ops *o;

	mutex_lock(&ftrace_lock);
	for (o = rcu_dereference_protected(ftrace_ops_list, true); o; o = o->next)
		if (plugsched_ours(o) || plugsched_ours(o->func))
			plugsched_found("function tracer %ps", o->func);
	mutex_unlock(&ftrace_lock);
}
#else
static void look_at_tracers(void)
{
}
#endif

void plugsched_look_at_probes(void)
{
	look_at_events();
	look_at_kprobes();
	look_at_tracers();
}
