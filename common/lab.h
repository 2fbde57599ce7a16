/* SPDX-License-Identifier: MIT */
/*
 * lab.h - the vocabulary of a lab; all that a lab includes.
 *
 * A lab is a story told by actors. An actor is a process with a name. It says
 * why it acts (step), acts (CALL, TRY), and reports what it sees (observe).
 * Every one of these goes to the supervisor, a process outside the experiment,
 * which prints it, looks at the actor from outside, and answers "go on".
 * Afterwards the claims are compared with what was observed.
 *
 * Everything happens on a stage: a private set of namespaces that plays "the
 * host". When the stage's first process ends, the kernel removes the rest.
 */
#ifndef LAB_H
#define LAB_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080 /* since Linux 5.6; absent from older headers */
#endif

/* --- Claims: what the documentation says, as data over observations -------- */

enum relation {
	SAME_AS,      /* the value under another key is equal */
	DIFFERS_FROM, /* the value under another key is not equal */
	IS,	      /* equal to this literal */
	IS_NOT,	      /* not equal to this literal */
};

struct claim {
	const char *id;	  /* short, unique in the lab */
	const char *text; /* one sentence without a full stop */
	const char *left; /* key of an observation */
	enum relation relation;
	const char *right; /* key or literal, as the relation says */
	bool premise;
	const char
		*varies; /* where kernels differ: since which, says who; or NULL */
};

/*
 * Holds in the experiment and fails in the control: evidence. A documented
 * difference between kernels is declared as a last field: .varies = "since Linux
 * 6.18: statmount(2)".
 */
#define CLAIM(...)                            \
	{                                     \
		__VA_ARGS__, .premise = false \
	}

/* Holds in both: shows that the experiment itself took place. */
#define PREMISE(...)                         \
	{                                    \
		__VA_ARGS__, .premise = true \
	}

/* --- The lab --------------------------------------------------------------- */

enum power {
	USER_STAGE,   /* all namespaces of the stage owned by a user namespace */
	PREFERS_ROOT, /* root stage if it can be had, else a user stage */
	ROOT_STAGE,   /* needs the initial user namespace; else the lab skips */
};

struct lab {
	const char *name;     /* TOPIC-WHAT, also the file's and directory's name */
	const char *question; /* one sentence, with a question mark */
	int rung;	      /* place in the reading order; 0: after the others */
	enum power power;
	int namespaces;	     /* CLONE_NEW* of the stage, beyond user and PID */
	bool proc;	     /* mount the stage's own /proc (implies CLONE_NEWNS) */
	bool scratch;	     /* an empty, writable /tmp of its own (likewise) */
	const char *first;   /* name of the first actor */
	void (*story)(void); /* what the first actor does */
	const struct claim *claims; /* ends with an all-zero row */

	/* What an actor does after it replaced itself: see become(). */
	void (*after_exec)(void);

	/* A tool beside the lab: `NAME TOOL …` runs it instead (may be NULL). */
	const char *tool;      /* its option, such as "--list" */
	const char *tool_help; /* lines for --help, each ending in a newline */
	int (*run_tool)(int argc, char **argv);
};

/*
 * The whole of a lab's main(). Returns the exit status: 0 agrees, 1 disagrees,
 * 4 skipped, 99 broken, 2 wrong usage.
 */
int lab_main(int argc, char **argv, const struct lab *lab);

/* --- What an actor does ---------------------------------------------------- */

