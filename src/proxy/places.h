/* What a worker does with places at backends that it has reserved: gives them back, and to whoever
 * waits for them first. The queue itself is route/queue.h.
 *
 * The worker's thread only. */
#ifndef PROXY_PLACES_H
#define PROXY_PLACES_H

#include "base/check.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;

/* Gives back a place, to the first who waits for it if somebody does. */
void places_release(struct worker *w, uint32_t slot);
/* Gives a reserved place away if somebody waits for it. False: it is still the caller's. */
MUST_CHECK bool places_pass(struct worker *w, const struct backend *b);
/* Offers every place of the worker's table: it is a new one, or the time has come. */
void places_offer_all(struct worker *w);

#endif
