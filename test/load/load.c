// SPDX-License-Identifier: BSD-3-Clause
/* schedload: a scheduler load whose every worker counts its progress. */
#include "load.h"

#include <getopt.h>

static const char usage_text[] =
"usage: schedload start  [--state FILE] [--spec SPEC] [--cgroup-root DIR] [--timeout SECONDS]\n"
"       schedload check  [--state FILE] [--seconds N | --within N] [--json]\n"
"       schedload quota  [--state FILE] [--seconds N] [--json]\n"
"       schedload stop   [--state FILE]\n"
"       schedload threads\n"
"       schedload kinds\n"
"\n"
"start   runs the load in the background; returns once every worker has progressed\n"
"check   fails unless every worker progresses within N seconds (default 5), without errors;\n"
"        with --within, it ends as soon as all have\n"
"quota   compares the CPU use of each quota cgroup with its limit over N seconds (default 10)\n"
"stop    ends the load and verifies that no process and no cgroup is left\n"
"threads prints how many threads the system has\n"
"kinds   lists the kinds of load with their defaults\n"
"\n"
"SPEC is a comma-separated list of presets (default, light, storm, none) and items\n"
"KIND=COUNT[/PERIOD_MS], quota=PERCENT:HOGS[+PERCENT:HOGS...]; later ones win.\n"
"FILE is /run/load unless given. Exit status: 0 good, 1 not, 2 usage, 3 no such load,\n4 too little CPU to judge (quota).\n";

struct options {
	const char *state, *spec, *cgroot;
	unsigned int seconds, timeout;
	bool soon, json;
};

static unsigned int seconds_arg(const char *name, const char *text, unsigned int min)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < min || n > 86400)
		die(EXIT_USAGE, "--%s %s: want %u to 86400", name, text, min);
	return (unsigned int)n;
}

static void parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "state", required_argument, NULL, 's' },
		{ "spec", required_argument, NULL, 'p' },
		{ "cgroup-root", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 'n' },
		{ "within", required_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->state = optarg;
			break;
		case 'p':
			o->spec = optarg;
			break;
		case 'c':
			o->cgroot = optarg;
			break;
		case 'n':
			o->seconds = seconds_arg("seconds", optarg, 2);
			break;
		case 'w':
			o->seconds = seconds_arg("within", optarg, 2);
			o->soon = true;
			break;
		case 't':
			o->timeout = seconds_arg("timeout", optarg, 1);
			break;
		case 'j':
			o->json = true;
			break;
		default:
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		die(EXIT_USAGE, "unexpected argument '%s'", argv[optind]);
}

int main(int argc, char **argv)
{
	struct options o = {
		.state = "/run/load",
		.spec = "default",
		.cgroot = "/sys/fs/cgroup",
		.timeout = 180,
	};
	const char *cmd = argc > 1 ? argv[1] : "";

	if (!strcmp(cmd, "exec-child"))
		return 0;
	if (!strcmp(cmd, "help") || !strcmp(cmd, "--help") || !strcmp(cmd, "-h")) {
		fputs(usage_text, stdout);
		return EXIT_OK;
	}
	if (argc < 2) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	parse_options(&o, argc - 1, argv + 1);
	if (!strcmp(cmd, "start"))
		return cmd_start(o.state, o.spec, o.cgroot, o.timeout);
	if (!strcmp(cmd, "check"))
		return cmd_check(o.state, o.seconds ? o.seconds : 5, o.soon, o.json);
	if (!strcmp(cmd, "quota"))
		return cmd_quota(o.state, o.seconds ? o.seconds : 10, o.json);
	if (!strcmp(cmd, "stop"))
		return cmd_stop(o.state);
	if (!strcmp(cmd, "kinds")) {
		spec_list();
		return EXIT_OK;
	}
	if (!strcmp(cmd, "threads")) {
		printf("%ld\n", total_threads());
		return EXIT_OK;
	}
	die(EXIT_USAGE, "no command '%s' (see schedload help)", cmd);
}
