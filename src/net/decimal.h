/* A decimal number as protocols and addresses write it: digits alone, no sign, no space and no
 * leading zero (some readers take "010" for eight). Values; any thread. */
#ifndef NET_DECIMAL_H
#define NET_DECIMAL_H

#include "base/check.h"

#include <errno.h>

/* 0..max, which is at most 65535. 0 or -EINVAL. */
MUST_CHECK static inline int decimal_parse(const char *text, unsigned max, unsigned *ret_number)
{
	unsigned n = 0;
	const char *p = text;

	if (*p == '\0' || (*p == '0' && p[1] != '\0'))
		return -EINVAL;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		n = n * 10 + (unsigned)(*p - '0');
		if (n > max)
			return -EINVAL;
	}
	*ret_number = n;
	return 0;
}

/* Writes a number without an end; returns where it ends. For the log line of each session, of whose
 * cost printf() would be the larger part. */
static inline char *decimal_write(char *to, unsigned number)
{
	char digits[10];
	int n = 0;

	do {
		digits[n++] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	while (n > 0)
		*to++ = digits[--n];
	return to;
}

#endif
