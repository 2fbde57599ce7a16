/* SPDX-License-Identifier: MIT */
/* errname.h - errno and signals by name, and what to do about them. */
#ifndef ERRNAME_H
#define ERRNAME_H

/* "EPERM", or its number in static storage where the name is unknown. */
const char *errno_name(int err);

/* What usually helps, a clause that follows a semicolon. */
const char *errno_hint(int err);

/* "SIGKILL", or its number in static storage. */
const char *signal_name(int sig);

#endif
