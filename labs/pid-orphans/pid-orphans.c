/* SPDX-License-Identifier: MIT */
/*
 * pid-orphans - who becomes the parent of a child whose own has ended?
 *
 * Number 1 of a PID namespace, init, has a child (parent), which has a child
 * (orphan). The parent ends. Whom does the orphan then call its parent, and to
 * whom does the kernel tell how it ended? The same happens once more below a nearer
 * ancestor who asked for orphans: reaper, a subreaper.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

/*
 * Between an orphan and the one who waits for it. A word sent on the one end says
 * that the parent has ended. The other end closes with the orphan.
 */
static int line[2];

/* --- The orphans ----------------------------------------------------------- */

static void outlive_parent(void)
{
	char word;

	tell(PARENT, "you may go");
	if (read(line[1], &word, 1) != 1)
		broken("the line to the orphan is dead");
}

static void orphan(void)
{
	observe("orphan.pid", "%d", getpid());
	observe("orphan.parent.before", "%d", getppid());
	outlive_parent();
	step("The orphan's parent has ended. Who is its parent now?");
	observe("orphan.parent.after", "%d", getppid());
	expect_end();
	_exit(7);
}

static void orphan2(void)
{
	observe("orphan2.pid", "%d", getpid());
	outlive_parent();
	step("The second orphan's parent has ended, too. Whose child is it now?");
	observe("orphan2.parent.after", "%d", getppid());
	expect_end();
	_exit(8);
}

/* --- Their parents --------------------------------------------------------- */

static void parent(void)
{
	observe("parent.pid", "%d", getpid());
	hear(spawn("orphan", 0, orphan), "you may go");
}

static void parent2(void)
{
	hear(spawn("orphan2", 0, orphan2), "you may go");
}

/* --- Those who may adopt --------------------------------------------------- */

/* Have a child that leaves an orphan behind, and wait until the orphan has ended. */
static void outlive_orphan(const char *name, void (*body)(void))
{
	struct peer *kid;
	char word;

	CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line));
	kid = spawn(name, 0, body);
	close(line[1]);
	join(kid);
	if (write(line[0], "", 1) != 1 || read(line[0], &word, 1) != 0)
		broken("the line to the orphan is out of order");
	close(line[0]);
}

static void reaper(void)
{
	siginfo_t child = { 0 };

	step("reaper, a child of init, asks to be given orphans born below it.");
	observe("reaper.pid", "%d", getpid());
	CALL(prctl(PR_SET_CHILD_SUBREAPER, in_control() ? 0 : 1));
	outlive_orphan("parent2", parent2);
	step("It has ended. To whom does the kernel tell how: to its reaper?");
	TRY(waitid(P_ALL, 0, &child, WEXITED));
	observe("reaper.reaped", "%d", child.si_pid);
	observe("reaper.reaped.status", "%d", child.si_status);
}

static void init(void)
{
	siginfo_t child = { 0 };

	step("init has a child, which has a child, and leaves that one alone.");
	observe("init.pid", "%d", getpid());
	outlive_orphan("parent", parent);
	step("The orphan has ended. Does the kernel tell init how?");
	TRY(waitid(P_ALL, 0, &child, WEXITED));
	observe("init.reaped", "%d", child.si_pid);
	observe("init.reaped.status", "%d", child.si_status);
	join(spawn("reaper", 0, reaper));
}

static void host(void)
{
	join(spawn("init", isolate(CLONE_NEWPID), init));
}

static const struct claim claims[] = {
	PREMISE("born", "the child is born to its parent", "orphan.parent.before",
		SAME_AS, "parent.pid"),
	PREMISE("orphaned", "it gets another parent when that one ends",
		"orphan.parent.after", DIFFERS_FROM, "orphan.parent.before"),
	CLAIM("adopted", "and that is number 1 of its PID namespace",
	      "orphan.parent.after", SAME_AS, "init.pid"),
	CLAIM("reaped", "which is told of its end, by wait(2)", "init.reaped",
	      SAME_AS, "orphan.pid"),
	CLAIM("status", "and of its exit status", "init.reaped.status", IS, "7"),
	CLAIM("nearer", "a subreaper that is a nearer ancestor comes first",
	      "orphan2.parent.after", SAME_AS, "reaper.pid"),
	CLAIM("reaped-there", "and it is the one who is told", "reaper.reaped",
	      SAME_AS, "orphan2.pid"),
	CLAIM("status-there", "with the exit status", "reaper.reaped.status", IS,
	      "8"),
	{ 0 },
};

static const struct lab lab = {
	.name = "pid-orphans",
	.rung = 110,
	.question = "Who becomes the parent of a child whose own has ended?",
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
