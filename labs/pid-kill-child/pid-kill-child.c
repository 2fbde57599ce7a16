/* SPDX-License-Identifier: MIT */
/*
 * pid-kill-child - what does unshare --kill-child do, to whom, and when?
 *
 * "unshare" does what unshare(1) does with --pid --fork: it starts an init in a
 * new PID namespace. With --kill-child the init asks for a signal in the case of
 * its parent's death. The host puts a member beside it, kills "unshare", looks
 * whether the init still answers, kills that too, and learns how the member ended.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

static void (*init)(void); /* the init of this trial */
static int init_fd;	   /* its pidfd: readable when it has ended */
static int door[2];	   /* the host knocks at one end, the init answers */

static int pidfd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		broken("pidfd_open(%d): %s", pid, errno_name(errno));
	return fd;
}

/* A signal that kills the init is pending before we knock: then no one answers. */
static const char *knock(void)
{
	char answer;

	return send(door[0], "", 1, MSG_NOSIGNAL) == 1 &&
			       recv(door[0], &answer, 1, 0) == 1
		       ? "alive"
		       : "dead";
}

static void answer_the_door(void)
{
	char knocked;

	expect_end();
	tell(PARENT, "ready");
	while (recv(door[1], &knocked, 1, 0) == 1)
		send(door[1], "", 1, MSG_NOSIGNAL);
}

static void init_without(void)
{
	answer_the_door();
}

static void init_kill(void)
{
	CALL(prctl(PR_SET_PDEATHSIG, SIGKILL));
	answer_the_door();
}

static void init_hup(void)
{
	CALL(prctl(PR_SET_PDEATHSIG, SIGHUP));
	answer_the_door();
}

static void leave(int sig)
{
	_exit(sig == SIGHUP ? 7 : 99);
}

static void init_handling_hup(void)
{
	CALL(signal(SIGHUP, leave));
	init_hup();
}

static void unshare_fork(void)
{
	struct peer *child = spawn("init", isolate(CLONE_NEWPID), init);

	hear(child, "ready");
	tell(PARENT, "%d", pid_of(child));
	await_end();
}

/* Who lives to see the end of the init has outlived it, and ends well. */
static void member(void)
{
	tell(PARENT, "ready");
	poll(&(struct pollfd){ .fd = init_fd, .events = POLLIN }, 1, -1);
}

static void report(const char *trial, const char *what, const char *value)
{
	char key[64];

	snprintf(key, sizeof(key), "%s.%s", trial, what);
	observe(key, "%s", value);
}

static void try_with(void (*its_init)(void), const char *trial)
{
	int home = pidfd_open(getpid()), status;
	struct peer *parent, *inside;
	const char *sign_of_life;
	pid_t init_pid;

	init = its_init;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, door) < 0)
		broken("socketpair: %s", errno_name(errno));
	parent = spawn("unshare", 0, unshare_fork);
	close(door[1]);
	init_pid = atoi(hear_any(parent));
	init_fd = pidfd_open(init_pid);
	CALL(setns(init_fd, CLONE_NEWPID));
	inside = spawn("member", 0, member);
	hear(inside, "ready");
	CALL(kill(pid_of(parent), SIGKILL));
	ending(parent);

	step("unshare is dead. Its init, too? If not, kill it; then see the member.");
	sign_of_life = knock();
	report(trial, "init", sign_of_life);
	if (strcmp(sign_of_life, "alive") == 0)
		CALL(kill(init_pid, SIGKILL));
	report(trial, "member", status_text(ending(inside)));
	CALL(waitpid(init_pid, &status, 0));
	report(trial, "init.end", status_text(status));

	close(init_fd);
	close(door[0]);
	if (setns(home, CLONE_NEWPID) <
	    0) /* the host's next child is at home again */
		broken("setns(home): %s", errno_name(errno));
	close(home);
}

static void host(void)
{
	step("An orphan's new parent will be the host, to learn how the init ended.");
	CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));

	step("unshare --pid --fork: the option is left out.");
	try_with(init_without, "none");

	step("unshare --pid --fork --kill-child: the init asks for SIGKILL.");
	try_with(init_kill, "kill");

	step("unshare --pid --fork --kill-child=SIGHUP: the init does not handle it.");
	try_with(init_hup, "hup");

	step("The same with an init that handles it, as an interactive shell does.");
	try_with(init_handling_hup, "handled");
}

static const struct claim claims[] = {
	PREMISE("none", "without --kill-child, the init outlives unshare",
		"none.init", IS, "alive"),
	PREMISE("none-end", "until the host kills it", "none.init.end", IS,
		"killed by SIGKILL"),
	CLAIM("none-member", "then the kernel kills the member with SIGKILL",
	      "none.member", IS, "killed by SIGKILL"),
	PREMISE("kill", "with --kill-child, the init dies when unshare does",
		"kill.init", IS, "dead"),
	PREMISE("kill-end", "of the SIGKILL that it asked for", "kill.init.end", IS,
		"killed by SIGKILL"),
	CLAIM("kill-member", "then the kernel kills the member likewise",
	      "kill.member", IS, "killed by SIGKILL"),
	CLAIM("hup", "=SIGHUP spares an init that does not handle it", "hup.init",
	      IS, "alive"),
	CLAIM("hup-end", "until the host kills it", "hup.init.end", IS,
	      "killed by SIGKILL"),
	CLAIM("hup-member", "then the member gets SIGKILL, not the chosen SIGHUP",
	      "hup.member", IS, "killed by SIGKILL"),
	PREMISE("handled", "=SIGHUP reaches an init that handles it",
		"handled.init", IS, "dead"),
	PREMISE("handled-end", "which ends as its handler says", "handled.init.end",
		IS, "exited 7"),
	CLAIM("handled-member", "then the member gets SIGKILL, not SIGHUP, again",
	      "handled.member", IS, "killed by SIGKILL"),
	{ 0 },
};

static const struct lab lab = {
	.name = "pid-kill-child",
	.rung = 130,
	.question = "What does unshare --kill-child do, to whom, and when?",
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
