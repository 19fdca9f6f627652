/* Messages lie one behind the other, each at the beginning of a cache line. The batch knows nothing
 * of sessions: one that ends while its turn is served is freed only behind the batch (loop.c). */
#include "proxy/batch.h"

#include <errno.h>
#include <stdlib.h>

#define ALIGN 64u

int batch_init(struct batch *b)
{
	*b = (struct batch){.bytes = aligned_alloc(ALIGN, BATCH_BYTES + RELAY_CHUNK_BYTES)};
	return b->bytes != NULL ? 0 : -ENOMEM;
}

void batch_done(struct batch *b)
{
	free(b->bytes);
	b->bytes = NULL;
}

uint8_t *batch_room(const struct batch *b)
{
	return b->open ? b->bytes + b->used : NULL;
}

bool batch_hold(struct batch *b, struct session *s, unsigned side, uint32_t length)
{
	CHECK(b->open && b->count < BATCH_MESSAGES);
	b->held[b->count++] = (struct held){
		.session = s, .from = b->used, .length = length, .side = (uint8_t)side};
	b->used += (length + ALIGN - 1) & ~(ALIGN - 1);
	return length > BATCH_SMALL_BYTES || b->count == BATCH_MESSAGES || b->used > BATCH_BYTES;
}

void batch_deliver(struct batch *b, batch_deliver_fn *deliver)
{
	bool was_open = b->open;

	b->open = false; /* what follows from a delivery is done at once */
	for (uint32_t i = 0; i < b->count; i++) {
		const struct held *m = &b->held[i];

		deliver(m->session, m->side, b->bytes + m->from, m->length);
	}
	b->count = 0;
	b->used = 0;
	b->open = was_open;
}
