/* What a change of the routing database would move, as plain data: two worlds, made from the rows
 * as they are and as they would be, in which the same clients decide anew by the functions that the
 * workers run. Pure but for memory: no files, no clock; the same input gives the same answer. */
#ifndef CLI_PLAN_COMPARE_H
#define CLI_PLAN_COMPARE_H

#include "base/check.h"
#include "geo/geo_db.h"
#include "net/addr.h"
#include "route/balancer.h"
#include "route/rows.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A prefix of clients at one listener. */
struct plan_client {
	struct ip client; /* one of them */
	struct endpoint listen;
	const char *backend; /* where the latest went; NULL: unknown */
	double weight;       /* connections */
};

/* What is true of a backend beside its row. */
struct plan_live {
	const char *id;
	uint32_t connections;
	unsigned faults; /* enum live_fault */
	uint8_t ramp;
	uint8_t weight_percent;
};

struct plan_input {
	const struct route_rows *rows[2]; /* [PLAN_NOW], [PLAN_THEN] */
	const char *region;               /* of the POP */
	const char *app;                  /* EDGEPROXY_APP; "": every one */
	struct endpoint listen;           /* EDGEPROXY_LISTEN_ADDR; zero: none */
	uint32_t panic_percent;
	struct geo_db *geo; /* NULL: none */
	const struct plan_client *clients;
	size_t client_count;
	const struct plan_live *live;
	size_t live_count;
};

enum plan_side { PLAN_NOW, PLAN_THEN, PLAN_SIDES };

/* Where a decision ends: an index of plan_result.backends, or */
#define PLAN_NO_BACKEND UINT32_MAX          /* none takes it, or all are full */
#define PLAN_DENIED (UINT32_MAX - 1)        /* by access_rules */
#define PLAN_NOT_LISTENING (UINT32_MAX - 2) /* nobody listens there */

/* All shares are of all clients, by weight: 0..1. */
struct plan_move {
	char country[3]; /* of the clients, as it is now; "": unknown */
	uint32_t from;
	uint32_t to;
	double share;
};

struct plan_country {
	char country[3];
	double share;
	double moved;
	double score[PLAN_SIDES];    /* region_score, on average of those that get a backend */
	double unserved[PLAN_SIDES]; /* share that ends at none of the backends */
};

struct plan_backend {
	const char *id;
	const char *region;                        /* then, or now where it has no row then */
	const struct backend_row *row[PLAN_SIDES]; /* NULL: none; the input's */
	uint32_t connections;                      /* now, as counted */
	double share[PLAN_SIDES];
	double expected[PLAN_SIDES]; /* connections, with as many in all as there are now */
	bool passes_soft[PLAN_SIDES];
	bool reaches_hard[PLAN_SIDES];
};

struct plan_result {
	double weight;
	double moved;
	double unserved[PLAN_SIDES]; /* PLAN_NO_BACKEND */
	double denied[PLAN_SIDES];
	double not_listening[PLAN_SIDES];
	double newly_unserved; /* of those that have a backend now */
	double scores[PLAN_SIDES][3];
	double bindings_kept;
	double bindings_lost;
	double bindings_unknown;
	bool would_be_held;            /* more than half of the usable backends would go */
	struct plan_backend *backends; /* by id */
	size_t backend_count;
	struct plan_move *moves; /* the greatest first */
	size_t move_count;
	struct plan_country *countries; /* the greatest first */
	size_t country_count;
};

/* Decisions that are made on each side, all clients together. */
#define PLAN_DECISIONS 65536

/* 0; -ENOMEM, -ENOSPC or -EINVAL. What is in *ret_result is of input where it points. */
MUST_CHECK int plan_compare(const struct plan_input *input, struct plan_result *ret_result);
void plan_result_done(struct plan_result *r);

#endif
