// SPDX-License-Identifier: BSD-3-Clause
#include "load.h"

#include <fcntl.h>

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cputime_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void sleep_ns(uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

void spin(void)
{
	for (unsigned int i = 0; i < 2000; i++)
		__asm__ volatile("" ::: "memory");
}

/* Bounded by wall time, so that a preempted worker does not add to the load. */
void burn_us(unsigned int us)
{
	uint64_t end = now_ns() + us * 1000ull;

	do {
		spin();
	} while (now_ns() < end);
}

void die(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("schedload: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(code);
}

/* Returns 0 or a negative errno. cgroupfs and sysfs want one write(2). */
int write_file(const char *path, const char *text)
{
	int fd, ret = 0;
	ssize_t n;

	do {
		fd = open(path, O_WRONLY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	do {
		n = write(fd, text, strlen(text));
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Returns the length, text terminated, or a negative errno. */
ssize_t read_file(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	do {
		fd = open(path, O_RDONLY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	while (len + 1 < size) {
		n = read(fd, buf + len, size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			n = -errno;
			close(fd);
			return n;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	buf[len] = '\0';
	return (ssize_t)len;
}

/* The fourth field of /proc/loadavg is "running/all", in threads. */
long total_threads(void)
{
	char buf[128], *slash;

	if (read_file("/proc/loadavg", buf, sizeof(buf)) <= 0)
		return -1;
	slash = strchr(buf, '/');
	return slash ? strtol(slash + 1, NULL, 10) : -1;
}

const char *errno_name(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "?";
}

void json_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}
