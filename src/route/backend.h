/* A backend as the routing table has it: its row, in the shape that decisions want. What is true of
 * it now is under its slot (route/live.h). Part of a table (route/table.h), and as immutable. */
#ifndef ROUTE_BACKEND_H
#define ROUTE_BACKEND_H

#include "net/addr.h"
#include "route/limits.h"
#include "route/region.h"
#include "route/rows.h"

#include <stdbool.h>
#include <stdint.h>

struct backend {
	const char *id;
	const char *app;
	region_id region;
	char country[3];
	bool healthy;
	bool deleted;
	enum admin_state state;
	uint32_t weight;
	uint32_t soft_limit;
	uint32_t hard_limit;
	uint32_t slot; /* in live */
	struct endpoint addr;
	char congestion[CONGESTION_NAME_MAX + 1]; /* "": that of the environment */
};

/* Can new clients go there at all (limits aside)? */
static inline bool backend_usable(const struct backend *b)
{
	return b->healthy && !b->deleted && b->state == STATE_READY && b->weight > 0;
}

#endif
