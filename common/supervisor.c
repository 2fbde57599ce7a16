/* SPDX-License-Identifier: MIT */
/*
 * supervisor.c - outside the stage: receives, prints, answers, ends, judges.
 *
 * One loop over descriptors: the actors' channels, the stage's init (a pidfd),
 * signals (a signalfd), and standard input while a step is held. Nothing is
 * waited for that is not an event.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actor.h"
#include "errname.h"
#include "event.h"
#include "options.h"
#include "stage.h"
#include "trace.h"

#define CAST 128	   /* actors of one run, at most, and the stage's init */
#define RECORD_BYTES 65536 /* of one record's output, at most */
#define END_MS 5000	   /* the kernel's time to take down a stage, at most */

struct member {
	char name[NAME_MAX_LEN];
	int channel; /* -1 when it has ended */
	pid_t pid;   /* on the real host */
	bool bye;    /* did all it wanted */
	bool awaits; /* said that it will be killed */
	bool known;  /* another actor has reported its end */
};

static struct {
	struct run run;
	const struct options *opt;
	writer write;
	int write_error; /* errno of a failed write to standard output */
	struct stage stage;
	bool settled; /* the stage stands */
	struct member cast[CAST];
	int ncast;
	int signals; /* signalfd */
	int caught;  /* the signal that ends the run, or 0 */
	int held;    /* index of the actor held at a step, or -1 */
	int granted; /* lines read ahead of the steps that they release */
	bool stdin_ended;
	struct timespec begun, held_since;
	double held_seconds; /* waiting for a person does not count */
	bool over;
	enum verdict verdict;
	char reason[EVENT_TEXT];
} sv;

