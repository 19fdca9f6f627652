/* Sessions that wait for a place at a backend (state QUEUE), and what a worker does with places:
 * give them back, offer them to whoever waits, take those that its own sessions were given. The
 * queue itself is route/queue.h.
 *
 * The worker's thread only. */
#ifndef PROXY_WAITING_H
#define PROXY_WAITING_H

#include "base/check.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct session;
struct worker;

/* How often a worker with waiting sessions offers all places that there may be: for those that
 * appear without a release (a fault that is gone), of which nobody tells it. */
#define WAITING_RETRY_MS 100
/* Sessions that are given places in one turn of the loop, before others have their turn. */
#define WAITING_SERVES_A_TURN 32

/* A dialling session waits now: state QUEUE. Closes it when it may not. */
void waiting_join(struct session *s);
/* It does not wait any more, because it is about to be closed. */
void waiting_leave(struct session *s);
/* News of the client: does it still wait for us? Else the session is closed. */
void waiting_event(struct session *s);
/* It has waited for as long as it may. */
void waiting_timeout(struct session *s);

/* Gives back a place, to the first who waits for it if somebody does. */
void waiting_release(struct worker *w, uint32_t slot);
/* Gives a reserved place away if somebody waits for it. False: it is still the caller's. */
MUST_CHECK bool waiting_pass(struct worker *w, const struct backend *b);
/* Offers every place of the worker's table: it is a new one, or the time has come. */
void waiting_offer_all(struct worker *w);
/* Sessions of this worker have been given places. */
void waiting_serve(struct worker *w);

#endif
