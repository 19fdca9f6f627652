/* Which backends one client's connection has tried in vain. Nearly every session connects at the
 * first try and so never allocates here; one that fails gets a bit for each slot up to the one that
 * failed, at most LIVE_SLOTS_MAX bits (32 KiB), and gives them back when it is connected. */
#include "route/tried.h"

#include "route/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void tried_init(struct tried *t)
{
	t->bits = NULL;
	t->words = 0;
}

void tried_done(struct tried *t)
{
	free(t->bits);
	tried_init(t);
}

int tried_add(struct tried *t, uint32_t slot)
{
	uint32_t word = slot / 64;

	CHECK(slot < LIVE_SLOTS_MAX);
	if (word >= t->words) {
		uint64_t *bits = realloc(t->bits, ((size_t)word + 1) * sizeof(*bits));

		if (bits == NULL)
			return -ENOMEM;
		memset(bits + t->words, 0, (word + 1 - t->words) * sizeof(*bits));
		t->bits = bits;
		t->words = word + 1;
	}
	t->bits[word] |= (uint64_t)1 << (slot % 64);
	return 0;
}
