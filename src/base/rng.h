/* A small deterministic random source: splitmix64. The same seed gives the same numbers, which is
 * what lets a routing decision be repeated. Not for secrets. The owner of the state is the only
 * thread that uses it. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include "base/hash.h"

#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	r->state += 0x9e3779b97f4a7c15u;
	return hash_mix(r->state);
}

/* Uniform in [0, bound); bound must not be 0. The bias is below 2^-32 for bounds under 2^32. */
static inline uint64_t rng_below(struct rng *r, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)rng_next(r) * bound) >> 64);
}

#endif
