/* SPDX-License-Identifier: MIT */
/*
 * trace.h - one run as a stream of records, and the writers that print it.
 *
 * The supervisor makes the records; a writer turns each into bytes. Text is for
 * people, KTAP for test harnesses, JSON Lines for programs (docs/trace.schema.json).
 */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "claims.h"
#include "lab.h"

enum record_kind {
	REC_LAB,
	REC_STEP,
	REC_CALL,
	REC_OBSERVATION,
	REC_ABSENT,
	REC_SPAWN,
	REC_EXIT,
	REC_CLAIM,
	REC_END,
};

/* One record; which fields count depends on its kind. */
struct record {
	enum record_kind kind;
	const char *who; /* the actor, or NULL */
	pid_t pid;	 /* the actor's PID on the real host */
	const char *a;	 /* text, expr, key, child, exit's who, or reason */
	const char *b;	 /* source, value, or reason */
	long ret;	 /* result, clone flags, or wait(2) status */
	int err;
	pid_t child_pid;
	const struct finding *finding; /* REC_CLAIM */
	enum verdict verdict;	       /* REC_END */
	double seconds;		       /* REC_END */
};

/* What every record of a run has in common. */
struct run {
	const struct lab *lab;
	bool control;
	bool root_stage;
	bool colour;	    /* text: the output is a terminal that wants it */
	bool unicode;	    /* text: the locale's characters are UTF-8 */
	bool held;	    /* text: after each step the lab waits for a line */
	size_t seq;	    /* records written so far */
	struct summary sum; /* complete before the first REC_CLAIM */
};

/* Bytes of one record on their way out; what does not fit is cut. */
struct out {
	char *bytes;
	size_t len, room;
};

void put(struct out *out, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Bytes of the UTF-8 sequence that begins at s, or 0 if it is none (RFC 3629). */
int utf8_length(const unsigned char *s);

#define VISIBLE 5 /* texts of one record, at most */

/*
 * Text as a terminal may show it and a line-oriented reader take it: what controls
 * a terminal, ends a line (unless lines may stay) or is no UTF-8 stands as its
 * number. NULL stays NULL. Valid until the next call with the same which, below
 * VISIBLE.
 */
const char *visible(int which, const char *text, bool lines);

/* Text as a JSON string with its quotes, or null for NULL (RFC 8259). */
void put_json_string(struct out *out, const char *text);

typedef void (*writer)(struct out *out, const struct run *run,
		       const struct record *rec);

void write_text(struct out *out, const struct run *run, const struct record *rec);
void write_ktap(struct out *out, const struct run *run, const struct record *rec);
void write_json(struct out *out, const struct run *run, const struct record *rec);

/* The list of claims, without a run. */
void list_text(struct out *out, const struct lab *lab);
void list_ktap(struct out *out, const struct lab *lab);
void list_json(struct out *out, const struct lab *lab);

#endif
