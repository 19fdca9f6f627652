/* A set of HTTP status codes as people write it: "200-299,304". Values; any thread. */
#ifndef NET_STATUS_SET_H
#define NET_STATUS_SET_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

#define STATUS_RANGES_MAX 8
#define STATUS_SET_TEXT_MAX \
	(STATUS_RANGES_MAX * 8) /* "200-299," each; the end in the last comma \
	                         */

struct status_set {
	uint16_t first[STATUS_RANGES_MAX];
	uint16_t last[STATUS_RANGES_MAX];
	unsigned count; /* 0: empty */
};

/* 1..STATUS_RANGES_MAX codes or ranges, 100..599, commas between. 0 or -EINVAL. */
MUST_CHECK int status_set_parse(const char *text, struct status_set *ret_set);
/* As it is parsed; "" for an empty set. Returns buf. */
char *status_set_format(const struct status_set *set, char buf[STATUS_SET_TEXT_MAX]);
bool status_set_equal(const struct status_set *a, const struct status_set *b);
bool status_set_has(const struct status_set *set, unsigned status);

#endif
