/* SPDX-License-Identifier: MIT */
#include "squeeze.h"

#include <stdint.h>
#include <string.h>

#define FAR 65535 /* how far back a piece may look */
#define ROOM (4 * (FAR + 1))
#define SHORT 4 /* bytes that are worth a piece */
#define LONG 131
#define PLAIN 128
#define SLOTS 4096

static void (*send)(const char *, size_t);
static unsigned char past[ROOM];
static size_t end;	     /* of what is known */
static size_t sent;	     /* of what has become pieces */
static uint32_t seen[SLOTS]; /* one more than where such four bytes stood last */
static unsigned char out[ROOM + ROOM / PLAIN + 1];
static size_t out_size;

static uint32_t slot(const unsigned char *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	return word * 2654435761U >> 20;
}

static void plain(size_t from, size_t to)
{
	while (from < to) {
		size_t size = to - from < PLAIN ? to - from : PLAIN;

		out[out_size++] = (unsigned char)(size - 1);
		memcpy(out + out_size, past + from, size);
		out_size += size;
		from += size;
	}
}

static size_t alike(size_t from, size_t at)
{
	size_t size = 0;

	while (size < LONG && at + size < end &&
	       past[from + size] == past[at + size])
		size++;
	return size;
}

void squeeze_into(void (*to)(const char *bytes, size_t size))
{
	send = to;
}

void squeeze_out(void)
{
	size_t at = sent, begun = sent;

	while (at + SHORT <= end) {
		uint32_t *last = &seen[slot(past + at)];
		size_t from = *last - 1;
		size_t size = *last && at - from <= FAR ? alike(from, at) : 0;

		*last = (uint32_t)at + 1;
		if (size < SHORT) {
			at++;
			continue;
		}
		plain(begun, at);
		out[out_size++] = (unsigned char)(size - SHORT + PLAIN);
		out[out_size++] = (unsigned char)((at - from) >> 8);
		out[out_size++] = (unsigned char)(at - from);
		at += size;
		begun = at;
	}
	plain(begun, end);
	sent = end;
	send((const char *)out, out_size);
	out_size = 0;
}

/* No room for more: keep what may still be looked at. */
static void forget(void)
{
	size_t gone = end - FAR;

	memmove(past, past + gone, FAR);
	for (size_t i = 0; i < SLOTS; i++)
		seen[i] = seen[i] > gone ? seen[i] - (uint32_t)gone : 0;
	end = sent = FAR;
}

void squeeze(const char *bytes, size_t size)
{
	while (size > 0) {
		size_t part = size < ROOM - end ? size : ROOM - end;

		memcpy(past + end, bytes, part);
		end += part;
		bytes += part;
		size -= part;
		if (end == ROOM) {
			squeeze_out();
			forget();
		}
	}
}
