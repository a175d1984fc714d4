// SPDX-License-Identifier: BSD-3-Clause
/* The state file, and whether the load behind it is alive. */
#include "load.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct header *hdr;
struct slot *slots;

static void map_state(int fd, size_t size, const char *path)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		die(EXIT_FAILED, "%s: mmap: %s", path, strerror(errno));
	hdr = p;
	slots = (struct slot *)(hdr + 1);
}

void state_create(const char *path, unsigned int nslots)
{
	size_t size = sizeof(struct header) + nslots * sizeof(struct slot);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		die(EXIT_FAILED, "%s: %s", path, strerror(errno));
	/* Allocated now: a full tmpfs would otherwise be a SIGBUS in a worker. */
	errno = posix_fallocate(fd, 0, (off_t)size);
	if (errno == EOPNOTSUPP || errno == EINVAL)
		errno = ftruncate(fd, (off_t)size) ? errno : 0;
	if (errno) {
		int err = errno;

		unlink(path);
		die(EXIT_FAILED, "%s: %s", path, strerror(err));
	}
	map_state(fd, size, path);
	close(fd);
	hdr->version = STATE_VERSION;
	hdr->header_size = sizeof(struct header);
	hdr->slot_size = sizeof(struct slot);
	hdr->nslots = nslots;
	hdr->offlined_cpu = -1;
	hdr->start_ns = now_ns();
	memcpy(hdr->magic, STATE_MAGIC, sizeof(hdr->magic));
}

void state_open(const char *path, bool must_live)
{
	struct header h;
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		die(EXIT_NO_LOAD, "%s: no load runs here", path);
	if (fd < 0 || fstat(fd, &st))
		die(EXIT_FAILED, "%s: %s", path, strerror(errno));
	if (read(fd, &h, sizeof(h)) != sizeof(h) ||
	    memcmp(h.magic, STATE_MAGIC, sizeof(h.magic)) ||
	    h.version != STATE_VERSION || h.nslots > MAX_SLOTS ||
	    (size_t)st.st_size < sizeof(h) + h.nslots * sizeof(struct slot))
		die(EXIT_NO_LOAD, "%s: not a schedload state file of this version", path);
	map_state(fd, (size_t)st.st_size, path);
	close(fd);
	if (must_live && !supervisor_alive())
		die(EXIT_FAILED, "%s: the supervisor (pid %d) is gone, and the load with it",
		    path, hdr->supervisor);
}

/* tid 0 asks for the process. Returns 0 or a negative errno. */
int proc_stat(pid_t pid, pid_t tid, char *state, pid_t *session, uint64_t *start)
{
	char path[64], buf[1024], *p;
	unsigned long long when;
	int ses;
	char st;
	ssize_t n;

	if (tid)
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	else
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = read_file(path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	p = strrchr(buf, ')');
	if (!p || sscanf(p + 1, " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u"
			 " %*d %*d %*d %*d %*d %*d %llu", &st, &ses, &when) != 3)
		return -EIO;
	if (state)
		*state = st;
	if (session)
		*session = ses;
	if (start)
		*start = when;
	return 0;
}

bool supervisor_alive(void)
{
	uint64_t start;
	char state;

	return hdr->supervisor > 0 &&
	       !proc_stat(hdr->supervisor, 0, &state, NULL, &start) &&
	       start == hdr->supervisor_start && state != 'Z' && state != 'X';
}

/*
 * Counts the living processes of a session, except one, and sends each sig
 * (if not 0). Workers never leave the session, so none can hide.
 */
unsigned int session_members(pid_t sid, pid_t except, int sig, char *names, size_t size)
{
	DIR *d = opendir("/proc");
	unsigned int n = 0;
	struct dirent *e;
	size_t len = 0;

	if (size)
		names[0] = '\0';
	if (!d)
		return 0;
	while ((e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10), session;
		char state;

		if (pid <= 0 || pid == except || proc_stat(pid, 0, &state, &session, NULL))
			continue;
		if (session != sid || state == 'Z' || state == 'X')
			continue;
		n++;
		if (sig)
			kill(pid, sig);
		if (len + 16 < size)
			len += (size_t)snprintf(names + len, size - len, " %d", pid);
	}
	closedir(d);
	return n;
}
