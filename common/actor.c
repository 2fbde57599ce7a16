/* SPDX-License-Identifier: MIT */
/* actor.c - the actor's side of a story: speak, wait for the answer, meet. */
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor.h"
#include "errname.h"
#include "event.h"

#define PEERS 64	      /* children of one actor, at most */
#define WORD 1024	      /* bytes of a word with its NUL, at most */
#define ORPHANED 125	      /* exit status of an actor without a supervisor */
#define RESUME "NSLABS_ACTOR" /* carries an actor over execve(2) */
#define EXECVE "execve(\"/proc/self/exe\", argv, environ)"

struct peer {
	char name[NAME_MAX_LEN];
	pid_t pid;
	int pidfd;
	int words; /* our end of the socket for words */
	bool reaped;
	int status;
};

static struct {
	const struct lab *lab;
	bool control;
	char name[NAME_MAX_LEN];
	int channel; /* to the supervisor */
	struct peer parent;
	struct peer children[PEERS];
	int nchildren;
} me;

struct peer *const PARENT = &me.parent;

/* --- Speaking to the supervisor -------------------------------------------- */

static void send_or_die(const struct event *ev, size_t size, const int fds[2])
{
	while (event_send(me.channel, ev, size, fds) < 0)
		if (errno != EINTR)
			_exit(ORPHANED);
}

/* Without a supervisor there is no story: end at its end-of-file. */
static void wait_for_answer(void)
{
	char go;
	ssize_t got;

	do
		got = recv(me.channel, &go, 1, 0);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		_exit(ORPHANED);
}

static void say(enum event_kind kind, const char *a, const char *b, long ret,
		int err)
{
	struct event ev;
	size_t size = event_fill(&ev, kind, a, b);

	ev.ret = ret;
	ev.err = err;
	send_or_die(&ev, size, NULL);
	wait_for_answer();
}

static void say_last(enum event_kind kind, const char *text)
{
	say(kind, text, NULL, 0, 0);
	_exit(ORPHANED);
}

