/* The batch trusts session.c to ask for room before each read, and to do nothing to a session that
 * holds a message before that is delivered: no event is served, and of an event that moves both
 * directions the second waits for the message of the first. A session that ends while its turn is
 * served is freed only behind the batch (worker.c), so each message finds its session. */
#include "proxy/batch.h"

#include "proxy/session.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>

/* Messages begin at cache lines. */
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

void batch_open(struct worker *w)
{
	w->batch.open = true;
}

void batch_close(struct worker *w)
{
	batch_deliver(w);
	w->batch.open = false;
}

uint8_t *batch_room(struct batch *b, const struct session *s)
{
	return b->open && !s->holding ? b->bytes + b->used : NULL;
}

void batch_hold(struct worker *w, struct session *s, unsigned side, uint32_t length)
{
	struct batch *b = &w->batch;

	b->held[b->count++] = (struct message_held){
		.session = s, .from = b->used, .length = length, .side = (uint8_t)side};
	b->used += (length + ALIGN - 1) & ~(ALIGN - 1);
	s->holding = true;
	if (length > BATCH_SMALL_BYTES || b->count == BATCH_MESSAGES || b->used > BATCH_BYTES)
		batch_deliver(w);
}

void batch_deliver(struct worker *w)
{
	struct batch *b = &w->batch;
	bool was_open = b->open;

	b->open = false; /* what follows from a delivery is done at once */
	for (uint32_t i = 0; i < b->count; i++) {
		const struct message_held *m = &b->held[i];

		m->session->holding = false;
		session_deliver(m->session, m->side, b->bytes + m->from, m->length);
	}
	b->count = 0;
	b->used = 0;
	b->open = was_open;
}
