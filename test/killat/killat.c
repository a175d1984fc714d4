// SPDX-License-Identifier: BSD-3-Clause
/*
 * killat runs a command and kills it at its Nth system call stop: entry (the call
 * is not made) and exit (it is made, but the command never hears of it) are stops
 * of their own. With N = 1, 2, ... a test meets every state that a command which
 * is killed can leave behind.
 *
 *	killat [-e] [-l] [-k N] COMMAND [ARGUMENT...]
 *	-e	only count calls that can have an effect outside of the command
 *	-l	list the stops
 *
 * All threads and child processes are followed; whatever the command leaves behind
 * ends with killat. Its own words go to stderr, one line for each stop and one at
 * the end. Exit status: 0 the command ended before stop N, 9 it was killed, 127 it
 * could not be run, 1 tracing failed, 2 usage. Kernel 5.3 (PTRACE_GET_SYSCALL_INFO).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_KILLED = 9, EXIT_NO_COMMAND = 127 };

/* Which argument tells what a call is about, and whether it has an effect. */
enum about { NOTHING, FD, PATH0, PATH1 };

struct call {
	long nr;
	const char *name;
	enum about about;
	int flags;	/* the argument with open flags, or 0 */
};

/* Calls that change something that outlives the command. */
static const struct call calls[] = {
	{ SYS_init_module, "init_module", NOTHING, 0 },
	{ SYS_finit_module, "finit_module", FD, 0 },
	{ SYS_delete_module, "delete_module", PATH0, 0 },
	{ SYS_open, "open", PATH0, 1 },
	{ SYS_openat, "openat", PATH1, 2 },
	{ SYS_creat, "creat", PATH0, 0 },
	{ SYS_write, "write", FD, 0 },
	{ SYS_pwrite64, "pwrite64", FD, 0 },
	{ SYS_writev, "writev", FD, 0 },
	{ SYS_ftruncate, "ftruncate", FD, 0 },
	{ SYS_fsync, "fsync", FD, 0 },
	{ SYS_flock, "flock", FD, 0 },
	{ SYS_unlink, "unlink", PATH0, 0 },
	{ SYS_unlinkat, "unlinkat", PATH1, 0 },
	{ SYS_rename, "rename", PATH0, 0 },
	{ SYS_renameat, "renameat", PATH1, 0 },
	{ SYS_renameat2, "renameat2", PATH1, 0 },
	{ SYS_mkdir, "mkdir", PATH0, 0 },
	{ SYS_mkdirat, "mkdirat", PATH1, 0 },
	{ SYS_sched_setaffinity, "sched_setaffinity", NOTHING, 0 },
	{ SYS_sched_setscheduler, "sched_setscheduler", NOTHING, 0 },
	{ SYS_sched_setattr, "sched_setattr", NOTHING, 0 },
	{ SYS_setpriority, "setpriority", NOTHING, 0 },
	{ SYS_bpf, "bpf", NOTHING, 0 },
};

/* A thread between the entry of a call and its exit. */
struct thread {
	pid_t tid;	/* 0: free */
	bool counted;
	char text[PATH_MAX + 64];
};

static struct thread *threads;
static size_t nr_threads;

static bool only_effective, list;
static unsigned long stop_at, stops;

static pid_t root;	/* the command */
static bool started;	/* it has been executed */
static bool killed;

static void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "killat: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(1);
}

static struct thread *find_thread(pid_t tid)
{
	for (size_t i = 0; i < nr_threads; i++)
		if (threads[i].tid == tid)
			return &threads[i];
	return NULL;
}

static struct thread *get_thread(pid_t tid)
{
	struct thread *t = find_thread(tid);

	if (!t)
		t = find_thread(0);
	if (!t) {
		size_t n = nr_threads ? 2 * nr_threads : 16;

		threads = realloc(threads, n * sizeof(*threads));
		if (!threads)
			die("memory for %zu threads", n);
		memset(&threads[nr_threads], 0, (n - nr_threads) * sizeof(*threads));
		t = &threads[nr_threads];
		nr_threads = n;
	}
	t->tid = tid;
	return t;
}

static void forget_thread(pid_t tid)
{
	struct thread *t = find_thread(tid);

	if (t)
		t->tid = 0;
}

static const struct call *find_call(long nr)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (calls[i].nr == nr)
			return &calls[i];
	return NULL;
}

/* A string of a tracee, as far as it can be read: up to the end of its page or two. */
static void read_string(pid_t tid, uint64_t addr, char *out, size_t size)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	size_t n = 0;

	while (n + 1 < size) {
		size_t part = page - (addr + n) % page;
		struct iovec to, from;

		if (part > size - 1 - n)
			part = size - 1 - n;
		to = (struct iovec){ out + n, part };
		from = (struct iovec){ (void *)(uintptr_t)(addr + n), part };
		if (process_vm_readv(tid, &to, 1, &from, 1, 0) != (ssize_t)part)
			break;
		if (memchr(out + n, 0, part))
			return;
		n += part;
	}
	out[n] = 0;
}

static void read_fd(pid_t tid, int fd, char *out, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", tid, fd);
	n = readlink(link, out, size - 1);
	out[n > 0 ? n : 0] = 0;
}

/* What a call is about: a path, or "". */
static void read_subject(pid_t tid, const struct call *c, const uint64_t *args, char *out, size_t size)
{
	switch (c->about) {
	case NOTHING:
		out[0] = 0;
		break;
	case FD:
		read_fd(tid, args[0], out, size);
		break;
	case PATH0:
		read_string(tid, args[0], out, size);
		break;
	case PATH1:
		read_string(tid, args[1], out, size);
		break;
	}
}

