/* What is served at the doors: the same routes to all of them, each answering those that are its
 * own. Whoever owns the thread fills it in; the API thread only. */
#ifndef HTTP_SITE_H
#define HTTP_SITE_H

#include "config/config.h"
#include "http/router.h"
#include "http/tokens.h"

#include <stddef.h>
#include <stdint.h>

struct site {
	const struct config *config;
	struct tokens *tokens;      /* NULL: whoever can connect may do everything */
	const struct route *routes; /* static */
	size_t route_count;
	struct core *core;      /* what the handlers work on */
	unsigned pending_count; /* requests that wait now, at all doors */
	uint64_t seed;          /* a secret */
};

#endif
