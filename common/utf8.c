/* SPDX-License-Identifier: MIT */
/* utf8.c - which bytes are text, and text that is safe to show. */
#include <stdio.h>
#include <string.h>

#include "event.h"
#include "trace.h"

int utf8_length(const unsigned char *s)
{
	int n = s[0] < 0x80   ? 1
		: s[0] < 0xc2 ? 0
		: s[0] < 0xe0 ? 2
		: s[0] < 0xf0 ? 3
		: s[0] < 0xf5 ? 4
			      : 0;

	for (int i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

const char *visible(int which, const char *text, bool lines)
{
	static char shown[VISIBLE][2 * EVENT_TEXT + 1]; /* four bytes for one */
	char *to = shown[which];
	const unsigned char *s = (const unsigned char *)text;

	while (s && *s && to - shown[which] < 2 * EVENT_TEXT - 4) {
		int n = utf8_length(s);
		bool control = *s < 0x20 || *s == 0x7f || n == 0 ||
			       (*s == 0xc2 && s[1] < 0xa0);

		if (!control || (*s == '\n' && lines)) {
			memcpy(to, s, (size_t)n);
			to += n;
			s += n;
		} else {
			to += *s == '\n'   ? sprintf(to, "\\n")
			      : *s == '\t' ? sprintf(to, "\\t")
					   : sprintf(to, "\\x%02x", *s);
			s++;
		}
	}
	*to = '\0';
	return text ? shown[which] : NULL;
}
