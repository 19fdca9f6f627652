/* Takes one of every N, at a random place among them: counts can be scaled exactly, and a pattern
 * in what comes cannot hide behind one in what is taken. Whoever owns it is the only thread that
 * uses it; all zeroes is a new one. */
#ifndef BASE_SAMPLER_H
#define BASE_SAMPLER_H

#include "base/rng.h"

#include <stdbool.h>
#include <stdint.h>

struct sampler {
	uint64_t at;   /* in the present N */
	uint64_t pick; /* which of them is taken */
};

/* every: N, at least 1, always the same. */
static inline bool sampler_take(struct sampler *s, uint64_t every, struct rng *rng)
{
	bool taken;

	if (every == 1)
		return true;
	if (s->at == 0)
		s->pick = rng_below(rng, every);
	taken = s->at == s->pick;
	s->at = s->at + 1 == every ? 0 : s->at + 1;
	return taken;
}

#endif
