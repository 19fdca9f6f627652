/* Panic: when too few members of a pool are sound, what has been seen of them is not believed any
 * more, and clients are sent to all of them rather than nowhere (Envoy's panic threshold). Only
 * faults are ignored: what the operator wrote of a backend stays true.
 *
 * The control thread only, except for reading pool_in_panic(). */
#ifndef ROUTE_PANIC_H
#define ROUTE_PANIC_H

#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct panic_change {
	const struct table *table;
	const struct pool *pool; /* of table */
	bool panic;
	uint32_t sound; /* members without faults */
};

/* Sets the flag of each pool by the faults as they are now. threshold_percent 0: never. was: the
 * table that routed before, or NULL; a pool that was in panic there is no change. Calls changed for
 * each pool that enters or leaves. */
void panic_update(struct table *t, const struct table *was, uint32_t threshold_percent,
                  void (*changed)(void *arg, const struct panic_change *change), void *arg);

#endif
