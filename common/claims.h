/* SPDX-License-Identifier: MIT */
/* claims.h - what was observed, compared with what is claimed. */
#ifndef CLAIMS_H
#define CLAIMS_H

#include <stdbool.h>
#include <stddef.h>

#include "lab.h"

enum verdict {
	AGREES = 0,
	DISAGREES = 1,
	SKIPPED = 4, /* as in the kernel's selftests */
	BROKEN = 99,
};

const char *verdict_name(enum verdict verdict);

enum truth { FAILS, HOLDS, UNKNOWN };

/* One claim after the run. */
struct finding {
	const struct claim *claim;
	enum truth truth;
	bool as_expected;	 /* holds where it must, fails where it must */
	const char *left_value;	 /* NULL when unknown */
	const char *right_value; /* the literal, or the other key's value */
	const char *reason;	 /* why it is unknown */
};

struct summary {
	int claims, claims_as_expected;
	int premises, premises_hold;
	int unknown; /* claims and premises that this machine cannot answer */
};

/*
 * Remember an observation, or (value NULL) why there is none. Returns NULL, or
 * what is wrong: a key observed twice, too many observations.
 */
const char *remember(const char *key, const char *value, const char *reason);

/* "SAME_AS" and so on. */
const char *relation_name(enum relation relation);

size_t count_claims(const struct lab *lab);

/*
 * Compare one claim. Returns false when one of its keys was never observed;
 * then *missing names it.
 */
bool find_out(const struct claim *claim, bool control, struct finding *finding,
	      const char **missing);

/* Sum up all claims: the verdict, and on BROKEN the reason. */
enum verdict judge(const struct lab *lab, bool control, struct summary *sum,
		   char *reason, size_t room);

#endif
