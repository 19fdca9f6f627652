/* One writer, one reader: a record is published by moving `written` behind it (release), and its
 * room is given back by moving `read` (release). Each side keeps to its own cache line until it
 * runs out, so a note costs the writer one line of memory. */
#include "proxy/flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int flight_init(struct flight *f)
{
	size_t bytes = FLIGHT_RECORDS * sizeof(struct flight_record);

	*f = (struct flight){.records = malloc(bytes)};
	if (f->records == NULL)
		return -ENOMEM;
	/* Its pages are taken now: what a process needs is known at its start, and connections cost
	 * what they cost. */
	memset(f->records, 0xff, bytes);
	return 0;
}

void flight_done(struct flight *f)
{
	free(f->records);
	f->records = NULL;
}

void flight_note(struct flight *f, const struct flight_record *record)
{
	uint64_t at = atomic_load_explicit(&f->written, memory_order_relaxed);

	if (at - f->read_seen == FLIGHT_RECORDS) {
		f->read_seen = atomic_load_explicit(&f->read, memory_order_acquire);
		if (at - f->read_seen == FLIGHT_RECORDS) {
			uint64_t dropped = atomic_load_explicit(&f->dropped, memory_order_relaxed);

			atomic_store_explicit(&f->dropped, dropped + 1, memory_order_relaxed);
			return;
		}
	}
	f->records[at % FLIGHT_RECORDS] = *record;
	atomic_store_explicit(&f->written, at + 1, memory_order_release);
}

size_t flight_take(struct flight *f, struct flight_record *records, size_t most)
{
	uint64_t from = atomic_load_explicit(&f->read, memory_order_relaxed);
	uint64_t to = atomic_load_explicit(&f->written, memory_order_acquire);
	size_t count = to - from < most ? (size_t)(to - from) : most;

	for (size_t i = 0; i < count; i++)
		records[i] = f->records[(from + i) % FLIGHT_RECORDS];
	atomic_store_explicit(&f->read, from + count, memory_order_release);
	return count;
}

uint64_t flight_dropped(const struct flight *f)
{
	return atomic_load_explicit(&f->dropped, memory_order_relaxed);
}
