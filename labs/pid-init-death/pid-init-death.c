/* SPDX-License-Identifier: MIT */
/*
 * pid-init-death - does a PID namespace end with its first process?
 *
 * The host starts an init in a new PID namespace; the init starts another, in a
 * namespace nested in its own. The host puts a child of its own beside them, for
 * only a parent learns how a process ended. Nobody inside can harm the init; but
 * when the host kills it, nobody inside survives, however well prepared.
 */
#include <ctype.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

static int door[2]; /* the host knocks at one end, the init answers at the other */
static int init_ends; /* a pidfd of the init: readable when it has ended */

static volatile sig_atomic_t handled;

static void handle(int sig)
{
	(void)sig;
	handled++;
}

/* A signal that kills the init is pending before we knock: then no one answers. */
static const char *knock(void)
{
	static char answer[32];

	if (send(door[0], "?", 1, MSG_NOSIGNAL) == 1 &&
	    recv(door[0], answer, sizeof(answer) - 1, 0) > 0)
		return answer;
	return "dead";
}

static void answer_the_door(void)
{
	char text[32];

	while (recv(door[1], text, 1, 0) == 1) {
		snprintf(text, sizeof(text), "alive, handled %d", (int)handled);
		send(door[1], text, strlen(text) + 1, MSG_NOSIGNAL);
	}
}

/* Processes in /proc, which is the stage's, but for the stage's init and us. */
static int others(void)
{
	DIR *proc = opendir("/proc");
	int n = -2;

	if (!proc)
		broken("opendir(\"/proc\"): %s", errno_name(errno));
	for (struct dirent *entry; (entry = readdir(proc));)
		n += isdigit((unsigned char)entry->d_name[0]) != 0;
	closedir(proc);
	return n;
}

static const char *state(const struct peer *child)
{
	const char *text;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid_of(child));
	text = read_field(path, "State");
	return text ? text : "gone";
}

static void nested(void)
{
	close(door[1]);
	observe("nested.pid", "%d", getpid());
	expect_end();
	tell(PARENT, "I am up");
	await_end();
}

static void init(void)
{
	close(door[0]);
	observe("init.pid", "%d", getpid());
	CALL(signal(SIGUSR1, handle));
	hear(spawn("nested", isolate(CLONE_NEWPID), nested), "I am up");
	tell(PARENT, "%d", getpid());
	answer_the_door();
}

static void member(void)
{
	pid_t init_pid = atoi(hear_any(PARENT)); /* 1, where it is an init */

	CALL(signal(SIGTERM, handle));
	CALL(signal(SIGHUP, handle));
	CALL(setsid());
	tell(PARENT, "ready");
	hear(PARENT, "still there?");
	observe("member.handled", "%d", (int)handled);
	tell(PARENT, "yes");

	hear(PARENT, "your turn");
	step("From inside, a signal that the init handles reaches it...");
	CALL(kill(init_pid, SIGUSR1));
	tell(PARENT, "sent");

	hear(PARENT, "again");
	step("...and every other is dropped, even SIGKILL. kill(2) does not say so.");
	observe("member.kill", "%s", errno_name(TRY(kill(init_pid, SIGKILL))));
	tell(PARENT, "sent");

	/* Who lives to see the end of the init has outlived it, and ends well. */
	poll(&(struct pollfd){ .fd = init_ends, .events = POLLIN }, 1, -1);
}

