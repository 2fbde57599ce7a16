/* SPDX-License-Identifier: MIT */
/*
 * write_json.c - the trace as JSON Lines; docs/trace.schema.json describes it.
 *
 * Why no JSON library here: docs/libraries.md.
 */
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "errname.h"
#include "trace.h"

#ifndef NSLABS_VERSION
#define NSLABS_VERSION "unknown"
#endif

void put_json_string(struct out *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	if (!text) {
		put(out, "null");
		return;
	}
	put(out, "\"");
	while (*s) {
		int n = utf8_length(s);

		if (n == 0) /* no text: keep the byte visible */
			put(out, "\\ufffd");
		else if (*s == '"' || *s == '\\')
			put(out, "\\%c", *s);
		else if (*s < 0x20)
			put(out, "\\u%04x", *s);
		else
			put(out, "%.*s", n, (const char *)s);
		s += n ? n : 1;
	}
	put(out, "\"");
}

static void field(struct out *out, const char *name, const char *value)
{
	put(out, ",\"%s\":", name);
	put_json_string(out, value);
}

static void truth(struct out *out, const char *name, enum truth known, bool value)
{
	put(out, ",\"%s\":%s", name,
	    known == UNKNOWN ? "null"
	    : value	     ? "true"
			     : "false");
}

/* What the actor's namespaces are, seen from outside; see proc(5). */
static void namespaces(struct out *out, pid_t pid)
{
	static const char *const pending[] = { "pid_for_children",
					       "time_for_children" };
	const char *comma = "";

	put(out, ",\"ns\":{");
	for (size_t i = 0; ns_types[i].name; i++) {
		unsigned long id = ns_id_of(pid, ns_types[i].name);

		if (id) {
			put(out, "%s\"%s\":%lu", comma, ns_types[i].name, id);
			comma = ",";
		}
	}
	for (size_t i = 0; i < sizeof(pending) / sizeof(*pending); i++) {
		unsigned long id = ns_id_of(pid, pending[i]);

		if (id)
			put(out, "%s\"%s\":%lu", comma, pending[i], id);
		if (id)
			comma = ",";
	}
	put(out, "}");
}

static void flags(struct out *out, long set)
{
	const char *comma = "";

	put(out, ",\"flags\":[");
	for (size_t i = 0; ns_types[i].name; i++)
		if (set & ns_types[i].flag) {
			put(out, "%s\"%s\"", comma, ns_types[i].flag_name);
			comma = ",";
		}
	put(out, "]");
}

/* Either exit code or signal; both null where nobody could know. */
static void ending_of(struct out *out, long status)
{
	if (WIFEXITED((int)status))
		put(out, ",\"code\":%d,\"signal\":null", WEXITSTATUS((int)status));
	else
		put(out, ",\"code\":null,\"signal\":\"%s\"",
		    signal_name(WTERMSIG((int)status)));
}

static void claim(struct out *out, const struct claim *c)
{
	field(out, "id", c->id);
	field(out, "text", c->text);
	put(out, ",\"premise\":%s", c->premise ? "true" : "false");
	field(out, "left", c->left);
	field(out, "relation", relation_name(c->relation));
	field(out, "right", c->right);
	field(out, "varies", c->varies);
}

static void begin(struct out *out, const struct run *run)
{
	struct utsname uts;

	uname(&uts);
	field(out, "name", run->lab->name);
	field(out, "question", run->lab->question);
	field(out, "mode", run->control ? "control" : "experiment");
	field(out, "stage", run->root_stage ? "root" : "user");
	field(out, "kernel", uts.release);
	field(out, "version", NSLABS_VERSION);
}

void write_json(struct out *out, const struct run *run, const struct record *rec)
{
	static const char *const events[] = {
		[REC_LAB] = "lab",	 [REC_STEP] = "step",
		[REC_CALL] = "call",	 [REC_OBSERVATION] = "observation",
		[REC_ABSENT] = "absent", [REC_SPAWN] = "spawn",
		[REC_EXIT] = "exit",	 [REC_CLAIM] = "claim",
		[REC_END] = "end",
	};
	const struct finding *f = rec->finding;

	put(out, "{\"v\":1,\"seq\":%zu,\"event\":\"%s\"", run->seq,
	    events[rec->kind]);
	if (rec->who && rec->kind != REC_EXIT) {
		field(out, "who", rec->who);
		put(out, ",\"pid\":%d", (int)rec->pid);
		namespaces(out, rec->pid);
	}
	switch (rec->kind) {
	case REC_LAB:
		begin(out, run);
		break;
	case REC_STEP:
		field(out, "text", rec->a);
		break;
	case REC_CALL:
		field(out, "expr", rec->a);
		put(out, ",\"ret\":%ld", rec->ret);
		field(out, "errno", rec->err ? errno_name(rec->err) : NULL);
		field(out, "source", rec->b);
		break;
	case REC_OBSERVATION:
		field(out, "key", rec->a);
		field(out, "value", rec->b);
		break;
	case REC_ABSENT:
		field(out, "key", rec->a);
		field(out, "reason", rec->b);
		break;
	case REC_SPAWN:
		field(out, "child", rec->a);
		put(out, ",\"child_pid\":%d", (int)rec->child_pid);
		flags(out, rec->ret);
		break;
	case REC_EXIT:
		field(out, "who", rec->a);
		ending_of(out, rec->ret);
		break;
	case REC_CLAIM:
		claim(out, f->claim);
		field(out, "left_value", f->left_value);
		field(out, "right_value", f->right_value);
		truth(out, "holds", f->truth, f->truth == HOLDS);
		truth(out, "as_expected", f->truth, f->as_expected);
		field(out, "reason", f->reason);
		break;
	case REC_END:
		field(out, "verdict", verdict_name(rec->verdict));
		field(out, "reason", rec->a);
		put(out, ",\"seconds\":%.6f", rec->seconds);
		break;
	}
	put(out, "}\n");
}

void list_json(struct out *out, const struct lab *lab)
{
	static const char *const powers[] = { [USER_STAGE] = "user",
					      [PREFERS_ROOT] = "user, better root",
					      [ROOT_STAGE] = "root" };

	put(out, "{\"v\":1");
	field(out, "lab", lab->name);
	field(out, "question", lab->question);
	put(out, ",\"rung\":%d", lab->rung);
	field(out, "needs", powers[lab->power]);
	put(out, ",\"namespaces\":[");
	for (size_t i = 0, n = 0; ns_types[i].name; i++)
		if ((lab->namespaces | CLONE_NEWPID) & ns_types[i].flag)
			put(out, "%s\"%s\"", n++ ? "," : "", ns_types[i].name);
	put(out, "],\"claims\":[");
	for (const struct claim *c = lab->claims; c->id; c++) {
		put(out, "%s{\"n\":%td", c == lab->claims ? "" : ",",
		    c - lab->claims + 1);
		claim(out, c);
		put(out, "}");
	}
	put(out, "]}\n");
}
