// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's files, in /sys/module/NAME/plugsched/; /sys/kernel/plugsched leads to
 * those of the module whose scheduler runs.
 */
#include <linux/capability.h>
#include <linux/kallsyms.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "plugsched.h"

/*
 * Guards what is shown of the last update. It is not held while the machine
 * stops: a reader that waits has a frame in this module, which would forbid the
 * removal that it waits for.
 */
static DEFINE_MUTEX(figures_lock);
static struct plugsched_update last;	/* the last finished update */
static bool last_valid;
static struct plugsched_busy busy[PLUGSCHED_BUSY_MAX];
static unsigned int nr_busy;
static char conflict[KSYM_NAME_LEN];	/* a copy: the module that named it may go */
static struct kobject *files;

/* Context: process. */
void plugsched_sysfs_publish(const struct plugsched_update *u, int err)
{
	mutex_lock(&figures_lock);
	nr_busy = min_t(unsigned int, atomic_read(&u->nr_busy), PLUGSCHED_BUSY_MAX);
	memcpy(busy, u->busy, nr_busy * sizeof(*busy));
	strscpy(conflict, u->conflict ?: "", sizeof(conflict));
	if (!err) {
		last = *u;
		last_valid = true;
	}
	mutex_unlock(&figures_lock);
}

/* Let /sys/kernel/plugsched lead to the running scheduler's files. A failure only costs that. */
void plugsched_sysfs_link(const struct plugsched_module *to)
{
	sysfs_remove_link(kernel_kobj, "plugsched");
	if (to && sysfs_create_link(kernel_kobj, to->files, "plugsched"))
		pr_warn("plugsched: no link in /sys/kernel\n");
}

static ssize_t enable_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(plugsched_self.active));
}

static ssize_t enable_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	bool on;
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = kstrtobool(buf, &on);
	if (!err)
		err = plugsched_enable(on);
	return err ? err : count;
}

/* The name of the module to take over from. */
static ssize_t replace_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t count)
{
	char name[MODULE_NAME_LEN];
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	if (strscpy(name, buf, sizeof(name)) < 0)
		return -EINVAL;
	err = plugsched_replace(strim(name));
	return err ? err : count;
}

static ssize_t state_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	const char *state = "inactive";

	if (READ_ONCE(plugsched_self.active))
		state = "active";
	else if (plugsched_rescued())
		state = "rolled back";
	return sysfs_emit(buf, "%s\n", state);
}

static ssize_t kernel_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s %s\n", plugsched_release, plugsched_build_id);
}

/* Milliseconds that a trial has left. */
static ssize_t try_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", plugsched_try_left());
}

/*
 * Inactive: how long the next update is a trial. Active: 0 confirms it. Neither
 * can make a scheduler that runs already go back later.
 */
static ssize_t try_store(struct kobject *kobj, struct kobj_attribute *attr,
			 const char *buf, size_t count)
{
	unsigned int ms;
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = kstrtouint(buf, 0, &ms);
	if (!err)
		err = plugsched_try(ms);
	return err ? err : count;
}

static ssize_t watchdog_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(plugsched_watchdog_ms));
}

/* Milliseconds, 0: off. */
static ssize_t watchdog_store(struct kobject *kobj, struct kobj_attribute *attr,
			      const char *buf, size_t count)
{
	unsigned int ms;
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = kstrtouint(buf, 0, &ms);
	if (!err)
		err = plugsched_set_watchdog(ms);
	return err ? err : count;
}

/* Go back at once, without relying on the scheduler; the text is the reason. */
static ssize_t rescue_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	plugsched_rescue(true, "asked for: %.*s", (int)min_t(size_t, count, 100), buf);
	return count;
}

/* Get ready to be unloaded; -ENOTEMPTY: leftovers says why it must not be. */
static ssize_t retire_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = plugsched_leave();
	return err ? err : count;
}

static ssize_t leftovers_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return plugsched_leftovers_show(buf);
}

static ssize_t data_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return plugsched_data_show(buf);
}

static u64 span(enum plugsched_time from, enum plugsched_time to)
{
	return last.time[to] - last.time[from];
}

