/* SPDX-License-Identifier: MIT */
/*
 * event.h - what actors send to the supervisor, one SEQPACKET message each.
 *
 * An actor sends an event and waits for one byte in answer. The kernel adds the
 * sender's credentials (unix(7), SCM_CREDENTIALS), so the supervisor knows the
 * actor's PID in its own PID namespace without asking.
 */
#ifndef EVENT_H
#define EVENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum event_kind {
	EV_STEP,    /* a: text */
	EV_CALL,    /* a: expr, b: file:line; ret, err */
	EV_OBSERVE, /* a: key, b: value */
	EV_ABSENT,  /* a: key, b: reason */
	EV_SPAWN, /* a: child's name; ret: flags; carries the child's channel and pidfd */
	EV_EXIT,   /* a: child's name; ret: its wait(2) status */
	EV_SKIP,   /* a: reason */
	EV_BROKEN, /* a: reason */
	EV_AWAIT,  /* the actor will be still until it is killed */
	EV_BYE,	   /* the actor has done all it wanted */
};

#define EVENT_TEXT 4096 /* bytes of both strings with their NULs, at most */
#define NAME_MAX_LEN 32 /* bytes of an actor's name with its NUL */

struct event {
	int32_t kind;
	int32_t err;
	int64_t ret;
	uint32_t second; /* where the second string begins in text */
	char text[EVENT_TEXT];
};

#define EVENT_HEAD offsetof(struct event, text)

/*
 * Fill an event with two strings, cut where they do not fit. Returns the size
 * of the message in bytes.
 */
size_t event_fill(struct event *ev, enum event_kind kind, const char *a,
		  const char *b);

/*
 * Send it, with two descriptors where fds is not NULL. 0, or -1 with errno, see
 * sendmsg(2).
 */
int event_send(int channel, const struct event *ev, size_t size, const int fds[2]);

/*
 * Receive one. *pid is the sender's PID here; fds are two received descriptors,
 * -1 where there are none. Returns its size, 0 at end-of-file, -1 with errno
 * (EPROTO: malformed; else see recvmsg(2)).
 */
ssize_t event_recv(int channel, struct event *ev, pid_t *pid, int fds[2]);

#endif