static bool below(const char *path, const char *dir)
{
	return !strncmp(path, dir, strlen(dir));
}

static bool effective(const struct call *c, const uint64_t *args, const char *subject)
{
	if (!c)
		return false;
	if (c->flags)
		return args[c->flags] & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
	if (c->nr == SYS_write || c->nr == SYS_pwrite64 || c->nr == SYS_writev)
		return below(subject, "/sys/") || below(subject, "/run/");
	if (c->nr == SYS_bpf)	/* what is only loaded goes with the command */
		return args[0] == BPF_OBJ_PIN || args[0] == BPF_LINK_CREATE || args[0] == BPF_LINK_DETACH;
	return true;
}

static void entry(pid_t tid, uint64_t nr, const uint64_t *args)
{
	struct thread *t = get_thread(tid);
	const struct call *c = find_call(nr);
	char subject[PATH_MAX] = "";

	if (c) {
		read_subject(tid, c, args, subject, sizeof(subject));
		snprintf(t->text, sizeof(t->text), "%s(%s)", c->name, subject);
	} else {
		snprintf(t->text, sizeof(t->text), "syscall %llu", (unsigned long long)nr);
	}
	t->counted = !only_effective || effective(c, args, subject);
}

/*
 * A process that is killed at the entry of a call does not make it: all that are
 * known go together. Those not seen yet are killed at their next stop.
 */
static void kill_all(void)
{
	killed = true;
	kill(root, SIGKILL);
	for (size_t i = 0; i < nr_threads; i++)
		if (threads[i].tid)
			kill(threads[i].tid, SIGKILL);
}

/* One stop at a system call. Kills the command if it is the one to do so. */
static void syscall_stop(pid_t tid)
{
	struct __ptrace_syscall_info info;
	struct thread *t;
	const char *phase = "exit";

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0) {
		if (errno == ESRCH)
			return;
		die("PTRACE_GET_SYSCALL_INFO");
	}
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		phase = "entry";
		entry(tid, info.entry.nr, info.entry.args);
	}
	t = find_thread(tid);
	/* The exit of a call whose entry was not seen, such as clone or execve, is none. */
	if (!started || !t || !t->counted)
		return;
	if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
		t->counted = false;
	stops++;
	if (list)
		fprintf(stderr, "killat: stop %lu: %s of %s by thread %d\n", stops, phase, t->text, tid);
	if (stops == stop_at) {
		kill_all();
		fprintf(stderr, "killat: killed at stop %lu: %s of %s by thread %d\n", stops, phase, t->text, tid);
	}
}

/* Handles a stop and lets the thread go on. */
static void stopped(pid_t tid, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;
	int request = PTRACE_SYSCALL, deliver = 0;

	if (killed) {
		kill(tid, SIGKILL);	/* ends the stop, too */
		return;
	}
	if (sig == (SIGTRAP | 0x80)) {
		syscall_stop(tid);
	} else if (event == PTRACE_EVENT_EXEC) {
		forget_thread(tid);
		started = started || tid == root;
	} else if (event == PTRACE_EVENT_STOP && sig != SIGTRAP) {
		request = PTRACE_LISTEN;	/* a group stop: it ends with SIGCONT */
	} else if (!event) {
		deliver = sig;
	}
	if (!killed && ptrace(request, tid, 0, deliver) && errno != ESRCH)
		die("ptrace of thread %d", tid);
}

static int ended(int status)
{
	if (killed)
		return EXIT_KILLED;
	if (!started)
		return EXIT_NO_COMMAND;
	if (WIFSIGNALED(status))
		fprintf(stderr, "killat: ended by signal %d after %lu stops\n", WTERMSIG(status), stops);
	else
		fprintf(stderr, "killat: ended with status %d after %lu stops\n", WEXITSTATUS(status), stops);
	return 0;
}

static int follow(void)
{
	for (;;) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0) {
			if (errno == EINTR)
				continue;
			die("wait");
		}
		if (WIFSTOPPED(status)) {
			stopped(tid, status);
			continue;
		}
		forget_thread(tid);
		if (tid == root)
			return ended(status);
	}
}

/* The child waits until it is traced. */
static void start(char **argv)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			     PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int gate[2];
	char c;

	if (pipe2(gate, O_CLOEXEC))
		die("pipe");
	root = fork();
	if (root < 0)
		die("fork");
	if (!root) {
		close(gate[1]);
		if (read(gate[0], &c, 1) != 1)
			_exit(1);
		execvp(argv[0], argv);
		fprintf(stderr, "killat: %s: %s\n", argv[0], strerror(errno));
		_exit(EXIT_NO_COMMAND);
	}
	close(gate[0]);
	if (ptrace(PTRACE_SEIZE, root, 0, options))
		die("PTRACE_SEIZE");
	/* From its first stop on, every resumption is to the next system call. */
	if (ptrace(PTRACE_INTERRUPT, root, 0, 0))
		die("PTRACE_INTERRUPT");
	if (write(gate[1], "", 1) != 1)
		die("write");
	close(gate[1]);
}

static void usage(void)
{
	fprintf(stderr, "usage: killat [-e] [-l] [-k N] COMMAND [ARGUMENT...]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	char *end;
	int opt;

	while ((opt = getopt(argc, argv, "+elk:")) >= 0) {
		switch (opt) {
		case 'e':
			only_effective = true;
			break;
		case 'l':
			list = true;
			break;
		case 'k':
			stop_at = strtoul(optarg, &end, 10);
			if (!stop_at || *end)
				usage();
			break;
		default:
			usage();
		}
	}
	if (optind == argc)
		usage();
	start(argv + optind);
	return follow();
}
