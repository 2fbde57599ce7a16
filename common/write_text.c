/* SPDX-License-Identifier: MIT */
/*
 * write_text.c - a run told to people, in 80 columns.
 *
 * It reads like a terminal session: why, then who makes which call with which
 * result and sees what; then the claims, and one line of verdict.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "actor.h"
#include "errname.h"
#include "trace.h"

#define WIDTH 79

void put(struct out *out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out->bytes + out->len, out->room - out->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		out->len += (size_t)n < out->room - out->len
				    ? (size_t)n
				    : out->room - out->len - 1;
}

/* --- Colours and marks ----------------------------------------------------- */

#define BOLD "1"
#define DIM "2"
#define RED "1;31"
#define GREEN "1;32"
#define YELLOW "1;33"
#define MAGENTA "1;35"

static void paint(struct out *out, const struct run *run, const char *colour)
{
	if (run->colour)
		put(out, "\033[%sm", colour);
}

static void plain(struct out *out, const struct run *run)
{
	if (run->colour)
		put(out, "\033[0m");
}

static const char *verdict_colour(enum verdict verdict)
{
	return verdict == AGREES    ? GREEN
	       : verdict == SKIPPED ? YELLOW
	       : verdict == BROKEN  ? MAGENTA
				    : RED;
}

/* The same name has the same colour in every run. */
static const char *actor_colour(const char *name)
{
	static const char *const colours[] = { "36", "35", "34", "33", "32" };
	unsigned int sum = 0;

	while (*name)
		sum = sum * 31 + (unsigned char)*name++;
	return colours[sum % (sizeof(colours) / sizeof(*colours))];
}

/* --- Lines ----------------------------------------------------------------- */

/* Columns of the first len bytes: UTF-8 continuation bytes take none. */
static int columns(const char *text, size_t len)
{
	int n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

/* Bytes of the next word with the blanks before it. */
static size_t next_word(const char *text)
{
	size_t blanks = strspn(text, " ");

	return blanks + strcspn(text + blanks, " \n");
}

/*
 * Text from column at on, broken between words, further lines indented. Returns
 * the column where it ends.
 */
static int wrap(struct out *out, int at, int indent, const char *text)
{
	int first = at;

	while (*text) {
		size_t len = next_word(text);

		if (at > first && at + columns(text, len) > WIDTH) {
			put(out, "\n%*s", indent, "");
			at = first = indent;
			len -= strspn(text, " ");
			text += strspn(text, " ");
		}
		put(out, "%.*s", (int)len, text);
		at += columns(text, len);
		text += len;
		if (*text == '\n') {
			put(out, "\n%*s", indent, "");
			at = first = indent;
			text++;
		}
	}
	return at;
}

/* "     [tenant]$ ": who acts ($) or sees (a blank). Returns the column. */
static int speaker(struct out *out, const struct run *run, const char *who,
		   char mark)
{
	int pad = 10 - columns(who, strlen(who));

	put(out, "     ");
	paint(out, run, actor_colour(who));
	put(out, "[%s]", who);
	plain(out, run);
	put(out, "%c %*s", mark, pad > 0 ? pad : 0, "");
	return 5 + columns(who, strlen(who)) + 4 + (pad > 0 ? pad : 0);
}

/* --- Records --------------------------------------------------------------- */

static void begin(struct out *out, const struct run *run)
{
	struct utsname uts;

	uname(&uts);
	paint(out, run, BOLD);
	put(out, "%s", run->lab->name);
	plain(out, run);
	put(out, "\n");
	wrap(out, 0, 0, run->lab->question);
	put(out, "\n");
	paint(out, run, DIM);
	put(out, "%s on a %s stage, Linux %s",
	    run->control ? "Control (the namespace left out)" : "Experiment",
	    run->root_stage ? "root" : "user", uts.release);
	plain(out, run);
	put(out, "\n");
}

static void step_line(struct out *out, const struct run *run, const char *text)
{
	static int number;

	put(out, "\n");
	paint(out, run, BOLD);
	put(out, "%3d  ", ++number);
	wrap(out, 5, 5, text);
	plain(out, run);
	if (run->held) {
		paint(out, run, DIM);
		put(out, "  [Enter]");
		plain(out, run);
	} else {
		put(out, "\n");
	}
}

static void call_line(struct out *out, const struct run *run,
		      const struct record *rec)
{
	char text[8192];

	if (rec->err)
		snprintf(text, sizeof(text), "%s = -1 %s (%s)", rec->a,
			 errno_name(rec->err), strerror(rec->err));
	else
		snprintf(text, sizeof(text), "%s = %ld", rec->a, rec->ret);
	wrap(out, speaker(out, run, rec->who, '$'), 21, text);
	put(out, "\n");
}

static void observation_line(struct out *out, const struct run *run,
			     const struct record *rec)
{
	char text[8192];

	snprintf(text, sizeof(text), "%s: %s", rec->a, rec->b);
	wrap(out, speaker(out, run, rec->who, ' '), 21, text);
	put(out, "\n");
}

static void absent_line(struct out *out, const struct run *run,
			const struct record *rec)
{
	char text[8192];

	snprintf(text, sizeof(text), "%s: not on this machine: %s", rec->a, rec->b);
	wrap(out, speaker(out, run, rec->who, ' '), 21, text);
	put(out, "\n");
}

static void spawn_line(struct out *out, const struct run *run,
		       const struct record *rec)
{
	char text[256];
	size_t len;
	int at;

	if (strcmp(rec->who, STAGE_INIT) == 0)
		return;
	len = (size_t)snprintf(text, sizeof(text), "clone3(");
	for (size_t i = 0; ns_types[i].name; i++)
		if (rec->ret & ns_types[i].flag)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s%s",
						text[len - 1] == '(' ? "" : " | ",
						ns_types[i].flag_name);
	snprintf(text + len, sizeof(text) - len, "%s) starts",
		 text[len - 1] == '(' ? "0" : "");
	at = wrap(out, speaker(out, run, rec->who, '$'), 21, text);
	if (at + 1 + columns(rec->a, strlen(rec->a)) > WIDTH)
		put(out, "\n%*s", 20, "");
	put(out, " ");
	paint(out, run, actor_colour(rec->a));
	put(out, "%s", rec->a);
	plain(out, run);
	put(out, "\n");
}

