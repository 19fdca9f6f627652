/* Where one client would go, and why: asks the functions that the workers run, and takes nothing:
 * no place, no trial, no use of a binding. Plain data; explanation_json.h shows it. Whoever may
 * read the table may explain; no I/O. */
#ifndef EXPLAIN_EXPLANATION_H
#define EXPLAIN_EXPLANATION_H

#include "base/check.h"
#include "route/client_limits.h"
#include "route/policy.h"
#include "route/queue.h"
#include "route/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct explain_query {
	const struct table *table;
	const struct geo_db *geo; /* NULL: none */
	const struct service *service;
	const struct ip *client;
	uint64_t now_ms;
	uint64_t seed; /* of the draw among equals */

	/* Of a running proxy; NULL where files are asked. */
	struct affinity *affinity;
	const struct queue *queue;
	struct client_limits *limits; /* NULL: there are none */
	uint64_t now_ns;              /* of the clock of the limits */
	bool may_wait;                /* there is a queue to wait in */
};

/* Where the client's region came from. */
enum region_source {
	REGION_FROM_NOWHERE,
	REGION_FROM_OVERRIDE,        /* the row of geo_overrides names one */
	REGION_FROM_COUNTRY_REGIONS, /* a row of country_regions does, for the country */
	REGION_FROM_DEFAULT,         /* the country's, from geo/country_region.def */
};

struct candidate {
	const struct backend *backend;
	struct balancer_terms terms;
	double share; /* of the clients like this one that would be sent there, now: 0..1 */
};

struct explanation {
	const struct table *table;
	const struct geo_db *geo;
	const struct service *service;
	const char *app; /* NULL: every app */
	struct ip client;
	struct place place;
	enum region_source region_source;
	const struct access_rule_row *rule; /* decides whether it may come in; NULL: none does */
	struct candidate *candidates;       /* every backend: the best first, excluded ones last */
	size_t candidate_count;
	size_t best_count; /* the first so many are equally good; one of them is drawn by weight */
	/* -EACCES: denied; -EDQUOT: refused by a limit of the client; else of policy_look(); 0:
	 * there is a winner. */
	int error;
	const struct backend *winner;
	const struct backend *bound; /* the one that it had; NULL: none that is known */
	bool from_affinity;          /* and that is why it won */
	bool panic;                  /* faults are ignored */
	bool live;                   /* of a running proxy: the next holds */
	bool may_wait;
	uint32_t waiting; /* in the queue, now */
	bool limited;     /* clients have limits: the next two hold */
	enum client_verdict verdict;
	uint32_t connections; /* that the client has, now */
};

/* 0 or -ENOMEM. What is in the query outlives *ret. */
MUST_CHECK int explain(const struct explain_query *q, struct explanation *ret);
void explanation_done(struct explanation *e);

#define WHY_MAX 512

/* One sentence without its end: why the winner won, or why there is none. Returns buf. */
char *explanation_why(const struct explanation *e, char buf[WHY_MAX]);

#endif
