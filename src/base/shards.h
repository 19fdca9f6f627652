/* How a bounded table is parted into shards, each with a lock and a part of the entries, so that
 * threads seldom meet. Pure. */
#ifndef BASE_SHARDS_H
#define BASE_SHARDS_H

#include <stddef.h>
#include <stdint.h>

#define SHARDS_MAX 64
/* A shard has room for at least so many entries, unless there is only one. */
#define SHARD_ENTRIES_MIN 1024

/* How many shards a table of so many entries has: 1 << the result. */
static inline unsigned shard_bits(size_t entries)
{
	unsigned bits = 0;

	while (1u << bits < SHARDS_MAX && entries >> (bits + 1) >= SHARD_ENTRIES_MIN)
		bits++;
	return bits;
}

/* The entries that shard i has room for; in all shards together as many as there are. The first
 * ones take what does not divide evenly. */
static inline uint32_t shard_share(size_t entries, unsigned bits, size_t i)
{
	return (uint32_t)((entries >> bits) + (i < (entries & (((size_t)1 << bits) - 1))));
}

/* The shard of a hash: by its highest bits, because buckets inside a shard go by the lowest. */
static inline size_t shard_of(uint64_t hash, unsigned bits)
{
	return bits == 0 ? 0 : hash >> (64 - bits);
}

#endif
