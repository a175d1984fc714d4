// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module and its files under /sys/kernel/plugsched/.
 *
 * Loading prepares and changes nothing; writing 1 to "enable" installs the
 * module's scheduler, writing 0 gives the kernel its own back. The module holds a
 * reference to itself while it is live, so that it cannot be unloaded then.
 */
#define pr_fmt(fmt) "plugsched: " fmt

#include <linux/capability.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/sysfs.h>
#include <linux/timekeeping.h>

#include "plugsched.h"

static DEFINE_MUTEX(update_lock);	/* one update at a time */
static bool active;			/* written under update_lock */

/*
 * Guards what is shown of the last update. It is not held while the machine
 * stops: a reader that waits has a frame in this module, which would forbid the
 * removal that it waits for.
 */
static DEFINE_MUTEX(figures_lock);
static struct plugsched_update last;	/* the last finished update */
static bool last_valid;
static u64 init_ns;			/* spent in module_init */
static struct plugsched_busy busy[PLUGSCHED_BUSY_MAX];
static unsigned int nr_busy;
static struct kobject *plugsched_kobj;

/*
 * Every CPU waits here until all have arrived. The full barrier of the atomic
 * increment publishes what a CPU did before, the acquire makes it visible after.
 * Context: stopped machine, IRQs off.
 */
static void rendezvous(struct plugsched_update *u, unsigned int *round)
{
	int all = ++*round * u->cpus;

	atomic_inc_return(&u->arrived);
	while (atomic_read_acquire(&u->arrived) < all) {
		touch_nmi_watchdog();
		cpu_relax();
	}
}

static void stamp(struct plugsched_update *u, unsigned int id, enum plugsched_time t)
{
	if (!id)
		u->time[t] = ktime_get_mono_fast_ns();
}

/*
 * Runs on every online CPU at once. Nothing is changed until all CPUs have
 * agreed that no stack is in the way; from then on nothing can fail, and nothing
 * allocates, frees or sleeps.
 */
static int update_stopped(void *data)
{
	struct plugsched_update *u = data;
	unsigned int id = atomic_inc_return(&u->ids) - 1;
	unsigned int round = 0, phase;
	int cpu = smp_processor_id();
	int err;

	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_STOPPED);

	err = plugsched_check_stacks(u, id);
	if (!id && !plugsched_text_unchanged(u->install))
		err = -EEXIST;
	if (err)
		atomic_cmpxchg(&u->verdict, 0, err);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_CHECKED);
	err = atomic_read(&u->verdict);
	if (err)
		return err;

	plugsched_clear_rq(cpu, !u->install);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_CLEARED);

	for (phase = 0; phase < plugsched_poke_phases; phase++) {
		if (!id)
			plugsched_text_poke(phase, u->install);
		rendezvous(u, &round);
		plugsched_arch_sync();
		rendezvous(u, &round);
	}
	if (!id)
		plugsched_tables_write(u->install);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_REDIRECTED);

	plugsched_rebuild_rq(cpu, u->install);
	rendezvous(u, &round);
	stamp(u, id, PLUGSCHED_T_REBUILT);
	return 0;
}

static int update_alloc(struct plugsched_update *u)
{
	u->busy = kcalloc(PLUGSCHED_BUSY_MAX, sizeof(*u->busy), GFP_KERNEL);
	u->stacks = kvmalloc_array(num_possible_cpus() * PLUGSCHED_STACK_DEPTH,
				   sizeof(*u->stacks), GFP_KERNEL);
	if (!u->busy || !u->stacks)
		return -ENOMEM;
	return 0;
}

static void update_free(struct plugsched_update *u)
{
	kfree(u->busy);
	kvfree(u->stacks);
	u->busy = NULL;
	u->stacks = NULL;
}

/* Stop the machine and change schedulers. CPU hotplug is frozen meanwhile. */
static int update_run(struct plugsched_update *u)
{
	int err;

	cpus_read_lock();
	u->cpus = num_online_cpus();
	u->initiator = current;
	u->time[PLUGSCHED_T_ENTER] = ktime_get_mono_fast_ns();
	err = stop_machine_cpuslocked(update_stopped, u, cpu_online_mask);
	u->time[PLUGSCHED_T_LEFT] = ktime_get_mono_fast_ns();
	cpus_read_unlock();
	return err;
}

