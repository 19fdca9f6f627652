/* The policy: a client's way through affinity, geo and balancer. Workers and `edgeproxy explain`
 * run these same functions. No I/O; `now` and randomness are arguments; the one effect is the
 * reservation that policy_choose() takes. */
#ifndef ROUTE_POLICY_H
#define ROUTE_POLICY_H

#include "base/check.h"
#include "geo/geo_db.h"
#include "geo/special.h"
#include "route/affinity.h"
#include "route/balancer.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

enum place_source {
	PLACE_OVERRIDE, /* a row of geo_overrides */
	PLACE_SPECIAL,  /* a special-purpose range: no country */
	PLACE_DATABASE,
	PLACE_UNKNOWN, /* in none of them */
};

#define PLACE_SOURCES (PLACE_UNKNOWN + 1)

const char *place_source_word(enum place_source source);

/* Where a client is. */
struct place {
	char country[3];  /* "" when unknown */
	region_id region; /* REGION_NONE when unknown: it never becomes anything else */
	enum place_source source;
	struct prefix network;               /* what matched; unset for PLACE_UNKNOWN */
	const struct special_range *special; /* for PLACE_SPECIAL */
};

/* In this order: geo_overrides, special-purpose ranges, the database. db may be NULL. */
struct place policy_locate(const struct table *t, const struct geo_db *db, const struct ip *ip);

struct policy_query {
	const struct table *table;
	struct affinity *affinity; /* NULL: none is kept */
	const struct service *service;
	const struct ip *client;
	const struct place *place;
	const struct tried *tried; /* NULL: none */
	uint64_t now_ms;
	struct rng *rng;
};

struct choice {
	const struct backend *backend; /* of the table; one connection there is reserved */
	struct binding binding;
	bool from_affinity;
	bool panic;                  /* faults were ignored, though the pool was not in panic yet */
	struct balancer_terms terms; /* at the time of the choice, the reservation not counted */
};

/* Chooses a backend and reserves one connection on it: the one that the client had, if it still
 * takes clients and has room, else the balancer's. 0; -ENOENT (no backend takes clients of this
 * app); -EHOSTUNREACH (every one that does has been tried); -EAGAIN (those that do and have not
 * been tried are at their hard limit: one may have room later). The affinity table is not written:
 * that is for after a successful connect. */
MUST_CHECK int policy_choose(const struct policy_query *q, struct choice *ret_choice);
/* What policy_choose() would say now. Takes no place and no trial, and uses no binding. */
MUST_CHECK int policy_look(const struct policy_query *q, struct choice *ret_choice);

#endif