/* Say why the next calls happen. `--step` holds the actor here. */
void step(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Make a call that must succeed; it is shown with its source text and result.
 * On -1 the run is broken, with the call, errno and a hint. Yields the result.
 */
#define CALL(expr) (errno = 0, lab_call(#expr, LAB_HERE, (long)(expr)))

/* Make a call that may fail. Yields 0 on success, else errno. */
#define TRY(expr) (errno = 0, lab_try(#expr, LAB_HERE, (long)(expr)))

/*
 * Make a call that some machines refuse. On -1 the lab is skipped, with the
 * call, errno and the remedy (a sentence). Yields the result.
 */
#define NEED(expr, remedy) \
	(errno = 0, lab_need(#expr, LAB_HERE, (long)(expr), remedy))

/* Report one fact under a key, once per key. */
void observe(const char *key, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* This machine cannot make that observation: claims on the key are skipped. */
void absent(const char *key, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* This machine cannot host the lab: end it as skipped. Say the way out. */
void skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The experiment itself went wrong: end it as broken. */
void broken(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The independent variable: yields flags in the experiment, 0 in the control. */
int isolate(int flags);

/* True in the control, where the experiment is not about a flag. */
bool in_control(void);

/* --- Actors among themselves ----------------------------------------------- */

struct peer; /* another actor: a child, or PARENT */
extern struct peer *const PARENT;

/*
 * Start a child actor with clone3(2) and flags (CLONE_NEW* or 0). It runs body
 * and ends. The run is skipped where the kernel refuses the namespace (EPERM,
 * ENOSPC, EINVAL, ENOSYS) and broken on any other error.
 */
struct peer *spawn(const char *name, int flags, void (*body)(void));

/* Send a word to a peer; wait for that very word. A dead peer breaks the run. */
void tell(struct peer *peer, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void hear(struct peer *peer, const char *word);

/* Wait for whatever the peer says; valid until the next call. */
const char *hear_any(struct peer *peer);

/* Wait until the child has ended, and ended well. */
void join(struct peer *child);

/* Wait until the child has ended, however it did: its wait(2) status. */
int ending(struct peer *child);

/* "exited 0", "killed by SIGKILL": a wait(2) status in words (static storage). */
const char *status_text(int status);

/*
 * From now on this actor may be killed at any time. Said before telling a peer
 * that might do it; without it, an end that nobody waited for breaks the run.
 */
void expect_end(void);

/* Be still until killed: the way to end for an actor whose end is the lesson. */
void await_end(void) __attribute__((noreturn));

/* The child's PID as the caller's PID namespace numbers it. */
pid_t pid_of(const struct peer *child);

/* A pidfd of the child; it belongs to the peer. See pidfd_open(2). */
int pidfd_of(const struct peer *child);

/*
 * Replace this actor by a fresh image of the lab with execve(2), under the name
 * argv0. The new image is the same actor and goes on with lab->after_exec.
 */
void become(const char *argv0) __attribute__((noreturn));

/* --- Namespaces ------------------------------------------------------------ */

struct ns_type {
	const char *name; /* as in /proc/PID/ns */
	int flag;	  /* CLONE_NEW* */
	const char *flag_name;
	const char *isolates; /* what a namespace of this type isolates */
	const char *since;    /* the kernel that had it first; see namespaces(7) */
};

/* The one table of the types, in the order of namespaces(7); ends with zeros. */
extern const struct ns_type ns_types[];

/*
 * The inode number of a namespace link of the caller ("uts", "pid_for_children",
 * …), or 0 with errno set (ENOENT: no such type here, or none yet).
 */
unsigned long ns_id(const char *link);

/* The same for another process; pid is a number of the mounted /proc. */
unsigned long ns_id_of(pid_t pid, const char *link);

/* --- Small things ---------------------------------------------------------- */

/* Read a small file into static storage, without its last newline; or NULL. */
const char *read_file(const char *path);

/* The value after "Key:" in a file such as /proc/self/status; or NULL. */
const char *read_field(const char *path, const char *key);

/* Write text to a file: 0, or -1 with errno. */
int write_file(const char *path, const char *text);

/* "EPERM"; a number where the name is unknown. "0" for 0. */
const char *errno_name(int err);

/* --- Behind the macros ----------------------------------------------------- */

#define LAB_STR2(x) #x
#define LAB_STR(x) LAB_STR2(x)
#define LAB_HERE __FILE_NAME__ ":" LAB_STR(__LINE__)
#ifndef __FILE_NAME__
#define __FILE_NAME__ __FILE__
#endif

long lab_call(const char *expr, const char *where, long ret);
int lab_try(const char *expr, const char *where, long ret);
long lab_need(const char *expr, const char *where, long ret, const char *remedy);

#endif