static ssize_t show_last(char *buf)
{
	const struct { const char *name; u64 value; } figures[] = {
		{ "cpus", last.cpus },
		{ "threads", atomic_read(&last.threads) + atomic_read(&last.stopped) },
		{ "threads_stopped", atomic_read(&last.stopped) },
		{ "scan_ns", last.scan_ns },
		{ "stop_machine_ns", span(PLUGSCHED_T_ENTER, PLUGSCHED_T_LEFT) },
		{ "handler_ns", span(PLUGSCHED_T_STOPPED, PLUGSCHED_T_REBUILT) },
		{ "stack_check_ns", span(PLUGSCHED_T_STOPPED, PLUGSCHED_T_CHECKED) },
		{ "clear_ns", span(PLUGSCHED_T_CHECKED, PLUGSCHED_T_CLEARED) },
		{ "redirect_ns", span(PLUGSCHED_T_CLEARED, PLUGSCHED_T_REDIRECTED) },
		{ "rebuild_ns", span(PLUGSCHED_T_REDIRECTED, PLUGSCHED_T_REBUILT) },
	};
	unsigned int i;
	ssize_t n;

	n = sysfs_emit_at(buf, 0, "direction %s\n",
			  !last.to ? "remove" : last.from ? "replace" : "install");
	for (i = 0; i < ARRAY_SIZE(figures); i++)
		n += sysfs_emit_at(buf, n, "%s %llu\n", figures[i].name, figures[i].value);
	return n;
}

static ssize_t timings_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	ssize_t n;

	mutex_lock(&figures_lock);
	n = last_valid ? show_last(buf) : 0;
	mutex_unlock(&figures_lock);
	return n;
}

static struct kobj_attribute enable_attr = __ATTR(enable, 0600, enable_show, enable_store);
static struct kobj_attribute replace_attr = __ATTR(replace, 0200, NULL, replace_store);
static struct kobj_attribute rescue_attr = __ATTR(rescue, 0200, NULL, rescue_store);
static struct kobj_attribute retire_attr = __ATTR(retire, 0200, NULL, retire_store);
static struct kobj_attribute leftovers_attr = __ATTR(leftovers, 0400, leftovers_show, NULL);
static struct kobj_attribute data_attr = __ATTR_RO(data);
static struct kobj_attribute state_attr = __ATTR_RO(state);
static struct kobj_attribute kernel_attr = __ATTR_RO(kernel);
static struct kobj_attribute try_attr = __ATTR(try, 0644, try_show, try_store);
static struct kobj_attribute watchdog_attr = __ATTR(watchdog, 0644, watchdog_show, watchdog_store);
static struct kobj_attribute timings_attr = __ATTR_RO(timings);

static struct attribute *plugsched_attrs[] = {
	&enable_attr.attr,
	&replace_attr.attr,
	&rescue_attr.attr,
	&retire_attr.attr,
	&leftovers_attr.attr,
	&data_attr.attr,
	&state_attr.attr,
	&kernel_attr.attr,
	&try_attr.attr,
	&watchdog_attr.attr,
	&timings_attr.attr,
	NULL,
};

static size_t show_busy(char *text, size_t size)
{
	size_t n = 0;
	unsigned int i, j;

	if (conflict[0])
		n += scnprintf(text, size, "function %s is hooked by something else\n", conflict);
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
	return n;
}

/* What forbade the last update. Symbols only: no addresses. */
static ssize_t busy_read(struct file *file, struct kobject *kobj,
			 struct bin_attribute *attr, char *buf, loff_t off, size_t count)
{
	const size_t size = PLUGSCHED_BUSY_MAX * (PLUGSCHED_BUSY_DEPTH + 1) * 160;
	ssize_t ret;
	char *text;
	size_t n;

	text = kvmalloc(size, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	mutex_lock(&figures_lock);
	n = show_busy(text, size);
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
	&plugsched_report_attr,
	NULL,
};

static const struct attribute_group plugsched_group = {
	.attrs = plugsched_attrs,
	.bin_attrs = plugsched_bin_attrs,
};

int plugsched_sysfs_init(void)
{
	int err;

	files = kobject_create_and_add("plugsched", &THIS_MODULE->mkobj.kobj);
	if (!files)
		return -ENOMEM;
	plugsched_self.files = files;
	err = sysfs_create_group(files, &plugsched_group);
	if (err)
		kobject_put(files);
	return err;
}

void plugsched_sysfs_exit(void)
{
	sysfs_remove_group(files, &plugsched_group);
	kobject_put(files);
}
