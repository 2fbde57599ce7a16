/* SPDX-License-Identifier: MIT */
/*
 * pid-nested - how many numbers has a process, and who sees whom?
 *
 * The host starts ns1 in a new PID namespace, and ns1 starts ns2 in one below its
 * own; each gives its machine a name. A process has a number in its own namespace
 * and in every one above. So those above see those below, and can signal them;
 * never the other way round. At the end: how deep can it go?
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

#define NEW_NS (CLONE_NEWPID | CLONE_NEWUTS)
#define MORE "as root: sysctl user.max_pid_namespaces=10000"

static pid_t host_pid, ns2_pid; /* as the host counts */
static int above;		/* PID namespaces above the host that /proc knows */

/* The hostname as this process sees it. */
static const char *hostname(void)
{
	static struct utsname uts;

	uname(&uts);
	return uts.nodename;
}

/* The numbers of this process, from the host's on down: NSpid of proc(5). */
static const char *my_pids(void)
{
	static char pids[512];
	const char *line = read_field("/proc/self/status", "NSpid");

	for (int i = 0; line && i < above; i++)
		line = strchr(line, '\t') + 1;
	if (!line)
		broken("no NSpid in /proc/self/status; is /proc mounted?");
	snprintf(pids, sizeof(pids), "%s", line);
	for (char *tab = pids; (tab = strchr(tab, '\t'));)
		*tab = ' ';
	return pids;
}

static int count(const char *pids)
{
	int n = 1;

	while ((pids = strchr(pids, ' ')))
		pids++, n++;
	return n;
}

/* --- Three levels ---------------------------------------------------------- */

static void ns2(void)
{
	siginfo_t from = { 0 };
	sigset_t usr1;

	step("ns2, in a namespace below a namespace, counts its own numbers.");
	CALL(sethostname("ns2", 3));
	observe("ns2.pids", "%s", my_pids());
	observe("ns2.levels", "%d", count(my_pids()));
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CALL(sigprocmask(SIG_BLOCK, &usr1, NULL));
	tell(PARENT, "%d", atoi(my_pids()));

	hear(PARENT, "look up");
	step("ns2 looks up: who signalled it? And does it see the host at all?");
	CALL(sigwaitinfo(&usr1, &from));
	observe("ns2.signalled.by", "%d", from.si_pid);
	observe("ns2.sees.host", "%s", errno_name(TRY(kill(host_pid, 0))));
}

static void ns1(void)
{
	struct peer *below;

	step("ns1 is the first process of a namespace below the host's.");
	CALL(sethostname("ns1", 3));
	observe("ns1.pids", "%s", my_pids());
	observe("ns1.levels", "%d", count(my_pids()));
	below = spawn("ns2", isolate(NEW_NS), ns2);
	tell(PARENT, "%s", hear_any(below));

	hear(PARENT, "look down");
	step("ns1, in the middle, looks down at ns2.");
	observe("ns1.hostname", "%s", hostname());
	observe("ns1.number.of.ns2", "%d", pid_of(below));
	tell(PARENT, "I have looked");
	hear(PARENT, "now ns2");
	tell(below, "look up");
	join(below);
}

/* --- How deep? ------------------------------------------------------------- */

#define MOST 33 /* levels to try */
#define SHARED (CLONE_VM | SIGCHLD)

static char stacks[MOST][16384] __attribute__((aligned(16)));
static int levels, deepest, refusal, reached[2];

/*
 * Start the next level, and stay. All levels share the memory of the process that
 * began (CLONE_VM), so it knows what the deepest one finds out.
 */
static int dig(void *unused)
{
	int next = ++levels;
	char *top = (char *)(stacks + next + 1);

	if (next == MOST ||
	    clone(dig, top, SHARED | isolate(CLONE_NEWPID), unused) < 0) {
		refusal = next == MOST ? 0 : errno;
		deepest = count(my_pids());
		if (write(reached[1], "", 1) != 1)
			_exit(1);
	}
	for (;;)
		pause();
}

/* /proc shows the kernel's own threads where it counts from the very top. */
static bool counts_from_the_top(void)
{
	const char *name = read_field("/proc/2/status", "Name");

	return name && strcmp(name, "kthreadd") == 0;
}

