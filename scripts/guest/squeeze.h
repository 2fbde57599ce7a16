/* SPDX-License-Identifier: MIT */
#ifndef SQUEEZE_H
#define SQUEEZE_H

#include <stddef.h>

/*
 * Traces say the same words again and again, and every byte on an emulated serial
 * line costs microseconds. squeeze() takes bytes; squeeze_out() sends what they have
 * become. The other end is scripts/nslabs/vm/squeeze.py.
 *
 * What is sent is a row of pieces, each begun by one byte B:
 *
 *	B < 128		B + 1 bytes follow, as they are
 *	B >= 128	B - 124 bytes again (4 to 131), from as many bytes back as the
 *			two bytes that follow say, the higher one first
 */
void squeeze_into(void (*send)(const char *bytes, size_t size));
void squeeze(const char *bytes, size_t size);
void squeeze_out(void);

#endif
