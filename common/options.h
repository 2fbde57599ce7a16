/* SPDX-License-Identifier: MIT */
/* options.h - what a lab program answers to. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

#include "lab.h"

enum format { FORMAT_TEXT, FORMAT_KTAP, FORMAT_JSON };
enum stage_choice { STAGE_AUTO, STAGE_USER, STAGE_ROOT };

struct options {
	bool control;
	enum format format;
	bool step;
	bool prompt; /* a person sits at standard input */
	enum stage_choice stage;
	double timeout; /* seconds, above 0 */
	bool colour;
	bool unicode;
};

/* Run the lab and return its exit status. */
int supervise(const struct lab *lab, const struct options *opt);

#endif