static void exit_line(struct out *out, const struct run *run,
		      const struct record *rec)
{
	if (strcmp(rec->who, STAGE_INIT) == 0)
		return;
	speaker(out, run, rec->a, ' ');
	put(out, "%s\n", status_text((int)rec->ret));
}

/* What was expected of the left key, in words. */
static void expectation(char *text, size_t room, const struct finding *f)
{
	const struct claim *c = f->claim;

	switch (c->relation) {
	case SAME_AS:
		snprintf(text, room, "\"%s\" as in %s", f->right_value, c->right);
		break;
	case DIFFERS_FROM:
		snprintf(text, room, "other than \"%s\" in %s", f->right_value,
			 c->right);
		break;
	case IS:
		snprintf(text, room, "\"%s\"", f->right_value);
		break;
	case IS_NOT:
		snprintf(text, room, "other than \"%s\"", f->right_value);
		break;
	}
}

static void claim_lines(struct out *out, const struct run *run,
			const struct finding *f)
{
	static bool begun;
	const struct claim *c = f->claim;
	const char *mark = f->truth == UNKNOWN ? "-" : f->as_expected ? "ok" : "NO";
	const char *note = c->premise ? " (premise)" : "";
	char expected[4096], text[8192];

	if (run->unicode && f->truth != UNKNOWN)
		mark = f->as_expected ? "\u2714" : "\u2718";
	if (run->control && !c->premise && f->truth == FAILS)
		note = ": fails here, as it must";
	if (!begun) {
		paint(out, run, BOLD);
		put(out, "\n     Claims and observations\n");
		plain(out, run);
	}
	begun = true;

	paint(out, run,
	      verdict_colour(f->truth == UNKNOWN ? SKIPPED
			     : f->as_expected	 ? AGREES
						 : DISAGREES));
	put(out, "%*s%s ", 4 - columns(mark, strlen(mark)), "", mark);
	plain(out, run);
	snprintf(text, sizeof(text), "%s%s", c->text, note);
	wrap(out, 5, 5, text);
	put(out, "\n");

	if (f->truth == UNKNOWN) {
		snprintf(text, sizeof(text), "skipped: %s", f->reason);
	} else {
		expectation(expected, sizeof(expected), f);
		snprintf(text, sizeof(text), "%s: expected %s, observed \"%s\"",
			 c->left, expected, f->left_value);
	}
	paint(out, run, DIM);
	put(out, "       ");
	wrap(out, 7, 9, text);
	plain(out, run);
	put(out, "\n");
}

static void end_lines(struct out *out, const struct run *run,
		      const struct record *rec)
{
	const struct summary *sum = &run->sum;
	char text[8192];

	if (rec->a)
		snprintf(text, sizeof(text), "%s: %s", verdict_name(rec->verdict),
			 rec->a);
	else
		snprintf(text, sizeof(text),
			 "%s: %d of %d claims %s, %d of %d premises hold%s",
			 verdict_name(rec->verdict), sum->claims_as_expected,
			 sum->claims,
			 run->control ? "fail without the namespace" : "hold",
			 sum->premises_hold, sum->premises,
			 sum->unknown ? ", the rest is skipped" : "");
	put(out, "\n     ");
	paint(out, run, verdict_colour(rec->verdict));
	wrap(out, 5, 5, text);
	plain(out, run);
	put(out, "\n");
}

void write_text(struct out *out, const struct run *run, const struct record *rec)
{
	switch (rec->kind) {
	case REC_LAB:
		begin(out, run);
		break;
	case REC_STEP:
		step_line(out, run, rec->a);
		break;
	case REC_CALL:
		call_line(out, run, rec);
		break;
	case REC_OBSERVATION:
		observation_line(out, run, rec);
		break;
	case REC_ABSENT:
		absent_line(out, run, rec);
		break;
	case REC_SPAWN:
		spawn_line(out, run, rec);
		break;
	case REC_EXIT:
		exit_line(out, run, rec);
		break;
	case REC_CLAIM:
		claim_lines(out, run, rec->finding);
		break;
	case REC_END:
		end_lines(out, run, rec);
		break;
	}
}

void list_text(struct out *out, const struct lab *lab)
{
	put(out, "%s\n", lab->name);
	wrap(out, 0, 0, lab->question);
	put(out, "\n");
	for (const struct claim *c = lab->claims; c->id; c++) {
		put(out, "\n%3td  ", c - lab->claims + 1);
		wrap(out, 5, 5, c->text);
		put(out, "\n     %s: %s %s %s\n", c->premise ? "premise" : "claim",
		    c->left, relation_name(c->relation), c->right);
	}
}
