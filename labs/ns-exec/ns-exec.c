/* SPDX-License-Identifier: MIT */
/*
 * ns-exec - what does execve(2) do to a process and its namespaces?
 *
 * A shell runs the command unshare(1), played here by two actors. The first moves
 * into a new UTS namespace, and the program that was asked for replaces it. The
 * second does what --fork is for: it makes a PID namespace and a child therein;
 * the program replaces the child, and the parent stays where it was.
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lab.h"

/* The hostname as this process sees it; see uname(2). */
static const char *hostname(void)
{
	static struct utsname uts;

	uname(&uts);
	return uts.nodename;
}

static void unshare_plain(void)
{
	step("The shell has forked. Its child, which runs unshare, moves.");
	observe("unshare.pid", "%d", getpid());
	observe("unshare.parent", "%d", getppid());
	CALL(unshare(isolate(CLONE_NEWUTS)));
	observe("unshare.uts", "%lu", ns_id("uts"));

	step("Then unshare has itself replaced by the program that was asked for.");
	become("sh");
}

static void sh(void)
{
	observe("sh.program", "%s", read_file("/proc/self/cmdline"));
	observe("sh.pid", "%d", getpid());
	observe("sh.parent", "%d", getppid());
	observe("sh.uts", "%lu", ns_id("uts"));
	CALL(sethostname("inside", 6));
	tell(PARENT, "I am another program now");
	hear(PARENT, "exit");
}

static void forked(void)
{
	step("The child was born there. Now the program replaces it.");
	observe("child.pid", "%d", getpid());
	become("init");
}

static void init(void)
{
	observe("init.program", "%s", read_file("/proc/self/cmdline"));
	observe("init.pid", "%d", getpid());
	observe("init.parent", "%d", getppid());
	observe("init.pidns", "%lu", ns_id("pid"));
	tell(PARENT, "I am another program now");
	hear(PARENT, "exit");
}

static void unshare_fork(void)
{
	char status[32];
	struct peer *kid;

	step("With --fork: a PID namespace is for children, so unshare makes one.");
	observe("unshare-f.pid", "%d", getpid());
	observe("unshare-f.parent", "%d", getppid());
	CALL(unshare(isolate(CLONE_NEWPID)));
	kid = spawn("child", 0, forked);
	hear(kid, "I am another program now");

	step("Meanwhile unshare is still there, between the shell and the program.");
	snprintf(status, sizeof(status), "/proc/%d/status", pid_of(kid));
	observe("unshare-f.child.parent", "%s", read_field(status, "PPid"));
	observe("unshare-f.pidns", "%lu", ns_id("pid"));
	observe("unshare-f.for-children", "%lu", ns_id("pid_for_children"));
	tell(kid, "exit");
	join(kid);
}

static void shell(void)
{
	struct peer *kid;

	step("A shell, before it runs anything.");
	CALL(sethostname("outside", 7));
	observe("shell.pid", "%d", getpid());
	observe("shell.uts", "%lu", ns_id("uts"));
	observe("shell.pidns", "%lu", ns_id("pid"));

	kid = spawn("unshare", 0, unshare_plain);
	hear(kid, "I am another program now");
	step("The new program lives, and has renamed its machine. The shell looks.");
	observe("shell.hostname", "%s", hostname());
	observe("shell.uts.later", "%lu", ns_id("uts"));
	tell(kid, "exit");
	join(kid);

	join(spawn("unshare-f", 0, unshare_fork));
}

/* A fresh image remembers nothing; its name tells what it is to do. */
static void after_exec(void)
{
	if (strcmp(program_invocation_name, "sh") == 0)
		sh();
	else
		init();
}

static const struct claim claims[] = {
	PREMISE("replaced",
		"execve(2) puts another program in the place of unshare",
		"sh.program", IS, "sh"),
	PREMISE("same-pid", "in the same process: the PID is that of unshare",
		"sh.pid", SAME_AS, "unshare.pid"),
	PREMISE("same-parent", "and the parent is the shell, with nobody between",
		"sh.parent", SAME_AS, "shell.pid"),
	CLAIM("moved", "unshare had left the UTS namespace of the shell",
	      "unshare.uts", DIFFERS_FROM, "shell.uts"),
	CLAIM("kept", "so has the program: execve(2) does not bring it back",
	      "sh.uts", DIFFERS_FROM, "shell.uts"),
	PREMISE("same-uts", "it is in the namespace that unshare had made",
		"sh.uts", SAME_AS, "unshare.uts"),
	CLAIM("unmoved", "its renaming does not reach the shell", "shell.hostname",
	      IS, "outside"),
	PREMISE("shell-stays", "which never left its namespace", "shell.uts.later",
		SAME_AS, "shell.uts"),

	PREMISE("stays",
		"with --fork, unshare itself stays in the old PID namespace",
		"unshare-f.pidns", SAME_AS, "shell.pidns"),
	CLAIM("apart", "while the program is in a new one", "init.pidns",
	      DIFFERS_FROM, "unshare-f.pidns"),
	PREMISE("for-children", "the one that unshare has for its children",
		"init.pidns", SAME_AS, "unshare-f.for-children"),
	CLAIM("first", "there the child has PID 1", "child.pid", IS, "1"),
	PREMISE("replaced-too", "which is replaced, like unshare before it",
		"init.program", IS, "init"),
	CLAIM("first-too", "and the new program has PID 1 as well", "init.pid", IS,
	      "1"),
	CLAIM("orphan", "which sees no parent", "init.parent", IS, "0"),
	PREMISE("between", "but unshare is its parent, seen from the old namespace",
		"unshare-f.child.parent", SAME_AS, "unshare-f.pid"),
	PREMISE("between-too", "and the shell is the parent of unshare",
		"unshare-f.parent", SAME_AS, "shell.pid"),
	{ 0 },
};

static const struct lab lab = {
	.name = "ns-exec",
	.rung = 40,
	.question = "What does execve(2) do to a process and its namespaces?",
	.namespaces = CLONE_NEWUTS,
	.proc = true,
	.first = "shell",
	.story = shell,
	.after_exec = after_exec,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
