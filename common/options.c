/* SPDX-License-Identifier: MIT */
/* options.c - the command line of every lab. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor.h"
#include "errname.h"
#include "options.h"
#include "trace.h"

#ifndef NSLABS_VERSION
#define NSLABS_VERSION "unknown"
#endif

#define USAGE_ERROR 2
#define LIST_BYTES 65536

static const char options_help[] =
	"  --control              leave the namespace out: every claim must fail\n"
	"  --format=text|ktap|json  for people, for test harnesses, for programs\n"
	"  --step                 wait for a line on standard input at each step\n"
	"  --stage=user|root|auto   where to play: without root, as root, or as can be\n"
	"  --claims               list the claims and run nothing\n"
	"  --timeout=SECONDS      give up after that (10)\n"
	"  --help, --version\n"
	"\n"
	"Exit status: 0 agrees, 1 disagrees, 4 skipped, 99 broken, 2 wrong usage.\n";

/* Print, and tell success only if all of it was written. */
static int print(const char *text, const struct lab *lab)
{
	if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
		return 0;
	fprintf(stderr, "%s: writing to standard output failed with %s (%s)\n",
		lab->name, errno_name(errno), strerror(errno));
	return BROKEN;
}

static int help(const struct lab *lab)
{
	char text[4096];

	snprintf(text, sizeof(text), "Usage: %s [OPTION]...\n%s\n\n%s%s%s",
		 lab->name, lab->question, options_help, lab->tool ? "\n" : "",
		 lab->tool ? lab->tool_help : "");
	return print(text, lab);
}

static int version(const struct lab *lab)
{
	char text[128];

	snprintf(text, sizeof(text), "%s (nslabs) %s\n", lab->name, NSLABS_VERSION);
	return print(text, lab);
}

static int list_claims(const struct lab *lab, enum format format)
{
	static char bytes[LIST_BYTES];
	struct out out = { .bytes = bytes, .room = sizeof(bytes) };

	switch (format) {
	case FORMAT_TEXT:
		list_text(&out, lab);
		break;
	case FORMAT_KTAP:
		list_ktap(&out, lab);
		break;
	case FORMAT_JSON:
		list_json(&out, lab);
		break;
	}
	return print(bytes, lab);
}

/* The index of a word in a list that ends with NULL, or -1 after a complaint. */
static int choose(const struct lab *lab, const char *option, const char *word,
		  const char *const words[])
{
	for (int i = 0; words[i]; i++)
		if (strcmp(word, words[i]) == 0)
			return i;
	fprintf(stderr, "%s: --%s takes", lab->name, option);
	for (int i = 0; words[i]; i++)
		fprintf(stderr, "%s %s", i ? " or" : "", words[i]);
	fprintf(stderr, ", not \"%s\"\n", word);
	return -1;
}

static bool is_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return strcasestr(value, "utf-8") ||
			       strcasestr(value, "utf8");
	}
	return false;
}

static bool wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) &&
	       !(term && strcmp(term, "dumb") == 0);
}

/*
 * Where a standard stream is closed its number would go to a socket of ours, which
 * then got our output. A path alone holds the place and can be neither read nor
 * written: see O_PATH in open(2).
 */
static void hold_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/", O_PATH);
}

int lab_main(int argc, char **argv, const struct lab *lab)
{
	static const char *const formats[] = { "text", "ktap", "json", NULL };
	static const char *const stages[] = { "auto", "user", "root", NULL };
	static const struct option names[] = {
		{ "control", no_argument, NULL, 'c' },
		{ "format", required_argument, NULL, 'f' },
		{ "step", no_argument, NULL, 's' },
		{ "stage", required_argument, NULL, 'S' },
		{ "claims", no_argument, NULL, 'l' },
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	struct options opt = { .timeout = 10 };
	bool claims = false;
	char *end;
	int c, choice;

	hold_standard_streams();
	actor_resume(lab);
	if (lab->tool && argc > 1 && strcmp(argv[1], lab->tool) == 0)
		return lab->run_tool(argc - 1, argv + 1);

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		choice = 0;
		switch (c) {
		case 'c':
			opt.control = true;
			break;
		case 'f':
			choice = choose(lab, "format", optarg, formats);
			opt.format = (enum format)choice;
			break;
		case 's':
			opt.step = true;
			break;
		case 'S':
			choice = choose(lab, "stage", optarg, stages);
			opt.stage = (enum stage_choice)choice;
			break;
		case 'l':
			claims = true;
			break;
		case 't':
			opt.timeout = strtod(optarg, &end);
			if (end == optarg || *end || !(opt.timeout > 0) ||
			    opt.timeout > 1e6) {
				fprintf(stderr,
					"%s: --timeout takes seconds above 0, not \"%s\"\n",
					lab->name, optarg);
				choice = -1;
			}
			break;
		case 'h':
			return help(lab);
		case 'V':
			return version(lab);
		default:
			choice = -1;
		}
		if (choice < 0) {
			fprintf(stderr, "Try '%s --help'.\n", lab->name);
			return USAGE_ERROR;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected \"%s\"\nTry '%s --help'.\n",
			lab->name, argv[optind], lab->name);
		return USAGE_ERROR;
	}
	if (claims)
		return list_claims(lab, opt.format);
	opt.colour = wants_colour();
	opt.unicode = is_utf8();
	opt.prompt = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	return supervise(lab, &opt);
}