static void update_publish(struct plugsched_update *u, int err)
{
	mutex_lock(&figures_lock);
	nr_busy = min_t(unsigned int, atomic_read(&u->nr_busy), PLUGSCHED_BUSY_MAX);
	memcpy(busy, u->busy, nr_busy * sizeof(*busy));
	if (!err) {
		last = *u;
		last_valid = true;
	}
	mutex_unlock(&figures_lock);
	if (err)
		return;
	WRITE_ONCE(active, u->install);
	pr_info("%s: %u CPUs, %d threads, stopped for %llu ns\n",
		active ? "installed" : "removed", u->cpus, atomic_read(&u->threads),
		u->time[PLUGSCHED_T_LEFT] - u->time[PLUGSCHED_T_ENTER]);
}

/* Context: process, update_lock held. */
static int update(bool install)
{
	struct plugsched_update u = { .install = install };
	int err;

	if (install && !try_module_get(THIS_MODULE))
		return -ENODEV;
	err = update_alloc(&u);
	if (!err)
		err = plugsched_text_prepare(install);
	if (!err) {
		plugsched_carry_features(install, false);
		err = update_run(&u);
		/* What was toggled between the copy and the stop. */
		if (!err)
			plugsched_carry_features(install, true);
		update_publish(&u, err);
		plugsched_text_finish();
	}
	update_free(&u);
	if (install == !!err)
		module_put(THIS_MODULE);
	return err;
}

static ssize_t enable_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(active));
}

static ssize_t enable_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	bool install;
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = kstrtobool(buf, &install);
	if (err)
		return err;
	/* Whoever waits here has a frame in this module: see figures_lock. */
	if (!mutex_trylock(&update_lock))
		return -EBUSY;
	err = install == active ? -EALREADY : update(install);
	mutex_unlock(&update_lock);
	return err ? err : count;
}

static ssize_t state_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", READ_ONCE(active) ? "active" : "inactive");
}

static ssize_t kernel_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s %s\n", plugsched_release, plugsched_build_id);
}

static u64 span(enum plugsched_time from, enum plugsched_time to)
{
	return last.time[to] - last.time[from];
}

static ssize_t timings_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	ssize_t n = 0;

	mutex_lock(&figures_lock);
	n += sysfs_emit_at(buf, n, "init_ns %llu\n", init_ns);
	if (last_valid) {
		n += sysfs_emit_at(buf, n, "direction %s\n", last.install ? "install" : "remove");
		n += sysfs_emit_at(buf, n, "cpus %u\n", last.cpus);
		n += sysfs_emit_at(buf, n, "threads %d\n", atomic_read(&last.threads));
		n += sysfs_emit_at(buf, n, "stop_machine_ns %llu\n",
				   span(PLUGSCHED_T_ENTER, PLUGSCHED_T_LEFT));
		n += sysfs_emit_at(buf, n, "handler_ns %llu\n",
				   span(PLUGSCHED_T_STOPPED, PLUGSCHED_T_REBUILT));
		n += sysfs_emit_at(buf, n, "stack_check_ns %llu\n",
				   span(PLUGSCHED_T_STOPPED, PLUGSCHED_T_CHECKED));
		n += sysfs_emit_at(buf, n, "clear_ns %llu\n",
				   span(PLUGSCHED_T_CHECKED, PLUGSCHED_T_CLEARED));
		n += sysfs_emit_at(buf, n, "redirect_ns %llu\n",
				   span(PLUGSCHED_T_CLEARED, PLUGSCHED_T_REDIRECTED));
		n += sysfs_emit_at(buf, n, "rebuild_ns %llu\n",
				   span(PLUGSCHED_T_REDIRECTED, PLUGSCHED_T_REBUILT));
	}
	mutex_unlock(&figures_lock);
	return n;
}

static struct kobj_attribute enable_attr = __ATTR(enable, 0600, enable_show, enable_store);
static struct kobj_attribute state_attr = __ATTR_RO(state);
static struct kobj_attribute kernel_attr = __ATTR_RO(kernel);
static struct kobj_attribute timings_attr = __ATTR_RO(timings);

