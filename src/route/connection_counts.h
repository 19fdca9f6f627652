/* How many connections there are, by slot of a backend (route/live.h) and in all, as memory that
 * several processes may map: an upgrade has two, and one limit holds for both.
 *
 * The counts are any thread's of any of the processes; making, mapping and freeing them is the
 * control thread's. */
#ifndef ROUTE_CONNECTION_COUNTS_H
#define ROUTE_CONNECTION_COUNTS_H

#include "base/check.h"
#include "route/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* As it lies in memory. The total is on a cache line of its own: every connection of every worker
 * passes there. */
struct connection_counts {
	uint64_t magic; /* of those that are shared */
	_Alignas(64) _Atomic uint32_t total;
	_Alignas(64) _Atomic uint32_t by_slot[LIVE_SLOTS_MAX];
};

/* Of this process alone. NULL: out of memory. Address space for all slots, memory only for those
 * that were counted in. */
struct connection_counts *connection_counts_new(void);
/* New ones that other processes can map by *ret_fd, which is the caller's to close. The name is
 * what the kernel shows for it. 0 or -errno. */
MUST_CHECK int connection_counts_share(const char *name, int *ret_fd,
                                       struct connection_counts **ret_counts);
/* Those that another process has shared; fd may be closed afterwards. 0; -EPROTO (that memory is
 * not of this version); another -errno. */
MUST_CHECK int connection_counts_map(int fd, struct connection_counts **ret_counts);
/* Whatever it came from. NULL-safe; those that others have mapped stay for them. */
void connection_counts_free(struct connection_counts *c);

/* Takes out of the counts whatever part counts: what a process held that has died. Never twice for
 * one part. Returns how much that was of the total. */
uint32_t connection_counts_subtract(struct connection_counts *c,
                                    const struct connection_counts *part);

/* Adds one to a count unless that would pass limit: taken, never checked and then taken. */
MUST_CHECK static inline bool connection_count_take(_Atomic uint32_t *count, uint32_t limit)
{
	uint32_t now = atomic_load_explicit(count, memory_order_relaxed);

	do {
		if (now >= limit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(count, &now, now + 1, memory_order_relaxed,
	                                                memory_order_relaxed));
	return true;
}

static inline void connection_count_give_back(_Atomic uint32_t *count)
{
	/* In one order with the length of the queue (route/queue.c), which is read next. */
	uint32_t before = atomic_fetch_sub_explicit(count, 1, memory_order_seq_cst);

	CHECK(before > 0);
}

#endif
