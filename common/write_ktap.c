/* SPDX-License-Identifier: MIT */
/*
 * write_ktap.c - KTAP version 1 (Documentation/dev-tools/ktap.rst in the kernel).
 *
 * The plan is known before the run: one test per claim. In the control a test is
 * "ok" when its claim fails.
 */
#include <sys/utsname.h>

#include "errname.h"
#include "trace.h"

static void plan(struct out *out, const struct run *run)
{
	struct utsname uts;

	uname(&uts);
	put(out, "# %s, %s on a %s stage, Linux %s\n", run->lab->name,
	    run->control ? "control" : "experiment",
	    run->root_stage ? "root" : "user", uts.release);
}

static void claim(struct out *out, const struct run *run, const struct finding *f)
{
	const struct claim *c = f->claim;
	int number = (int)(c - run->lab->claims) + 1;

	if (number == 1)
		put(out, "1..%zu\n", count_claims(run->lab));
	if (f->truth == UNKNOWN) {
		put(out, "ok %d %s.%s # SKIP %s\n", number, run->lab->name, c->id,
		    f->reason);
		return;
	}
	if (!f->as_expected)
		put(out, "# %s: observed \"%s\", %s \"%s\"\n", c->left,
		    f->left_value, relation_name(c->relation), f->right_value);
	put(out, "%s %d %s.%s\n", f->as_expected ? "ok" : "not ok", number,
	    run->lab->name, c->id);
}

void write_ktap(struct out *out, const struct run *run, const struct record *rec)
{
	if (run->seq == 1)
		put(out, "KTAP version 1\n");
	switch (rec->kind) {
	case REC_LAB:
		plan(out, run);
		break;
	case REC_STEP:
		put(out, "# %s: %s\n", rec->who, rec->a);
		break;
	case REC_CALL:
		put(out, "# %s: %s = %ld%s%s\n", rec->who, rec->a, rec->ret,
		    rec->err ? " " : "", rec->err ? errno_name(rec->err) : "");
		break;
	case REC_OBSERVATION:
		put(out, "# %s: %s is \"%s\"\n", rec->who, rec->a, rec->b);
		break;
	case REC_ABSENT:
		put(out, "# %s: no %s: %s\n", rec->who, rec->a, rec->b);
		break;
	case REC_SPAWN:
	case REC_EXIT:
		break;
	case REC_CLAIM:
		claim(out, run, rec->finding);
		break;
	case REC_END:
		if (rec->verdict == SKIPPED && !run->sum.unknown)
			put(out, "1..0 # SKIP %s\n", rec->a);
		if (rec->verdict == BROKEN)
			put(out, "Bail out! %s\n", rec->a);
		break;
	}
}

void list_ktap(struct out *out, const struct lab *lab)
{
	put(out, "KTAP version 1\n1..%zu\n", count_claims(lab));
	for (const struct claim *c = lab->claims; c->id; c++)
		put(out, "# %td %s.%s - %s\n", c - lab->claims + 1, lab->name,
		    c->id, c->text);
}
