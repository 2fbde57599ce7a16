/* SPDX-License-Identifier: MIT */
/* event.c - the wire between actors and the supervisor. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event.h"

static size_t put(char *to, size_t room, const char *text)
{
	size_t len = strnlen(text, room - 1);

	memcpy(to, text, len);
	to[len] = '\0';
	return len + 1;
}

size_t event_fill(struct event *ev, enum event_kind kind, const char *a,
		  const char *b)
{
	memset(ev, 0, EVENT_HEAD);
	ev->kind = kind;
	ev->second = put(ev->text, EVENT_TEXT / 2, a ? a : "");
	return EVENT_HEAD + ev->second +
	       put(ev->text + ev->second, EVENT_TEXT / 2, b ? b : "");
}

int event_send(int channel, const struct event *ev, size_t size, const int fds[2])
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)ev, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
	}
	return sendmsg(channel, &msg, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Two terminated strings, the second where the head says. */
static int well_formed(const struct event *ev, size_t size)
{
	size_t text = size - EVENT_HEAD;

	return size > EVENT_HEAD + 1 && ev->second > 0 && ev->second < text &&
	       ev->text[ev->second - 1] == '\0' && ev->text[text - 1] == '\0';
}

ssize_t event_recv(int channel, struct event *ev, pid_t *pid, int fds[2])
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int)) +
			   CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = ev, .iov_len = sizeof(*ev) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t got = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);

	fds[0] = fds[1] = -1;
	*pid = 0;
	if (got <= 0)
		return got < 0 && errno == ECONNRESET ? 0 : got;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(2 * sizeof(int)))
			memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
		if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred who;

			memcpy(&who, CMSG_DATA(c), sizeof(who));
			*pid = who.pid;
		}
	}
	if (!well_formed(ev, (size_t)got)) {
		for (int i = 0; i < 2; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		errno = EPROTO;
		return -1;
	}
	return got;
}
