/* SPDX-License-Identifier: MIT */
/* actor.h - what the stage's first process needs to start the story. */
#ifndef ACTOR_H
#define ACTOR_H

#include "lab.h"

#define STAGE_INIT "stage" /* the name under which the stage's init speaks */

/* Become the actor of that name, speaking over channel. */
void actor_begin(const struct lab *lab, bool control, const char *name,
		 int channel);

/* Take the story's leave and exit with 0. */
void actor_finish(void) __attribute__((noreturn));

/* As PID 1 of the stage: start the first actor, reap until it has ended. */
void actor_tell_story(void) __attribute__((noreturn));

/* In an image started by become(): go on with the story. Else return. */
void actor_resume(const struct lab *lab);

#endif
