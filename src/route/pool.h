/* A pool: the backends that one app's clients may get, or all backends. Part of a table
 * (route/table.h), as immutable, but for whether it is in panic.
 *
 * The pools of a table are made by the control thread in two steps: members are put in order, and
 * when each backend has its slot, the columns are filled. */
#ifndef ROUTE_POOL_H
#define ROUTE_POOL_H

#include "base/arena.h"
#include "base/check.h"
#include "route/backend.h"
#include "route/region.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The usable backends of one region in one pool. Its region_score for a client is one number, so
 * whole groups are skipped when a nearer one has a candidate. */
struct group {
	region_id region;
	bool dense;     /* the members' slots follow one another */
	uint32_t first; /* of pool.members */
	uint32_t count;
};

/* The usable backends of one app, or of all. What a decision needs of a member
 * lies in columns, by position, so that a scan over many reads little and in order. */
struct pool {
	const char *app;   /* NULL: every app */
	uint32_t *members; /* indices of table.backends: by group, then by country, then by id */
	uint32_t *slots;
	float *costs; /* what one connection adds to the score, nearly: 1 / (soft_limit * weight) */
	uint32_t *weights;
	uint64_t *weights_before; /* the sum of all weights before; one more than members */
	uint32_t *soft_limits;
	uint32_t *hard_limits;
	uint32_t member_count;
	struct group *groups;
	uint32_t group_count;
	/* The one thing here that changes: too few members are sound, so their faults are ignored.
	 * The control thread's to write (route/panic.h). */
	atomic_bool panic;
};

/* Are faults ignored? Any thread. */
static inline bool pool_in_panic(const struct pool *p)
{
	return atomic_load_explicit(&p->panic, memory_order_relaxed);
}

/* ---- making the pools of a table ---- */

#define POOLS_MAX (1u << 21)

/* The members of all pools. Sorted: by pool, then region, country, and place of the backend. */
struct pool_members {
	uint64_t *keys; /* a number each */
	size_t count;
};

/* Room for as many as most, in the arena. 0 or -ENOMEM. */
MUST_CHECK int pool_members_init(struct pool_members *m, struct arena *arena, size_t most);
/* Adds backends[backend] to pool, which is a number below POOLS_MAX. */
void pool_members_add(struct pool_members *m, uint32_t pool, const struct backend *backends,
                      uint32_t backend);
void pool_members_sort(struct pool_members *m);
/* Of the member at a place: the numbers that it was added with. */
uint32_t pool_of_member(const struct pool_members *m, size_t place);
uint32_t backend_of_member(const struct pool_members *m, size_t place);

/* Fills pools, which are empty (zeroed but for their apps), with the members, which are sorted, and
 * whose backends have their slots. The arena is to live as long as the pools. 0 or -ENOMEM. */
MUST_CHECK int pools_fill(struct pool *pools, uint32_t pool_count, const struct backend *backends,
                          const struct pool_members *m, struct arena *arena);

#endif
