// SPDX-License-Identifier: BSD-3-Clause
/* The load's own subtree of cgroup v2, and CPUs on and off line. */
#include "load.h"

#include <dirent.h>
#include <libgen.h>
#include <sys/stat.h>

static void cg_path(char *buf, size_t size, const char *name, const char *file)
{
	snprintf(buf, size, "%s%s%s%s%s", hdr->cgroup, *name ? "/" : "", name,
		 *file ? "/" : "", file);
}

static int enable(const char *dir, const char *controller)
{
	char path[160], text[32];
	int err;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	snprintf(text, sizeof(text), "+%s", controller);
	err = write_file(path, text);
	if (err)
		snprintf(hdr->message, sizeof(hdr->message), "%s: cannot enable %s: %.40s",
			 path, controller, strerror(-err));
	return err;
}

/* Makes ROOT/schedload-NAME with its controllers; explains in hdr->message. */
int cg_open_root(const char *root, const char *state, bool cpuset)
{
	char path[256], copy[256];
	int err;

	snprintf(path, sizeof(path), "%s/cgroup.controllers", root);
	if (access(path, R_OK)) {
		snprintf(hdr->message, sizeof(hdr->message),
			 "%s: no cgroup v2 here: mount it, or leave out the kinds that need it", root);
		return -ENOENT;
	}
	snprintf(copy, sizeof(copy), "%s", state);
	if ((size_t)snprintf(path, sizeof(path), "%s/schedload-%s", root, basename(copy)) >=
	    sizeof(hdr->cgroup)) {
		snprintf(hdr->message, sizeof(hdr->message), "%s: name too long", root);
		return -ENAMETOOLONG;
	}
	memcpy(hdr->cgroup, path, strlen(path) + 1);
	err = cg_remove_all();
	if (!err && mkdir(hdr->cgroup, 0755))
		err = -errno;
	if (err) {
		snprintf(hdr->message, sizeof(hdr->message), "%s: %s", hdr->cgroup, strerror(-err));
		return err;
	}
	err = enable(root, "cpu");
	if (!err)
		err = enable(hdr->cgroup, "cpu");
	if (!err && cpuset)
		err = enable(root, "cpuset");
	if (!err && cpuset)
		err = enable(hdr->cgroup, "cpuset");
	return err;
}

int cg_make(const char *name)
{
	char path[256];

	cg_path(path, sizeof(path), name, "");
	return mkdir(path, 0755) ? -errno : 0;
}

int cg_write(const char *name, const char *file, const char *fmt, ...)
{
	char path[256], text[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cg_path(path, sizeof(path), name, file);
	return write_file(path, text);
}

int cg_read(const char *name, const char *file, char *buf, size_t size)
{
	char path[256];
	ssize_t n;

	cg_path(path, sizeof(path), name, file);
	n = read_file(path, buf, size);
	return n < 0 ? (int)n : 0;
}

/* Reads one value of a "key value" file such as cpu.stat. */
int cg_read_key(const char *name, const char *file, const char *key, uint64_t *val)
{
	size_t len = strlen(key);
	char buf[2048], *p;
	int err = cg_read(name, file, buf, sizeof(buf));

	if (err)
		return err;
	for (p = buf; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, key, len) && p[len] == ' ') {
			*val = strtoull(p + len, NULL, 10);
			return 0;
		}
	}
	return -ENODATA;
}

/* A task that has just exited may hold its cgroup for a moment. */
int cg_remove(const char *name)
{
	char path[256];

	cg_path(path, sizeof(path), name, "");
	for (int tries = 0;; tries++) {
		if (!rmdir(path) || errno == ENOENT)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EBUSY || tries == 200)
			return -errno;
		sleep_ns(10 * NSEC_PER_MSEC);
	}
}

/* Removes the whole subtree, two levels deep as the load makes it. */
int cg_remove_all(void)
{
	DIR *d = opendir(hdr->cgroup);
	struct dirent *e;
	int err = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		err = cg_remove(e->d_name);
		if (err)
			break;
	}
	closedir(d);
	return err ? err : cg_remove("");
}

bool cpu_online(unsigned int cpu)
{
	char path[64], buf[8];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	/* A CPU that cannot go away has no such file. */
	return read_file(path, buf, sizeof(buf)) <= 0 || buf[0] == '1';
}

/* Undoes what a killed hotplug worker may have left. */
int online_all_cpus(void)
{
	char path[64];

	if (hdr->offlined_cpu < 0)
		return 0;
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", hdr->offlined_cpu);
	return cpu_online((unsigned int)hdr->offlined_cpu) ? 0 : write_file(path, "1");
}
