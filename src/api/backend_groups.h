/* Backends summed up by app and region, where there are too many for a series each. Counters of a
 * backend begin anew when its slot does and end when it goes; those of a group only grow, as
 * Prometheus expects of counters. One thread. */
#ifndef API_BACKEND_GROUPS_H
#define API_BACKEND_GROUPS_H

#include "base/check.h"
#include "route/live.h"
#include "route/region.h"
#include "route/table.h"

#include <stddef.h>
#include <stdint.h>

/* Pairs of app and region since the start; those that come later are one group without a name. */
#define BACKEND_GROUPS_MAX 4096

struct backend_group {
	char *app; /* NULL: the one without a name, which is the first */
	region_id region;

	uint64_t connects; /* counters */
	uint64_t errors;

	uint64_t members; /* now, as the rest; 0: none is in the table */
	uint64_t active;
	uint64_t limit;
	uint64_t usable;
	uint64_t faults[LIVE_FAULTS];
};

struct backend_groups;

/* NULL: out of memory. */
struct backend_groups *backend_groups_new(const struct live *live);
void backend_groups_free(struct backend_groups *g); /* NULL-safe */
/* Adds what has been counted since the last time, and looks at how things are now. */
void backend_groups_update(struct backend_groups *g, const struct table *t);
size_t backend_groups_count(const struct backend_groups *g);
const struct backend_group *backend_groups_get(const struct backend_groups *g, size_t i);

/* Is it in the metrics at all? A deleted one without a connection is not. */
bool backend_is_shown(const struct live *live, const struct backend *b);
/* Does it take new clients, hard limit aside? */
bool backend_takes_clients(const struct live *live, const struct backend *b);

#endif
