/* The workers' rings end here. Records of one worker keep their order; those of several are a
 * tick apart at most. */
#include "recorder/history.h"

#include <stdlib.h>
#include <string.h>

/* Taken from a ring at once. */
#define DRAIN_BATCH 256

struct history {
	uint64_t next;
	uint64_t lost;
	struct flight_record records[HISTORY_RECORDS];
};

struct history *history_new(void)
{
	struct history *h = malloc(sizeof(*h));

	if (h == NULL)
		return NULL;
	memset(h, 0xff, sizeof(*h)); /* its pages are taken now: see flight_init() */
	h->next = 0;
	h->lost = 0;
	return h;
}

void history_free(struct history *h)
{
	free(h);
}

void history_drain(struct history *h, struct crew *crew,
                   void (*seen)(void *arg, const struct flight_record *record), void *arg)
{
	struct flight_record batch[DRAIN_BATCH];

	h->lost = 0;
	for (unsigned i = 0; i < crew_size(crew); i++) {
		struct flight *f = crew_flight(crew, i);
		size_t left = FLIGHT_RECORDS; /* a worker that writes on cannot keep us here */
		size_t n;

		do {
			n = flight_take(f, batch, DRAIN_BATCH);
			for (size_t k = 0; k < n; k++) {
				seen(arg, &batch[k]);
				h->records[h->next++ % HISTORY_RECORDS] = batch[k];
			}
			left -= n;
		} while (n == DRAIN_BATCH && left >= DRAIN_BATCH);
		h->lost += flight_dropped(f);
	}
}

uint64_t history_next(const struct history *h)
{
	return h->next;
}

uint64_t history_first(const struct history *h)
{
	return h->next > HISTORY_RECORDS ? h->next - HISTORY_RECORDS : 0;
}

const struct flight_record *history_find(const struct history *h, uint64_t n)
{
	return n >= history_first(h) && n < h->next ? &h->records[n % HISTORY_RECORDS] : NULL;
}

uint64_t history_lost(const struct history *h)
{
	return h->lost;
}
