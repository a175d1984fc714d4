// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's files, in /sys/module/NAME/plugsched/; /sys/kernel/plugsched leads to
 * those of the module whose scheduler runs.
 */
#include <linux/capability.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "plugsched.h"

static struct kobject *files;

static ssize_t enable_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(plugsched_self.active));
}

static ssize_t enable_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	bool on, force = sysfs_streq(buf, "force");
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = force ? 0 : kstrtobool(buf, &on);
	if (!err)
		err = !force && on ? plugsched_enable() : plugsched_disable(force);
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

/* Milliseconds, for one of the below. */
static ssize_t store_ms(const char *buf, size_t count, int (*set)(unsigned int ms))
{
	unsigned int ms;
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = kstrtouint(buf, 0, &ms);
	if (!err)
		err = set(ms);
	return err ? err : count;
}

static ssize_t state_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	const char *state = "inactive";

	if (READ_ONCE(plugsched_self.active))
		state = "active";
	else if (plugsched_rolled_back())
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
 * can make a scheduler that runs already roll back later.
 */
static ssize_t try_store(struct kobject *kobj, struct kobj_attribute *attr,
			 const char *buf, size_t count)
{
	return store_ms(buf, count, plugsched_try);
}

static ssize_t watchdog_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(plugsched_watchdog_ms));
}

/* Milliseconds, 0: off. */
static ssize_t watchdog_store(struct kobject *kobj, struct kobj_attribute *attr,
			      const char *buf, size_t count)
{
	return store_ms(buf, count, plugsched_set_watchdog);
}

/* Roll back at once, without relying on the scheduler; the text is the reason. */
static ssize_t rollback_store(struct kobject *kobj, struct kobj_attribute *attr,
			      const char *buf, size_t count)
{
	int err;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	err = plugsched_alarm(true, "asked for: %.*s", (int)min_t(size_t, count, 100), buf);
	return err ? err : count;
}

/* Whether it must stay loaded for good. */
static ssize_t pinned_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", plugsched_pinned());
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
	return plugsched_found_show(buf);
}

static ssize_t data_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return plugsched_data_show(buf);
}

static ssize_t layout_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return plugsched_layout_show(buf);
}

static ssize_t timings_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return plugsched_outcome_show(buf);
}

static struct kobj_attribute enable_attr = __ATTR(enable, 0600, enable_show, enable_store);
static struct kobj_attribute replace_attr = __ATTR(replace, 0200, NULL, replace_store);
static struct kobj_attribute rollback_attr = __ATTR(rollback, 0200, NULL, rollback_store);
static struct kobj_attribute pinned_attr = __ATTR_RO(pinned);
static struct kobj_attribute retire_attr = __ATTR(retire, 0200, NULL, retire_store);
static struct kobj_attribute leftovers_attr = __ATTR(leftovers, 0400, leftovers_show, NULL);
static struct kobj_attribute data_attr = __ATTR(data, 0400, data_show, NULL);
static struct kobj_attribute layout_attr = __ATTR(layout, 0400, layout_show, NULL);
static struct kobj_attribute state_attr = __ATTR_RO(state);
static struct kobj_attribute kernel_attr = __ATTR_RO(kernel);
static struct kobj_attribute try_attr = __ATTR(try, 0644, try_show, try_store);
static struct kobj_attribute watchdog_attr = __ATTR(watchdog, 0644, watchdog_show, watchdog_store);
static struct kobj_attribute timings_attr = __ATTR(timings, 0400, timings_show, NULL);

static struct attribute *plugsched_attrs[] = {
	&enable_attr.attr,
	&replace_attr.attr,
	&rollback_attr.attr,
	&pinned_attr.attr,
	&retire_attr.attr,
	&leftovers_attr.attr,
	&data_attr.attr,
	&layout_attr.attr,
	&state_attr.attr,
	&kernel_attr.attr,
	&try_attr.attr,
	&watchdog_attr.attr,
	&timings_attr.attr,
	NULL,
};

/* What forbade the last update. */
static ssize_t busy_read(struct file *file, struct kobject *kobj,
			 plugsched_bin_attribute *attr, char *buf, loff_t off, size_t count)
{
	return plugsched_outcome_read_busy(buf, off, count);
}

/* The names of the redirected functions, one a line. */
static ssize_t functions_read(struct file *file, struct kobject *kobj,
			      plugsched_bin_attribute *attr, char *buf, loff_t off, size_t count)
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
	.attr = { .name = "functions", .mode = 0400 },
	.read = functions_read,
};

static typeof(*((struct attribute_group *)NULL)->bin_attrs) plugsched_bin_attrs[] = {
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