static void host(void)
{
	struct peer *the_init, *the_member;
	siginfo_t end = { 0 };
	char its_pid[16];

	step("The host starts an init, and that one another, a namespace deeper.");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, door) < 0)
		broken("socketpair: %s", errno_name(errno));
	the_init = spawn("init", isolate(CLONE_NEWPID), init);
	close(door[1]);
	init_ends = dup(pidfd_of(the_init));
	if (init_ends < 0)
		broken("dup: %s", errno_name(errno));
	snprintf(its_pid, sizeof(its_pid), "%s", hear_any(the_init));

	step("The host puts a child beside the init, one that is hard to end.");
	CALL(setns(pidfd_of(the_init), CLONE_NEWPID));
	the_member = spawn("member", 0, member);
	tell(the_member, "%s", its_pid);
	hear(the_member, "ready");
	CALL(kill(pid_of(the_member), SIGTERM));
	CALL(kill(pid_of(the_member), SIGHUP));
	tell(the_member, "still there?");
	hear(the_member, "yes");
	observe("inside.processes", "%d", others());

	step("From outside, an init can be stopped like any other process.");
	CALL(kill(pid_of(the_init), SIGSTOP));
	CALL(waitid(P_ALL, 0, &end, WSTOPPED | WEXITED | WNOWAIT));
	observe("init.state", "%s", state(the_init));
	CALL(kill(pid_of(the_init), SIGCONT));

	tell(the_member, "your turn");
	hear(the_member, "sent");
	observe("init.after-SIGUSR1", "%s", knock());
	tell(the_member, "again");
	hear(the_member, "sent");
	observe("init.after-SIGKILL-inside", "%s", knock());

	step("Even from outside, what the init does not handle is dropped...");
	observe("host.kill", "%s",
		errno_name(TRY(kill(pid_of(the_init), SIGTERM))));
	observe("init.after-SIGTERM-outside", "%s", knock());

	step("...except SIGKILL. It ends the init, and the member goes with it.");
	CALL(kill(pid_of(the_init), SIGKILL));
	CALL(waitid(P_PID, pid_of(the_member), &end, WEXITED | WNOWAIT));

	step("The member is dead, but its parent has not reaped it. Is the init gone?");
	observe("member.state", "%s", state(the_member));
	end.si_pid = 0;
	CALL(waitid(P_PID, pid_of(the_init), &end, WEXITED | WNOWAIT | WNOHANG));
	observe("init.before-reaping", "%s", end.si_pid ? "ended" : "not ended");
	observe("member.end", "%s", status_text(ending(the_member)));
	observe("init.end", "%s", status_text(ending(the_init)));

	step("Now it is. Who is left of the two namespaces?");
	observe("inside.processes.left", "%d", others());
}

static const struct claim claims[] = {
	CLAIM("first", "the init is process 1 of its namespace", "init.pid", IS,
	      "1"),
	CLAIM("nested-first", "and the nested init of its own", "nested.pid", IS,
	      "1"),
	PREMISE("inhabited", "three processes live in the two namespaces",
		"inside.processes", IS, "3"),
	PREMISE("hardened", "the member handles SIGTERM and SIGHUP, and lives on",
		"member.handled", IS, "2"),
	PREMISE("stopped", "SIGSTOP from outside stops the init", "init.state", IS,
		"T (stopped)"),
	PREMISE("handled", "a signal from inside that it handles reaches it",
		"init.after-SIGUSR1", IS, "alive, handled 1"),
	PREMISE("sent-inside", "kill(init, SIGKILL) from inside reports success",
		"member.kill", IS, "0"),
	CLAIM("immune-inside", "but does not reach it", "init.after-SIGKILL-inside",
	      IS, "alive, handled 1"),
	PREMISE("sent-outside", "kill(init, SIGTERM) from outside does too",
		"host.kill", IS, "0"),
	CLAIM("immune-outside", "and does not reach it either",
	      "init.after-SIGTERM-outside", IS, "alive, handled 1"),
	PREMISE("killed", "SIGKILL from outside does", "init.end", IS,
		"killed by SIGKILL"),
	CLAIM("member-killed", "then the member is killed by SIGKILL", "member.end",
	      IS, "killed by SIGKILL"),
	PREMISE("unreaped", "its parent outside has not yet reaped it",
		"member.state", IS, "Z (zombie)"),
	CLAIM("waits", "and the init cannot end before that", "init.before-reaping",
	      IS, "not ended"),
	CLAIM("empty", "at last, no process is left, not even the nested init",
	      "inside.processes.left", IS, "0"),
	{ 0 },
};

static const struct lab lab = {
	.name = "pid-init-death",
	.rung = 120,
	.question = "Does a PID namespace end with its first process?",
	.proc = true,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
