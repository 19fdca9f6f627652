/* The balancer: which backend is best for this client now. A pure function of the table, the live
 * counts, the query and the random source.
 *
 *     score = region_score * 100 + (load_factor / weight)
 *     region_score: 0 the client's region, 1 the local POP's region, 2 any other
 *     load_factor = connections / soft_limit
 *
 * as the seed document has it; the lowest score wins. A backend in slow start (a ramp of less than
 * 100 %) is scored as if the client were there already and its weight were that part of it:
 *
 *     load_factor = (connections + 1) / soft_limit, weight * ramp / 100
 *
 * so that one that is empty is not everybody's first choice, and shares its load by its weight so
 * far. What has been seen of backends (faults) excludes them, except in a pool that is in panic.
 *
 * Among backends of region_score 0, those in the client's own country that are under their soft
 * limit (in slow start: that part of it) go before all others. Equal scores are settled by a random
 * choice weighted by weight.
 *
 * The weight is the row's, times what the backend's agent leaves of it (live_weight_percent()). */
#ifndef ROUTE_BALANCER_H
#define ROUTE_BALANCER_H

#include "base/check.h"
#include "base/rng.h"
#include "route/table.h"
#include "route/tried.h"

#include <stdbool.h>
#include <stdint.h>

/* Why a backend is not a candidate: rows of route/exclusion.def. */
enum exclusion {
#define EXCLUSION(name, word, help) EXCLUDED_##name,
#include "route/exclusion.def"
#undef EXCLUSION
};

const char *exclusion_word(enum exclusion e);

struct balancer_query {
	const char *app;           /* NULL: every app */
	const char *country;       /* "" when unknown */
	region_id region;          /* REGION_NONE when unknown */
	const struct tried *tried; /* backends not to offer again; NULL: none */
	bool panic;                /* faults are ignored, even where the pool is not in panic yet */
	bool bound;                /* the client had this backend: it may in a drain's grace */
	uint64_t now_ms;           /* of the grace */
};

struct balancer_terms {
	enum exclusion exclusion; /* EXCLUDED_NOT: a candidate, and the rest holds */
	unsigned region_score;
	uint32_t connections;
	uint8_t ramp; /* percent, or LIVE_NO_RAMP */
	double load_factor;
	double score;
	bool own_country; /* goes first: the client's country, under its soft limit */
};

/* The terms of one backend. */
struct balancer_terms balancer_judge(const struct table *t, const struct backend *b,
                                     const struct balancer_query *q);

/* The best candidate, or NULL; *ret_terms (may be NULL) are its terms. Looks only at the groups
 * that can still win. */
const struct backend *balancer_pick(const struct table *t, const struct balancer_query *q,
                                    struct rng *rng, struct balancer_terms *ret_terms);

#endif
