/* SPDX-License-Identifier: MIT */
/* stage.h - the private namespaces that play "the host". */
#ifndef STAGE_H
#define STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lab.h"

struct stage {
	bool root;   /* without a user namespace of its own */
	pid_t pid;   /* its init */
	int pidfd;   /* of its init; -1 when there is no stage */
	int channel; /* to its init */
};

/*
 * Make the stage and its init, which waits for stage_begin(). With root false
 * the stage is owned by a new user namespace, and a caller who is root becomes
 * an ordinary user, who could still return. Returns 0; or -1 with the reason and
 * the remedy in why, the caller's rights restored. See user_namespaces(7).
 */
int stage_open(struct stage *stage, const struct lab *lab, bool control, bool root,
	       char *why, size_t room);

/* Let the stage's init set the stage and start the story. */
void stage_begin(struct stage *stage);

/* True for a caller who was root when it made a user stage, until it settles. */
bool stage_may_be_root(void);

/* The stage stands: give up for good what the supervisor no longer needs. */
void stage_settle(struct stage *stage);

/* The stage could not be set: end it and take back the caller's rights. */
void stage_leave(struct stage *stage, int timeout_ms);

/* End everything on the stage, and wait until the kernel has. -1: timed out. */
int stage_end(struct stage *stage, int timeout_ms);

#endif
