/* What the live page shows, once: one JSON object of bounded size about the process, its rates, its
 * clients by country, the arcs from countries to backends, and the backends with the most to do. No
 * address is in it, neither of a client nor of a backend. The API thread. */
#ifndef API_SNAPSHOT_H
#define API_SNAPSHOT_H

#include "api/core.h"
#include "proxy/counters.h"

#include <stdint.h>

/* Of each kind at most so many; what is beyond is counted together. */
#define SNAPSHOT_BACKENDS 200
#define SNAPSHOT_ARCS 200
#define SNAPSHOT_COUNTRIES 100
#define SNAPSHOT_TRANSITIONS 16
#define SNAPSHOT_PANICS 8
/* Rates are told against the snapshot before, unless that is older. */
#define SNAPSHOT_STALE_MS 5000

/* How far things were at the snapshot before. Zeroed: there was none. */
struct snapshot_base {
	uint64_t at_ns; /* 0: there was none */
	struct counters_sum counters;
	struct snapshot_connects {
		uint32_t slot;
		uint32_t generation;
		uint64_t connects;
	} connects[SNAPSHOT_BACKENDS]; /* of those that were shown, by slot */
	size_t connect_count;
};

/* Writes down what is so now, and makes it the base of the next. NULL: out of memory; free() it. */
char *snapshot_text(const struct core *c, struct snapshot_base *base, uint64_t now_ns);

/* The slots of at most `most` backends of the table with the most connections for their soft limit,
 * those first that come first by id among equals; in ret ordered by id. Deleted ones are left out.
 * Returns how many. */
size_t snapshot_busiest(const struct table *t, const struct backend **ret, size_t most);

#endif
