/* The backends that have been tried for one client: a bit a slot, allocated at the first failure.
 * The owner thread only. */
#ifndef ROUTE_TRIED_H
#define ROUTE_TRIED_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tried {
	uint64_t *bits;
	uint32_t words;
};

void tried_init(struct tried *t);
void tried_done(struct tried *t);
/* 0 or -ENOMEM. */
MUST_CHECK int tried_add(struct tried *t, uint32_t slot);

static inline bool tried_has(const struct tried *t, uint32_t slot)
{
	return t != NULL && slot / 64 < t->words && (t->bits[slot / 64] >> (slot % 64) & 1) != 0;
}

#endif