void step(const char *fmt, ...)
{
	char text[EVENT_TEXT / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(EV_STEP, text, NULL, 0, 0);
}

void observe(const char *key, const char *fmt, ...)
{
	char value[EVENT_TEXT / 2];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (len >= (int)sizeof(value)) /* half a value could equal another half */
		broken("%s: the value of \"%s\" has %d bytes; %zu fit", me.name,
		       key, len, sizeof(value) - 1);
	say(EV_OBSERVE, key, value, 0, 0);
}

void absent(const char *key, const char *fmt, ...)
{
	char reason[EVENT_TEXT / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	say(EV_ABSENT, key, reason, 0, 0);
}

void skip(const char *fmt, ...)
{
	char reason[EVENT_TEXT / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	say_last(EV_SKIP, reason);
	__builtin_unreachable();
}

void broken(const char *fmt, ...)
{
	char reason[EVENT_TEXT / 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	say_last(EV_BROKEN, reason);
	__builtin_unreachable();
}

/* Show a call. The result's errno is that of the call, unless it succeeded. */
static int show_call(const char *expr, const char *where, long ret, int err)
{
	err = ret == -1 ? err : 0;
	say(EV_CALL, expr, where, ret, err);
	return err;
}

long lab_call(const char *expr, const char *where, long ret)
{
	int err = show_call(expr, where, ret, errno);

	if (err)
		broken("%s at %s: %s failed with %s (%s); %s", me.name, where, expr,
		       errno_name(err), strerror(err), errno_hint(err));
	return ret;
}

int lab_try(const char *expr, const char *where, long ret)
{
	return show_call(expr, where, ret, errno);
}

long lab_need(const char *expr, const char *where, long ret, const char *remedy)
{
	int err = show_call(expr, where, ret, errno);

	if (err)
		skip("%s: %s (%s); %s", expr, errno_name(err), strerror(err),
		     remedy);
	return ret;
}

int isolate(int flags)
{
	return me.control ? 0 : flags;
}

bool in_control(void)
{
	return me.control;
}

/* --- Children -------------------------------------------------------------- */

static void socket_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		broken("%s: socketpair failed with %s (%s); %s", me.name,
		       errno_name(errno), strerror(errno), errno_hint(errno));
}

/* In a new child: let go of what belongs to its parent, so that ends are seen. */
static void forget_parent(void)
{
	close(me.channel);
	if (me.parent.words >= 0)
		close(me.parent.words);
	for (int i = 0; i < me.nchildren; i++) {
		close(me.children[i].words);
		close(me.children[i].pidfd);
	}
	me.nchildren = 0;
}

static void set_name(char to[NAME_MAX_LEN], const char *name)
{
	snprintf(to, NAME_MAX_LEN, "%s", name);
}

static void be_child(const char *name, int channel, int words, void (*body)(void))
	__attribute__((noreturn));

static void be_child(const char *name, int channel, int words, void (*body)(void))
{
	forget_parent();
	set_name(me.parent.name, me.name);
	set_name(me.name, name);
	me.channel = channel;
	me.parent.words = words;
	body();
	actor_finish();
}

struct peer *spawn(const char *name, int flags, void (*body)(void))
{
	struct peer *child = &me.children[me.nchildren];
	struct clone_args args = {
		.flags = (unsigned int)flags | CLONE_PIDFD,
		.pidfd = (uintptr_t)&child->pidfd,
		.exit_signal = SIGCHLD,
	};
	int channel[2], words[2], on = 1;
	struct event ev;
	size_t size;

	if (me.nchildren == PEERS)
		broken("%s: spawn(%s): an actor has at most %d children", me.name,
		       name, PEERS);
	socket_pair(channel);
	socket_pair(words);
	setsockopt(channel[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	set_name(child->name, name);

	child->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (child->pid == 0) {
		close(channel[0]);
		close(words[0]);
		be_child(name, channel[1], words[1], body);
	}
	if (child->pid < 0) {
		int err = errno;
		bool refused = err == EPERM || err == ENOSPC || err == EINVAL ||
			       err == ENOSYS;

		(flags && refused ? skip : broken)(
			"%s: clone3 for %s failed with %s (%s); %s", me.name, name,
			errno_name(err), strerror(err), errno_hint(err));
	}
	close(channel[1]);
	close(words[1]);
	child->words = words[0];
	child->reaped = false;
	me.nchildren++;

	size = event_fill(&ev, EV_SPAWN, child->name, NULL);
	ev.ret = flags;
	send_or_die(&ev, size, (int[]){ channel[0], child->pidfd });
	close(channel[0]);
	wait_for_answer();
	return child;
}

pid_t pid_of(const struct peer *child)
{
	return child->pid;
}

int pidfd_of(const struct peer *child)
{
	return child->pidfd;
}

int ending(struct peer *child)
{
	if (child->reaped)
		return child->status;
	while (waitpid(child->pid, &child->status, 0) < 0)
		if (errno != EINTR)
			broken("%s: waitpid for %s failed with %s (%s)", me.name,
			       child->name, errno_name(errno), strerror(errno));
	child->reaped = true;
	say(EV_EXIT, child->name, NULL, child->status, 0);
	return child->status;
}

void join(struct peer *child)
{
	int status = ending(child);

	if (status != 0)
		broken("%s %s; %s expected it to end well", child->name,
		       status_text(status), me.name);
}

const char *status_text(int status)
{
	static char text[64];

	if (WIFEXITED(status))
		snprintf(text, sizeof(text), "exited %d", WEXITSTATUS(status));
	else
		snprintf(text, sizeof(text), "killed by %s",
			 signal_name(WTERMSIG(status)));
	return text;
}

void expect_end(void)
{
	say(EV_AWAIT, NULL, NULL, 0, 0);
}

void await_end(void)
{
	expect_end();
	for (;;)
		wait_for_answer();
}

/* --- Words ----------------------------------------------------------------- */

/* The peer is gone: say how it ended, where its end is ours to know. */
static void lost(struct peer *peer, const char *wish, const char *word)
{
	if (peer == PARENT)
		broken("%s %s \"%s\", but its parent %s has ended", me.name, wish,
		       word, me.parent.name);
	broken("%s %s \"%s\", but %s %s", me.name, wish, word, peer->name,
	       status_text(ending(peer)));
}

void tell(struct peer *peer, const char *fmt, ...)
{
	char word[WORD];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(word, sizeof(word), fmt, ap);
	va_end(ap);
	while (send(peer->words, word, strlen(word) + 1, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			lost(peer, "wanted to tell", word);
}

static const char *listen_to(struct peer *peer, const char *expected)
{
	static char word[WORD];
	ssize_t got;

	do
		got = recv(peer->words, word, sizeof(word), 0);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		lost(peer, "waited for", expected);
	word[sizeof(word) - 1] = '\0';
	return word;
}

const char *hear_any(struct peer *peer)
{
	return listen_to(peer, "any word");
}

void hear(struct peer *peer, const char *word)
{
	const char *heard = listen_to(peer, word);

	if (strcmp(heard, word) != 0)
		broken("%s waited for \"%s\" and heard \"%s\"", me.name, word,
		       heard);
}

/* --- Beginning, end, and a new image --------------------------------------- */

void actor_begin(const struct lab *lab, bool control, const char *name, int channel)
{
	me.lab = lab;
	me.control = control;
	me.channel = channel;
	me.parent.words = -1;
	set_name(me.name, name);
}

void actor_finish(void)
{
	say(EV_BYE, NULL, NULL, 0, 0);
	_exit(0);
}

void actor_tell_story(void)
{
	struct peer *first = spawn(me.lab->first, 0, me.lab->story);
	int status;
	pid_t pid;

	close(first->words); /* nobody to talk to: the first actor's PARENT is deaf */
	do {
		pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno != EINTR)
			broken("the stage's init has no children: waitpid: %s",
			       errno_name(errno));
	} while (pid != first->pid);
	say(EV_EXIT, first->name, NULL, status, 0);
	actor_finish();
}

void become(const char *argv0)
{
	char carried[128];
	char *const argv[] = { (char *)argv0, NULL };

	snprintf(carried, sizeof(carried), "%d:%d:%d:%s:%s", me.channel,
		 me.parent.words, me.control, me.name, me.parent.name);
	if (setenv(RESUME, carried, 1) < 0 || fcntl(me.channel, F_SETFD, 0) < 0 ||
	    fcntl(me.parent.words, F_SETFD, 0) < 0)
		broken("%s: cannot carry the story over execve: %s", me.name,
		       errno_name(errno));
	execv("/proc/self/exe", argv);
	lab_call(EXECVE, "become", -1);
	__builtin_unreachable();
}

void actor_resume(const struct lab *lab)
{
	const char *carried = getenv(RESUME);
	char name[NAME_MAX_LEN], parent[NAME_MAX_LEN];
	int channel, words, control;

	if (!carried ||
	    sscanf(carried, "%d:%d:%d:%31[^:]:%31s", &channel, &words, &control,
		   name, parent) != 5 ||
	    !lab->after_exec)
		return;
	unsetenv(RESUME);
	fcntl(channel, F_SETFD, FD_CLOEXEC);
	fcntl(words, F_SETFD, FD_CLOEXEC);
	actor_begin(lab, control, name, channel);
	set_name(me.parent.name, parent);
	me.parent.words = words;
	lab_call(EXECVE, "become", 0);
	lab->after_exec();
	actor_finish();
}
