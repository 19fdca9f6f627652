/* A session that waits for a place at a backend (state QUEUE). The queue itself is route/queue.h;
 * who gives places to it, places.h.
 *
 * The worker's thread only. */
#ifndef PROXY_WAITING_H
#define PROXY_WAITING_H

#include "route/queue.h"
#include "route/tried.h"

#include <stdbool.h>
#include <stdint.h>

struct session;
struct worker;

/* How often a worker with waiting sessions offers all places that there may be: for those that
 * appear without a release (a fault that is gone), of which nobody tells it. */
#define WAITING_RETRY_MS 100

/* A session's waiting, all times that it joins; zeroed at first, but for the session. */
struct waiting {
	struct session *session;
	struct waiter waiter;
	uint64_t joined_ns;   /* when it last joined */
	uint64_t deadline_ms; /* of all its waiting, once it has joined */
	bool in;              /* it is waiting now */
	bool has_request;     /* first bytes of its client are kept: see waiting_join() */
};

/* The session waits from now on: state QUEUE. Closes it when it may not. tried: backends that will
 * not do; it stays where it is. has_request: of a client that has ended its side something is left
 * for a backend even if its socket is empty. */
void waiting_join(struct waiting *q, const struct tried *tried, bool has_request);
/* It does not wait any more, if it does, because the session has been closed. */
void waiting_leave(struct waiting *q);
/* News of the client: does it still wait for us? Else the session is closed. */
void waiting_event(struct waiting *q);
/* It has waited for as long as it may. The slot of a place that it was given in the last moment,
 * which is the caller's now; LIVE_NO_SLOT: there is none, and the session is closed. */
uint32_t waiting_timeout(struct waiting *q);
/* The first session of this worker that was given a place, which is its from now on; NULL: none. */
struct session *waiting_take(struct worker *w, uint32_t *ret_slot);

#endif
