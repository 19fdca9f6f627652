/* Affinity: which backend a client had. Keys are a masked client address and a service; values name
 * a backend for ever (slot and generation). Bounded: an entry that was not used lately gives way
 * (the least recently used of sixteen drawn by chance). The time to live counts from the last use
 * and is checked on read.
 *
 * Sharded, one short lock a shard; any thread. Times are milliseconds of a monotonic clock, given
 * by the caller. Only their differences count, modulo 2^64, so that a use from before the clock
 * began (in a life before this boot) can be given too. */
#ifndef ROUTE_AFFINITY_H
#define ROUTE_AFFINITY_H

#include "base/check.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct affinity;

#define AFFINITY_ENTRIES_MAX 100000000

struct affinity_options {
	size_t max_entries; /* 1..AFFINITY_ENTRIES_MAX */
	uint64_t ttl_ms;    /* 0: no affinity, every lookup misses and nothing is kept */
	unsigned v4_bits;   /* 1..32 */
	unsigned v6_bits;   /* 1..128 */
	uint64_t seed;      /* a secret, so that clients cannot choose colliding keys */
};

struct binding {
	uint32_t slot;
	uint32_t generation;
};

struct affinity_counts {
	uint64_t entries, hits, misses, evictions, expirations;
};

/* NULL: out of memory. Memory grows with use, to about 48 bytes an entry. */
struct affinity *affinity_new(const struct affinity_options *options);
void affinity_free(struct affinity *a);

/* A hit counts as a use. */
MUST_CHECK bool affinity_find(struct affinity *a, const struct ip *client, uint32_t service,
                              uint64_t now_ms, struct binding *ret_binding);
/* The same for whoever only looks: not counted, not a use. */
MUST_CHECK bool affinity_peek(struct affinity *a, const struct ip *client, uint32_t service,
                              uint64_t now_ms, struct binding *ret_binding);
/* Removes the binding, if there is one. */
void affinity_forget(struct affinity *a, const struct ip *client, uint32_t service);
/* Writes or overwrites. Out of memory: the binding is not kept. */
void affinity_put(struct affinity *a, const struct ip *client, uint32_t service,
                  struct binding binding, uint64_t now_ms);
/* A session ended: its use lasted until now. The binding is kept anew where it has gone meanwhile
 * (a session may be longer than the time to live); one to another backend is left alone. */
void affinity_touch(struct affinity *a, const struct ip *client, uint32_t service,
                    struct binding binding, uint64_t now_ms);
/* Any thread, without a lock: while others work, each number is of a moment of its own. */
struct affinity_counts affinity_counts(const struct affinity *a);

/* ---- walks over the table ---- */

/* Where a walk is. Zeroed: at its beginning. */
struct affinity_cursor {
	uint32_t shard;
	uint32_t left; /* entries of that shard */
	bool inside;   /* left holds */
};

/* Drops expired entries and gives memory back, holding each lock only for a bounded while: looks at
 * a part of the table, about a million entries, and moves the cursor. False: that was the end, and
 * the cursor is at the beginning again. Whatever others do meanwhile, an expired entry that is left
 * out is found the next time. */
#define AFFINITY_COLLECT_STEPS 4096
MUST_CHECK bool affinity_collect(struct affinity *a, struct affinity_cursor *cursor,
                                 uint64_t now_ms);

struct affinity_entry {
	struct ip client; /* masked */
	uint32_t service;
	struct binding binding;
	uint64_t used_ms;
};

/* Copies entries that are not expired and were used at since_ms or later, in no order, and moves
 * the cursor; one call looks at AFFINITY_EXPORT_ENTRIES at most. False: that was the end. Whatever
 * others do between two calls, no entry that was there all the time is left out; one that moved may
 * come twice. */
#define AFFINITY_EXPORT_ENTRIES 1024
bool affinity_export(struct affinity *a, struct affinity_cursor *cursor, uint64_t since_ms,
                     uint64_t now_ms, struct affinity_entry entries[AFFINITY_EXPORT_ENTRIES],
                     size_t *ret_count);

#endif
