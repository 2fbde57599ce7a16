/* SPDX-License-Identifier: MIT */
/* claims.c - what was observed, compared with what is claimed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "claims.h"

#define OBSERVATIONS 256 /* of one run, at most */

static struct observation {
	char *key;
	char *value;  /* NULL: absent here */
	char *reason; /* why it is absent */
} seen[OBSERVATIONS];
static size_t nseen;

const char *verdict_name(enum verdict verdict)
{
	switch (verdict) {
	case AGREES:
		return "agrees";
	case DISAGREES:
		return "disagrees";
	case SKIPPED:
		return "skipped";
	default:
		return "broken";
	}
}

const char *relation_name(enum relation relation)
{
	static const char *const names[] = { "SAME_AS", "DIFFERS_FROM", "IS",
					     "IS_NOT" };

	return names[relation];
}

static const struct observation *recall(const char *key)
{
	for (size_t i = 0; i < nseen; i++)
		if (strcmp(seen[i].key, key) == 0)
			return &seen[i];
	return NULL;
}

const char *remember(const char *key, const char *value, const char *reason)
{
	struct observation *new = &seen[nseen];

	if (recall(key))
		return "was observed twice";
	if (nseen == OBSERVATIONS)
		return "is one observation too many";
	new->key = strdup(key);
	new->value = value ? strdup(value) : NULL;
	new->reason = reason ? strdup(reason) : NULL;
	if (!new->key || (value && !new->value) || (reason && !new->reason))
		return "could not be remembered: no memory";
	nseen++;
	return NULL;
}

size_t count_claims(const struct lab *lab)
{
	size_t n = 0;

	while (lab->claims[n].id)
		n++;
	return n;
}

static bool is_literal(const struct claim *claim)
{
	return claim->relation == IS || claim->relation == IS_NOT;
}

bool find_out(const struct claim *claim, bool control, struct finding *finding,
	      const char **missing)
{
	const struct observation *left = recall(claim->left);
	const struct observation *right =
		is_literal(claim) ? NULL : recall(claim->right);
	bool equal,
		wants_equal = claim->relation == SAME_AS || claim->relation == IS;

	*finding = (struct finding){ .claim = claim };
	*missing = !left ? claim->left : claim->right;
	if (!left || (!right && !is_literal(claim)))
		return false;

	finding->left_value = left->value;
	finding->right_value = right ? right->value : claim->right;
	if (!finding->left_value || !finding->right_value) {
		finding->truth = UNKNOWN;
		finding->reason = left->value ? right->reason : left->reason;
		return true;
	}
	equal = strcmp(finding->left_value, finding->right_value) == 0;
	finding->truth = equal == wants_equal ? HOLDS : FAILS;
	finding->as_expected =
		finding->truth == (control && !claim->premise ? FAILS : HOLDS);
	return true;
}

static void count(struct summary *sum, const struct finding *f)
{
	if (f->truth == UNKNOWN) {
		sum->unknown++;
	} else if (f->claim->premise) {
		sum->premises++;
		sum->premises_hold += f->as_expected;
	} else {
		sum->claims++;
		sum->claims_as_expected += f->as_expected;
	}
}

enum verdict judge(const struct lab *lab, bool control, struct summary *sum,
		   char *reason, size_t room)
{
	struct finding f;
	const char *missing, *why = NULL;

	*sum = (struct summary){ 0 };
	for (const struct claim *c = lab->claims; c->id; c++) {
		if (!find_out(c, control, &f, &missing)) {
			snprintf(reason, room,
				 "claim %s: \"%s\" was never observed", c->id,
				 missing);
			return BROKEN;
		}
		count(sum, &f);
		if (f.truth == UNKNOWN && !why)
			why = f.reason;
	}
	if (sum->claims_as_expected < sum->claims ||
	    sum->premises_hold < sum->premises)
		return DISAGREES;
	if (sum->claims == 0) { /* premises alone are no evidence */
		snprintf(reason, room, "%s", why ? why : "the lab claims nothing");
		return why ? SKIPPED : BROKEN;
	}
	return AGREES;
}
