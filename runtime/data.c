// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data beside the kernel's structures: a hash table by address for each kind, read
 * under RCU. For tasks, two trace events keep it: task_newtask comes before a task's
 * first wake-up (copy_process()); sched_process_free when the task was reaped and has
 * been switched from for the last time, a grace period ago (delayed_put_task_struct(),
 * which both of task_struct.rcu_users lead to).
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/rhashtable.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>

#include "api.h"
#include "internal.h"
#include "kernel.h"
#include "leftovers.h"
#include "plugsched.h"

struct piece {
	struct rhash_head node;
	const void *key;
	struct plugsched_data *data;
	struct rcu_head rcu;
	u64 bytes[];
};

static const struct rhashtable_params params = {
	.key_len = sizeof(void *),
	.key_offset = offsetof(struct piece, key),
	.head_offset = offsetof(struct piece, node),
	.automatic_shrinking = true,
};

static DEFINE_MUTEX(kinds_lock);	/* guards kinds */
static LIST_HEAD(kinds);

static void free_piece(struct piece *p)
{
	atomic_dec(&p->data->pieces);
	kfree(p);
}

static void free_piece_rcu(struct rcu_head *rcu)
{
	free_piece(container_of(rcu, struct piece, rcu));
}

static void free_piece_now(void *piece, void *arg)
{
	free_piece(piece);
}

void *plugsched_data_get(struct plugsched_data *d, const void *key)
{
	struct piece *p = rhashtable_lookup(&d->table, &key, params);

	return p ? p->bytes : NULL;
}

void *plugsched_data_add(struct plugsched_data *d, const void *key, gfp_t gfp)
{
	struct piece *p, *was;

	p = kzalloc(struct_size(p, bytes, DIV_ROUND_UP(d->size, sizeof(u64))), gfp);
	if (!p)
		return NULL;
	p->key = key;
	p->data = d;
	atomic_inc(&d->pieces);
	if (d->init)
		d->init(key, p->bytes);
	rcu_read_lock();
	was = rhashtable_lookup_get_insert_fast(&d->table, &p->node, params);
	rcu_read_unlock();
	if (!was)
		return p->bytes;
	free_piece(p);
	return IS_ERR(was) ? NULL : was->bytes;
}

void plugsched_data_del(struct plugsched_data *d, const void *key)
{
	struct piece *p;

	rcu_read_lock();
	p = rhashtable_lookup(&d->table, &key, params);
	/* Whoever removes it frees it. */
	if (p && !rhashtable_remove_fast(&d->table, &p->node, params))
		call_rcu(&p->rcu, free_piece_rcu);
	rcu_read_unlock();
}

int plugsched_data_create(struct plugsched_data *d)
{
	int err;

	atomic_set(&d->pieces, 0);
	atomic_set(&d->missed, 0);
	err = rhashtable_init(&d->table, &params);
	if (err)
		return err;
	mutex_lock(&kinds_lock);
	list_add(&d->list, &kinds);
	mutex_unlock(&kinds_lock);
	return 0;
}

/* Context: of a trace event, preemption off. */
static void task_begins(void *data, struct task_struct *p, unsigned long clone_flags)
{
	struct plugsched_data *d = data;

	if (!plugsched_data_add(d, p, GFP_NOWAIT | __GFP_NOWARN))
		atomic_inc(&d->missed);
}

static void task_ends(void *data, struct task_struct *p)
{
	plugsched_data_del(data, p);
}

bool plugsched_data_probe(const void *probe)
{
	return probe == task_begins || probe == task_ends;
}

static int add_task(struct task_struct *p, void *data)
{
	if (!plugsched_data_add(data, p, GFP_KERNEL))
		return -ENOMEM;
	/*
	 * Its end may have come before. If it is still to come it finds the piece, because
	 * a task is reaped before that.
	 */
	if (!pid_alive(p))
		plugsched_data_del(data, p);
	return 0;
}

static int add_idle_tasks(struct plugsched_data *d)
{
	int cpu;

	for_each_possible_cpu(cpu)
		if (cpu_rq(cpu)->idle && !plugsched_data_add(d, cpu_rq(cpu)->idle, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

static void unwatch_tasks(struct plugsched_data *d)
{
	tracepoint_probe_unregister(&__tracepoint_task_newtask, task_begins, d);
	tracepoint_probe_unregister(&__tracepoint_sched_process_free, task_ends, d);
	tracepoint_synchronize_unregister();
	d->tasks = false;
}

static int watch_tasks(struct plugsched_data *d)
{
	int err;

	/* The end comes first: a task that begins meanwhile has none yet. */
	err = tracepoint_probe_register(&__tracepoint_sched_process_free, task_ends, d);
	if (err)
		return err;
	err = tracepoint_probe_register(&__tracepoint_task_newtask, task_begins, d);
	if (err) {
		tracepoint_probe_unregister(&__tracepoint_sched_process_free, task_ends, d);
		tracepoint_synchronize_unregister();
		return err;
	}
	d->tasks = true;
	return 0;
}

int plugsched_task_data_create(struct plugsched_data *d)
{
	int err;

	err = plugsched_data_create(d);
	if (err)
		return err;
	err = watch_tasks(d);
	if (!err)
		err = add_idle_tasks(d);
	if (!err)
		err = plugsched_for_each_task(add_task, d);
	return err;	/* plugsched_data_exit() cleans up */
}

static void destroy(struct plugsched_data *d)
{
	if (d->tasks)
		unwatch_tasks(d);
	rcu_barrier();
	rhashtable_free_and_destroy(&d->table, free_piece_now, NULL);
	WARN(atomic_read(&d->pieces), "plugsched: %s: %d pieces are lost\n", d->name,
	     atomic_read(&d->pieces));
}

/*
 * Free everything. Nobody may look for data any more.
 * Context: process, may sleep.
 */
void plugsched_data_exit(void)
{
	struct plugsched_data *d, *n;

	mutex_lock(&kinds_lock);
	list_for_each_entry_safe(d, n, &kinds, list) {
		list_del(&d->list);
		destroy(d);
	}
	mutex_unlock(&kinds_lock);
}

/* One line for each kind: "NAME PIECES MISSED". Context: process. */
ssize_t plugsched_data_show(char *buf)
{
	struct plugsched_data *d;
	ssize_t n = 0;

	mutex_lock(&kinds_lock);
	list_for_each_entry(d, &kinds, list)
		n += sysfs_emit_at(buf, n, "%s %d %d\n", d->name, atomic_read(&d->pieces),
				   atomic_read(&d->missed));
	mutex_unlock(&kinds_lock);
	return n;
}
