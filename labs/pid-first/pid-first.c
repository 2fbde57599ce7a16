/* SPDX-License-Identifier: MIT */
/*
 * pid-first - who is number 1 in a new PID namespace?
 *
 * Two tenants, red and blue, are each started in a new PID namespace. Both count
 * from 1, so the same number exists twice. Then the shell goes the other way, that
 * of `unshare --pid` without --fork: it asks for a new PID namespace, but stays
 * where it is. Its first child is number 1, and when that child ends, the
 * namespace takes nobody in any more.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

/* Stay until the parent has looked around. */
static void live(void)
{
	tell(PARENT, "I live");
	hear(PARENT, "you may go");
}

/* --- Two tenants ----------------------------------------------------------- */

static void red_child(void)
{
	observe("red.child.pid", "%d", getpid());
	live();
}

static void red(void)
{
	struct peer *child;

	step("The first process of a new PID namespace asks for its own number, and "
	     "for that of its parent, who has stayed outside.");
	observe("red.pid", "%d", getpid());
	observe("red.parent", "%d", getppid());
	child = spawn("red-child", 0, red_child);
	hear(child, "I live");
	live();
	tell(child, "you may go");
	join(child);
}

static void blue(void)
{
	step("A second namespace, beside the first, counts for itself.");
	observe("blue.pid", "%d", getpid());
	live();
}

/* --- The caller of unshare(2) ---------------------------------------------- */

/* "pid": where the caller is; "pid_for_children": where its next child will be. */
static unsigned long pid_namespace(const char *link)
{
	unsigned long inode = ns_id(link);

	if (inode == 0)
		broken("readlink(/proc/self/ns/%s): %s (%s); is /proc mounted?",
		       link, errno_name(errno), strerror(errno));
	return inode;
}

static void first(void)
{
	observe("first.pid", "%d", getpid());
	observe("first.namespace", "%lu", pid_namespace("pid"));
	live();
}

static void second(void)
{
	observe("second.pid", "%d", getpid());
}

/* Start a child that ends at once: its PID, or -1 with errno. */
static pid_t fork_and_wait(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0);
}

static void shell(void)
{
	struct peer *one;

	step("A process keeps its number for life, so the shell cannot move into "
	     "another PID namespace. What it asks for is meant for its children.");
	observe("shell.pid.before", "%d", getpid());
	observe("shell.namespace.before", "%lu", pid_namespace("pid"));
	CALL(unshare(isolate(CLONE_NEWPID)));
	one = spawn("first", 0, first);
	hear(one, "I live");
	join(spawn("second", 0, second));

	step("While the first child lives: where is the shell, where its children?");
	observe("shell.pid.after", "%d", getpid());
	observe("shell.namespace.after", "%lu", pid_namespace("pid"));
	observe("shell.children", "%lu", pid_namespace("pid_for_children"));
	tell(one, "you may go");
	join(one);

	step("The first child has ended. Does its namespace still take anybody in?");
	observe("shell.fork", "%s", errno_name(TRY(fork_and_wait())));

	step("Then a fresh namespace: may the shell ask a second time?");
	observe("shell.unshare.again", "%s",
		errno_name(TRY(unshare(isolate(CLONE_NEWPID)))));
}

static void host(void)
{
	struct peer *left, *right;

	left = spawn("red", isolate(CLONE_NEWPID), red);
	hear(left, "I live");
	right = spawn("blue", isolate(CLONE_NEWPID), blue);
	hear(right, "I live");

	step("Both live. What are the numbers, outside, of the two who are number 1 "
	     "inside?");
	observe("host.red", "%d", pid_of(left));
	observe("host.blue", "%d", pid_of(right));
	tell(left, "you may go");
	join(left);
	tell(right, "you may go");
	join(right);

	join(spawn("shell", 0, shell));
}

static const struct claim claims[] = {
	CLAIM("starts-at-1", "the first process of a PID namespace is number 1",
	      "red.pid", IS, "1"),
	CLAIM("then-2", "its child is number 2", "red.child.pid", IS, "2"),
	CLAIM("parent-unseen", "its parent, outside, has no number in it",
	      "red.parent", IS, "0"),
	CLAIM("same-number",
	      "in another namespace, the same number exists at the same time",
	      "blue.pid", SAME_AS, "red.pid"),
	PREMISE("two", "for the host the two are different processes", "host.blue",
		DIFFERS_FROM, "host.red"),
	CLAIM("renumbered", "for the host, red is not number 1", "host.red",
	      DIFFERS_FROM, "red.pid"),
	PREMISE("keeps-number", "the caller of unshare(2) keeps its number",
		"shell.pid.after", SAME_AS, "shell.pid.before"),
	PREMISE("stays", "and stays in its PID namespace", "shell.namespace.after",
		SAME_AS, "shell.namespace.before"),
	CLAIM("children-elsewhere", "but its children go to another one",
	      "shell.children", DIFFERS_FROM, "shell.namespace.after"),
	PREMISE("there", "which is where its first child lives", "first.namespace",
		SAME_AS, "shell.children"),
	CLAIM("first-is-1", "that first child is number 1", "first.pid", IS, "1"),
	CLAIM("second-is-2", "while it lives, a second child is number 2",
	      "second.pid", IS, "2"),
	CLAIM("closed", "after the end of number 1, fork(2) fails with ENOMEM",
	      "shell.fork", IS, "ENOMEM"),
	CLAIM("once", "a second unshare(CLONE_NEWPID) fails with EINVAL",
	      "shell.unshare.again", IS, "EINVAL"),
	{ 0 },
};

static const struct lab lab = {
	.name = "pid-first",
	.rung = 80,
	.question = "Who is number 1 in a new PID namespace?",
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