static struct attribute *plugsched_attrs[] = {
	&enable_attr.attr,
	&state_attr.attr,
	&kernel_attr.attr,
	&timings_attr.attr,
	NULL,
};

/* The tasks that forbade the last update. Symbols only: no addresses. */
static ssize_t busy_read(struct file *file, struct kobject *kobj,
			 struct bin_attribute *attr, char *buf, loff_t off, size_t count)
{
	const size_t size = PLUGSCHED_BUSY_MAX * (PLUGSCHED_BUSY_DEPTH + 1) * 160;
	size_t n = 0;
	unsigned int i, j;
	ssize_t ret;
	char *text;

	text = kvmalloc(size, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	mutex_lock(&figures_lock);
	for (i = 0; i < nr_busy; i++) {
		const struct plugsched_busy *b = &busy[i];

		n += scnprintf(text + n, size - n, "task %d (%s): ", b->pid, b->comm);
		if (b->err)
			n += scnprintf(text + n, size - n, "stack cannot be unwound (%d)\n",
				       b->err);
		else
			n += scnprintf(text + n, size - n, "is in %pS\n", (void *)b->frame);
		for (j = 0; j < b->nr; j++)
			n += scnprintf(text + n, size - n, "\t%pS\n", (void *)b->stack[j]);
	}
	mutex_unlock(&figures_lock);
	ret = memory_read_from_buffer(buf, count, &off, text, n);
	kvfree(text);
	return ret;
}

/* The names of the redirected functions, one a line. */
static ssize_t functions_read(struct file *file, struct kobject *kobj,
			      struct bin_attribute *attr, char *buf, loff_t off, size_t count)
{
	size_t size = 1, n = 0;
	unsigned long i;
	ssize_t ret;
	char *text;

	for (i = 0; i < plugsched_nr_redirects; i++)
		size += strlen(plugsched_redirects[i].name) + 1;
	text = kvmalloc(size, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	for (i = 0; i < plugsched_nr_redirects; i++)
		n += scnprintf(text + n, size - n, "%s\n", plugsched_redirects[i].name);
	ret = memory_read_from_buffer(buf, count, &off, text, n);
	kvfree(text);
	return ret;
}

static struct bin_attribute busy_attr = {
	.attr = { .name = "busy", .mode = 0400 },
	.read = busy_read,
};

static struct bin_attribute functions_attr = {
	.attr = { .name = "functions", .mode = 0444 },
	.read = functions_read,
};

static struct bin_attribute *plugsched_bin_attrs[] = {
	&busy_attr,
	&functions_attr,
	NULL,
};

static const struct attribute_group plugsched_group = {
	.attrs = plugsched_attrs,
	.bin_attrs = plugsched_bin_attrs,
};

static int __init plugsched_init(void)
{
	u64 start = ktime_get_mono_fast_ns();
	int err;

	err = plugsched_arch_init();
	if (err)
		return err;
	plugsched_kobj = kobject_create_and_add("plugsched", kernel_kobj);
	if (!plugsched_kobj) {
		err = -ENOMEM;
		goto out_arch;
	}
	init_ns = ktime_get_mono_fast_ns() - start;
	err = sysfs_create_group(plugsched_kobj, &plugsched_group);
	if (err)
		goto out_kobj;
	return 0;

out_kobj:
	kobject_put(plugsched_kobj);
out_arch:
	plugsched_arch_exit();
	return err;
}

/*
 * An active module holds a reference to itself, so that it normally gets here
 * inactive. A forced unload does not care: the kernel must not be left with jumps
 * to nowhere.
 */
static void __exit plugsched_exit(void)
{
	mutex_lock(&update_lock);
	while (active && update(false))
		msleep(20);
	mutex_unlock(&update_lock);
	sysfs_remove_group(plugsched_kobj, &plugsched_group);
	kobject_put(plugsched_kobj);
	plugsched_arch_exit();
	plugsched_text_release();
}

module_init(plugsched_init);
module_exit(plugsched_exit);
MODULE_DESCRIPTION("A replacement for the kernel's scheduler");
MODULE_LICENSE("GPL");