static double since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) +
	       (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

/* --- The end --------------------------------------------------------------- */

static void end_run(enum verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void end_run(enum verdict verdict, const char *fmt, ...)
{
	va_list ap;

	if (sv.over)
		return;
	sv.over = true;
	sv.verdict = verdict;
	va_start(ap, fmt);
	vsnprintf(sv.reason, sizeof(sv.reason), fmt, ap);
	va_end(ap);
	if (!sv.reason[0]) /* a reason is what tells this end from a told story */
		strcpy(sv.reason, "no reason was given");
}

/* Break the run, whatever its verdict was; the old reason comes after the new. */
static void overrule(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void overrule(const char *fmt, ...)
{
	char old[sizeof(sv.reason)];
	size_t len;
	va_list ap;

	memcpy(old, sv.reason, sizeof(old));
	sv.over = true;
	sv.verdict = BROKEN;
	va_start(ap, fmt);
	vsnprintf(sv.reason, sizeof(sv.reason), fmt, ap);
	va_end(ap);
	len = strlen(sv.reason);
	if (old[0])
		snprintf(sv.reason + len, sizeof(sv.reason) - len, "; %s", old);
}

static void caught_signal(void)
{
	struct signalfd_siginfo info;

	if (read(sv.signals, &info, sizeof(info)) != sizeof(info))
		return;
	sv.caught = (int)info.ssi_signo;
	end_run(BROKEN, "interrupted by %s", signal_name(sv.caught));
}

/* --- Output ---------------------------------------------------------------- */

/*
 * Wait for room on standard output, on the reader's time. A signal that ends the
 * run ends the waiting too: the reader may never read again.
 */
static bool may_write(void)
{
	struct pollfd fds[] = { { STDOUT_FILENO, POLLOUT, 0 },
				{ sv.signals, POLLIN, 0 } };
	struct timespec full;

	if (poll(fds, 1, 0) != 0)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &full);
	while (!sv.caught && !fds[0].revents) {
		poll(fds, 2, -1);
		if (fds[1].revents)
			caught_signal();
	}
	sv.held_seconds += since(&full);
	return fds[0].revents;
}

static void flush(const struct out *out)
{
	size_t done = 0;

	while (done < out->len && !sv.write_error) {
		size_t room =
			out->len - done < PIPE_BUF ? out->len - done : PIPE_BUF;
		ssize_t n;

		if (!may_write()) {
			sv.write_error = EINTR;
			return;
		}
		n = write(STDOUT_FILENO, out->bytes + done, room);
		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			sv.write_error = errno;
	}
}

static void emit(const struct record *rec)
{
	static char bytes[RECORD_BYTES];
	struct out out = { .bytes = bytes, .room = sizeof(bytes) };
	struct record shown = *rec;
	struct finding finding;

	if (sv.opt->format != FORMAT_JSON) { /* which has its own escapes */
		bool lines = sv.opt->format == FORMAT_TEXT;

		shown.a = visible(0, rec->a, lines);
		shown.b = visible(1, rec->b, lines);
		if (rec->finding) {
			finding = *rec->finding;
			finding.left_value = visible(2, finding.left_value, lines);
			finding.right_value =
				visible(3, finding.right_value, lines);
			finding.reason = visible(4, finding.reason, lines);
			shown.finding = &finding;
		}
	}
	sv.run.seq++;
	sv.write(&out, &sv.run, &shown);
	flush(&out);
}

/* --- The cast -------------------------------------------------------------- */

static struct member *enter(const char *name, int channel, pid_t pid)
{
	struct member *m = &sv.cast[sv.ncast++];

	*m = (struct member){ .channel = channel, .pid = pid };
	snprintf(m->name, sizeof(m->name), "%s", name);
	return m;
}

/* The PID of a pidfd as our own /proc numbers it; see pidfd_open(2). */
static pid_t pid_of_pidfd(int pidfd)
{
	char path[64];
	const char *pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	pid = read_field(path, "Pid");
	return pid ? atoi(pid) : 0;
}

/* Go on! Who cannot be told so would wait for ever; who is dead need not be. */
static void answer(const struct member *m)
{
	ssize_t sent;

	do
		sent = send(m->channel, "", 1, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno != EPIPE && errno != ECONNRESET)
		end_run(BROKEN, "answering %s failed: send: %s (%s)", m->name,
			errno_name(errno), strerror(errno));
}

/*
 * The end of a child, reported by its parent. The youngest of a name counts. Who
 * has not said that it is done must not seem to have ended well.
 */
static void ended(const char *name, int status)
{
	for (int i = sv.ncast - 1; i >= 0; i--) {
		struct member *m = &sv.cast[i];

		if (strcmp(m->name, name) != 0 || m->known)
			continue;
		m->known = true;
		if (status == 0 && !m->bye)
			end_run(BROKEN, "%s exited 0 before its part was over",
				name);
		return;
	}
}

/* "Getting shut down" in the flags of /proc/PID/stat: PF_EXITING of the kernel. */
#define EXITING 0x4

/* On its way out: a killed process lets go of its descriptors late; see proc(5). */
static bool is_exiting(pid_t pid)
{
	char path[32];
	unsigned int flags;
	const char *stat, *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = pid > 0 ? read_file(path) : NULL;
	state = stat ? strrchr(stat, ')') : NULL; /* behind the name */
	return state &&
	       sscanf(state, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & EXITING;
}

/* Nobody holds the other end of its channel any more, or not for long. */
static bool is_dead(const struct member *m)
{
	struct pollfd channel = { .fd = m->channel };

	return m->channel < 0 ||
	       (poll(&channel, 1, 0) == 1 && channel.revents & POLLHUP) ||
	       is_exiting(m->pid);
}

/*
 * Who has not done its part, and was neither expected nor waited for to end: those
 * who are dead, or those who live. NULL if nobody.
 */
static const char *unfinished(bool dead)
{
	static char names[2][256];
	char *to = names[dead];
	size_t len = 0, room = sizeof(names[0]);

	to[0] = '\0';
	for (int i = 1; i < sv.ncast && len < room - NAME_MAX_LEN - 2; i++) {
		const struct member *m = &sv.cast[i];

		if (!m->bye && !m->awaits && !m->known && is_dead(m) == dead)
			len += (size_t)snprintf(to + len, room - len, "%s%s",
						len ? ", " : "", m->name);
	}
	return len ? to : NULL;
}

/* --- Events ---------------------------------------------------------------- */

static void hold(struct member *m)
{
	if (!sv.opt->step || sv.stdin_ended) {
		answer(m);
	} else if (sv.granted > 0) {
		sv.granted--;
		answer(m);
	} else {
		sv.held = (int)(m - sv.cast);
		clock_gettime(CLOCK_MONOTONIC, &sv.held_since);
	}
}

static void release(void)
{
	sv.held_seconds += since(&sv.held_since);
	answer(&sv.cast[sv.held]);
	sv.held = -1;
}

/* A line on standard input releases a step; at its end all are released. */
static void read_lines(void)
{
	char bytes[256];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0)
		sv.stdin_ended = true;
	for (ssize_t i = 0; i < n; i++)
		sv.granted += bytes[i] == '\n';
	if (sv.stdin_ended) {
		release();
	} else if (sv.granted > 0) {
		sv.granted--;
		release();
	}
}

static void spawned(struct member *parent, const struct event *ev, int fds[2])
{
	struct record rec = { .kind = REC_SPAWN,
			      .who = parent->name,
			      .pid = parent->pid,
			      .a = ev->text,
			      .ret = (long)ev->ret };

	if (fds[0] < 0) {
		end_run(BROKEN,
			"%s: its channel did not arrive: recvmsg: %s (%s); %s",
			ev->text, errno_name(EMFILE), strerror(EMFILE),
			errno_hint(EMFILE));
		return;
	}
	if (sv.ncast == CAST) {
		end_run(BROKEN, "%s: more than %d actors", ev->text, CAST - 1);
		return;
	}
	if (sv.opt->format == FORMAT_JSON) /* the others show no PIDs */
		rec.child_pid = pid_of_pidfd(fds[1]);
	close(fds[1]);
	enter(ev->text, fds[0], rec.child_pid);
	emit(&rec);
}

/* The stage could not be set. Where the user left the choice, try the other. */
static bool try_root_stage(void)
{
	char why[1024];

	if (sv.settled || sv.stage.root || sv.opt->stage != STAGE_AUTO ||
	    !stage_may_be_root())
		return false;
	sv.cast[0].channel = -1; /* stage_leave() closes it */
	stage_leave(&sv.stage, END_MS);
	if (stage_open(&sv.stage, sv.run.lab, sv.run.control, true, why,
		       sizeof(why)) < 0)
		return false;
	sv.ncast = 0;
	enter(STAGE_INIT, sv.stage.channel, sv.stage.pid);
	stage_begin(&sv.stage);
	return true;
}

static void settle(void)
{
	struct record rec = { .kind = REC_LAB };

	if (sv.settled)
		return;
	sv.settled = true;
	stage_settle(&sv.stage);
	sv.run.root_stage = sv.stage.root;
	emit(&rec);
}

static void handle(struct member *m, const struct event *ev, int fds[2])
{
	const char *a = ev->text, *b = ev->text + ev->second, *wrong;
	struct record rec = { .who = m->name,
			      .pid = m->pid,
			      .a = a,
			      .b = b,
			      .ret = (long)ev->ret,
			      .err = ev->err };

	if (ev->kind == EV_SKIP && m == &sv.cast[0] && try_root_stage())
		return;
	settle();

	switch ((enum event_kind)ev->kind) {
	case EV_STEP:
		rec.kind = REC_STEP;
		emit(&rec);
		hold(m);
		return;
	case EV_CALL:
		rec.kind = REC_CALL;
		emit(&rec);
		break;
	case EV_OBSERVE:
	case EV_ABSENT:
		rec.kind = ev->kind == EV_OBSERVE ? REC_OBSERVATION : REC_ABSENT;
		emit(&rec);
		wrong = ev->kind == EV_OBSERVE ? remember(a, b, NULL)
					       : remember(a, NULL, b);
		if (wrong)
			end_run(BROKEN, "%s: \"%s\" %s", m->name, a, wrong);
		break;
	case EV_SPAWN:
		spawned(m, ev, fds);
		break;
	case EV_EXIT:
		rec.kind = REC_EXIT;
		ended(a, (int)ev->ret);
		if (m == &sv.cast[0] && ev->ret != 0) {
			end_run(BROKEN, "%s %s", a, status_text((int)ev->ret));
			return;
		}
		emit(&rec);
		break;
	case EV_SKIP:
		end_run(SKIPPED, "%s", a);
		return; /* no answer: the actor waits for its end */
	case EV_BROKEN:
		end_run(BROKEN, "%s", a);
		return;
	case EV_AWAIT:
		m->awaits = true;
		break;
	case EV_BYE:
		m->bye = true;
		if (m == &sv.cast[0]) { /* the story is told */
			const char *who = unfinished(false);

			if (who)
				end_run(BROKEN,
					"the story ended before these actors did: %s",
					who);
			sv.over = true;
			return;
		}
		break;
	}
	answer(m);
}

static void listen_to(struct member *m)
{
	struct event ev;
	int fds[2];
	pid_t pid;
	ssize_t got = event_recv(m->channel, &ev, &pid, fds);

	if (got > 0) {
		m->pid = pid ? pid : m->pid;
		handle(m, &ev, fds);
	} else if (got == 0) {
		close(m->channel);
		m->channel = -1;
	} else if (errno != EINTR && errno != EAGAIN) {
		end_run(BROKEN, "%s: receiving its event failed with %s (%s)",
			m->name, errno_name(errno), strerror(errno));
	}
}

/*
 * An actor that died unexpected is behind whatever others then ran into: say so
 * first. When the stage's init dies all do.
 */
static void name_the_dead(void)
{
	const char *who = unfinished(true);

	if (who && !sv.caught && !is_dead(&sv.cast[0]))
		overrule("%s ended before its part was over", who);
}

/* --- The loop -------------------------------------------------------------- */

static int time_left_ms(void)
{
	double left;

	if (sv.held >= 0)
		return -1;
	left = sv.opt->timeout - (since(&sv.begun) - sv.held_seconds);
	return left > 0 ? (int)(left * 1000) + 1 : 0;
}

static void timed_out(void)
{
	const char *who = unfinished(false);

	end_run(BROKEN, "timed out after %g s; unfinished: %s (see --timeout)",
		sv.opt->timeout, who ? who : "the stage");
}

/* Wait for whatever happens next, and deal with it. */
static void next(void)
{
	enum { SIGNALS, INIT, INPUT, ACTORS };
	struct pollfd fds[ACTORS + CAST] = {
		[SIGNALS] = { sv.signals, POLLIN, 0 },
		[INIT] = { sv.stage.pidfd, POLLIN, 0 },
		[INPUT] = { sv.held >= 0 ? STDIN_FILENO : -1, POLLIN, 0 },
	};
	int ncast = sv.ncast;
	int ready;

	for (int i = 0; i < ncast; i++) /* while a step is held, all wait */
		fds[ACTORS + i] =
			(struct pollfd){ sv.held >= 0 ? -1 : sv.cast[i].channel,
					 POLLIN, 0 };
	ready = poll(fds, (nfds_t)(ACTORS + ncast), time_left_ms());
	if (ready == 0)
		timed_out();
	if (ready <= 0)
		return;
	if (fds[SIGNALS].revents)
		caught_signal();
	else if (fds[INIT].revents)
		end_run(BROKEN, "the stage's init ended before the story did");
	else if (fds[INPUT].revents)
		read_lines();
	for (int i = 0; i < ncast && !sv.over; i++)
		if (fds[ACTORS + i].revents && sv.held < 0 &&
		    sv.cast[i].channel == fds[ACTORS + i].fd)
			listen_to(&sv.cast[i]);
}

/* What was ignored, as by nohup(1), stays so; children must be waited for. */
static void block_signals(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction now;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (sigaction(ends[i], NULL, &now) == 0 &&
		    now.sa_handler != SIG_IGN)
			sigaddset(&set, ends[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sv.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sv.signals < 0) /* they end us at once; the stage dies with us */
		sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/*
 * Stay on one processor, and the actors with us: while one of us speaks the others
 * wait, and a wake-up on another processor costs more than the work itself.
 */
static void stay_on_one_cpu(void)
{
	cpu_set_t here;
	int cpu = sched_getcpu();

	CPU_ZERO(&here);
	if (cpu >= 0 && cpu < CPU_SETSIZE) {
		CPU_SET(cpu, &here);
		sched_setaffinity(0, sizeof(here), &here);
	}
}

/* End as the signal would have ended us, so that a shell sees it. */
static void die_of(int sig)
{
	sigset_t set;

	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Which stages to try, in order: the answer to --stage and the lab's wish. */
static bool open_stage(char *why, size_t room)
{
	const struct lab *lab = sv.run.lab;
	enum stage_choice want = sv.opt->stage;
	char second[1024];

	if (access("/proc/self/ns", F_OK) < 0) {
		snprintf(
			why, room,
			"nobody can look at the actors from outside: /proc/self/ns: %s (%s); is /proc mounted?",
			errno_name(errno), strerror(errno));
		return false;
	}
	if (lab->power == ROOT_STAGE && want == STAGE_USER) {
		snprintf(
			why, room,
			"the lab needs a root stage: leave out --stage=user and run it as root");
		return false;
	}
	if (want == STAGE_ROOT || lab->power == ROOT_STAGE)
		return stage_open(&sv.stage, lab, sv.run.control, true, why,
				  room) == 0;
	if (want == STAGE_AUTO && lab->power == PREFERS_ROOT &&
	    stage_open(&sv.stage, lab, sv.run.control, true, why, room) == 0)
		return true;
	if (stage_open(&sv.stage, lab, sv.run.control, false, why, room) == 0)
		return true;
	return want == STAGE_AUTO && geteuid() == 0 &&
	       stage_open(&sv.stage, lab, sv.run.control, true, second,
			  sizeof(second)) == 0;
}

static void play(void)
{
	char why[1024];

	if (!open_stage(why, sizeof(why))) {
		struct record rec = { .kind = REC_LAB };

		sv.run.root_stage = sv.opt->stage == STAGE_ROOT;
		emit(&rec);
		end_run(SKIPPED, "%s", why);
		return;
	}
	enter(STAGE_INIT, sv.stage.channel, sv.stage.pid);
	stage_begin(&sv.stage);
	while (!sv.over && !sv.write_error)
		next();
	name_the_dead();
	settle(); /* where not even the first event came */
	if (stage_end(&sv.stage, END_MS) < 0)
		overrule(
			"the stage did not end within %d ms: is a process of another program on it?",
			END_MS);
}

static void report(void)
{
	const struct lab *lab = sv.run.lab;
	struct record end = { .kind = REC_END, .seconds = since(&sv.begun) };
	bool told = sv.over && !sv.reason[0];

	if (told)
		sv.verdict = judge(lab, sv.run.control, &sv.run.sum, sv.reason,
				   sizeof(sv.reason));
	if (told && sv.verdict != BROKEN) {
		for (const struct claim *c = lab->claims; c->id; c++) {
			struct finding f;
			const char *missing;
			struct record rec = { .kind = REC_CLAIM, .finding = &f };

			find_out(c, sv.run.control, &f, &missing);
			emit(&rec);
		}
	}
	end.verdict = sv.verdict;
	end.a = sv.reason[0] ? sv.reason : NULL;
	emit(&end);
}

int supervise(const struct lab *lab, const struct options *opt)
{
	static const writer writers[] = { [FORMAT_TEXT] = write_text,
					  [FORMAT_KTAP] = write_ktap,
					  [FORMAT_JSON] = write_json };

	sv.run = (struct run){ .lab = lab,
			       .control = opt->control,
			       .colour = opt->colour,
			       .unicode = opt->unicode,
			       .held = opt->step && opt->prompt };
	sv.opt = opt;
	sv.write = writers[opt->format];
	sv.held = -1;
	clock_gettime(CLOCK_MONOTONIC, &sv.begun);
	block_signals();
	stay_on_one_cpu();
	play();
	if (!sv.write_error)
		report();
	if (sv.caught)
		die_of(sv.caught);
	if (sv.write_error == EPIPE)
		die_of(SIGPIPE);
	if (sv.write_error) {
		fprintf(stderr,
			"%s: writing to standard output failed with %s (%s)\n",
			lab->name, errno_name(sv.write_error),
			strerror(sv.write_error));
		return BROKEN;
	}
	return sv.verdict;
}