static void how_deep(void)
{
	struct pollfd levels_left = { .events = POLLIN };
	char word, *top = (char *)(stacks + 1); /* a stack grows downwards */
	pid_t first;
	int beside;

	step("How deep can it go? Each level starts the next, until one cannot.");
	CALL(pipe2(reached, O_CLOEXEC));
	first = NEED(clone(dig, top, SHARED | isolate(CLONE_NEWPID), NULL), MORE);
	close(reached[1]);
	if (read(reached[0], &word, 1) != 1)
		broken("all levels ended before the deepest was reached");
	observe("levels.below.host", "%d", deepest - count(my_pids()));
	observe("refusal", "%s", errno_name(refusal));
	if (counts_from_the_top())
		observe("levels", "%d", above + deepest - 1);
	else
		absent("levels",
		       "PID namespaces above this /proc are not seen here");

	step("All levels live. Was that too deep, or are there too many?");
	beside = TRY(unshare(isolate(CLONE_NEWPID)));
	if (beside == ENOSPC)
		skip("a limit of PID namespaces is reached; " MORE);
	observe("beside", "%s", errno_name(beside));
	observe("digger.namespace", "%lu", ns_id("pid"));
	observe("digger.children", "%lu",
		ns_id("pid_for_children")); /* 0: none yet */

	step("One signal, to the first of them. How many are left?");
	CALL(kill(first, SIGKILL));
	CALL(waitpid(first, NULL, 0));
	levels_left.fd = reached[0]; /* hung up when nobody holds the other end */
	CALL(poll(&levels_left, 1, 0));
	observe("left", "%s", levels_left.revents & POLLHUP ? "none" : "some");
}

static void host(void)
{
	struct peer *below;

	host_pid = getpid();
	above = count(my_pids()) - 1;
	step("The host gives its machine a name; ns1 and ns2 will do the same.");
	CALL(sethostname("host", 4));
	below = spawn("ns1", isolate(NEW_NS), ns1);
	ns2_pid = atoi(hear_any(below));

	step("The host looks down: under which numbers does it find ns1 and ns2?");
	observe("host.hostname", "%s", hostname());
	observe("host.pids", "%s", my_pids());
	observe("host.number.of.ns1", "%d", pid_of(below));
	observe("host.number.of.ns2", "%d", ns2_pid);
	tell(below, "look down");
	hear(below, "I have looked");
	CALL(kill(ns2_pid, SIGUSR1));
	tell(below, "now ns2");
	join(below);
	how_deep();
}

static const struct claim claims[] = {
	CLAIM("two", "ns1 has two numbers: the host's and its own", "ns1.levels",
	      IS, "2"),
	CLAIM("three", "ns2 has three, one for each level", "ns2.levels", IS, "3"),
	CLAIM("other-number", "ns1 and the host know ns2 by different numbers",
	      "ns1.number.of.ns2", DIFFERS_FROM, "host.number.of.ns2"),
	CLAIM("from-nobody", "a signal from above comes from number 0",
	      "ns2.signalled.by", IS, "0"),
	CLAIM("host-unseen", "ns2 cannot see the host", "ns2.sees.host", IS,
	      "ESRCH"),
	CLAIM("host-name", "the host keeps its hostname", "host.hostname", IS,
	      "host"),
	CLAIM("ns1-name", "and so does ns1", "ns1.hostname", IS, "ns1"),
	CLAIM("depth", "the deepest level is the 32nd below the initial namespace",
	      "levels", IS, "32"),
	CLAIM("refused", "a level more is refused with ENOSPC", "refusal", IS,
	      "ENOSPC"),
	PREMISE("beside", "though another, beside them, is not", "beside", IS, "0"),
	CLAIM("one-more", "and is there for the next child", "digger.children",
	      DIFFERS_FROM, "digger.namespace"),
	CLAIM("all-gone", "the end of the first level is the end of all below it",
	      "left", IS, "none"),
	{ 0 },
};

static const struct lab lab = {
	.name = "pid-nested",
	.rung = 90,
	.question = "How many numbers has a nested process, and who sees whom?",
	.namespaces = CLONE_NEWUTS,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
