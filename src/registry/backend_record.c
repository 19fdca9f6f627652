/* What a row says becomes 64 bits by a plain hash: whoever could make two rows collide could as
 * well write the one that he wants. The same row has the same hash in each process and after a
 * restart. */
#include "registry/backend_record.h"

#include "base/hash.h"

#include <string.h>

static uint64_t hash_text(uint64_t before, const char *text)
{
	return hash_stable(text, strlen(text) + 1, before);
}

uint64_t backend_record_hash(uint64_t before, const struct backend_record *b)
{
	const int64_t numbers[] = {b->port,    b->weight,  b->soft_limit, b->hard_limit,
	                           b->healthy, b->deleted, b->registered, b->registered_at};
	uint64_t h = hash_stable(numbers, sizeof(numbers), before);

	h = hash_text(h, b->id);
	h = hash_text(h, b->app);
	h = hash_text(h, b->region);
	h = hash_text(h, b->ip);
	h = hash_text(h, b->country);
	h = hash_text(h, b->pop);
	return hash_text(h, b->state[0] != '\0' ? b->state : "ready");
}
