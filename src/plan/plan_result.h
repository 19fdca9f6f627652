/* What a plan says, as plain data: how much would move from where to where, country by country and
 * backend by backend. Points into the input that it was made for. One thread. */
#ifndef PLAN_PLAN_RESULT_H
#define PLAN_PLAN_RESULT_H

#include "base/check.h"
#include "plan/plan_input.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* All backends of either side, with what is known of them now; nothing has moved yet. 0 or -ENOMEM;
 * plan_result_done() either way. */
MUST_CHECK int plan_result_init(struct plan_result *r, const struct plan_input *input);
void plan_result_done(struct plan_result *r);

/* NULL: there is none. */
struct plan_backend *plan_result_backend(const struct plan_result *r, const char *id);
/* Of all backends that have a row now, or of those of one app. */
double plan_result_connections(const struct plan_result *r, const char *app);

#endif
