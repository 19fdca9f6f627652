/* The queue: clients that wait because every backend they could have is at its hard limit. First
 * come first served over all workers, each place to the first for whom it will do: one of the
 * backend's app, or of every app, who has not tried that backend already.
 *
 * A place is a reservation in live. Whoever has one while somebody waits gives it away here, and
 * then tells the owner (a worker, by number) of the waiter who got it. So nobody overtakes: not
 * even a client that arrives in the moment in which a place is free.
 *
 * Any thread; one short lock, taken only where somebody waits or wants to. No clock: how long a
 * client waits is its owner's business. */
#ifndef ROUTE_QUEUE_H
#define ROUTE_QUEUE_H

#include "base/check.h"
#include "base/list.h"
#include "route/live.h"
#include "route/table.h"
#include "route/tried.h"

#include <stdbool.h>
#include <stdint.h>

struct queue;

#define QUEUE_NOBODY UINT32_MAX

enum waiter_state {
	WAITER_OUT,
	WAITER_WAITING,
	WAITER_SERVED, /* has a place, of which its owner does not know yet */
};

/* One client. The owner fills in the first part before it joins, and changes nothing there while it
 * is in; the rest is the queue's. Zeroed at first. */
struct waiter {
	const char *app;           /* "": every app */
	const struct tried *tried; /* backends that will not do */
	uint32_t owner;            /* below the number of owners */

	enum waiter_state state;
	uint32_t line;
	uint32_t slot;   /* WAITER_SERVED: where its place is */
	uint64_t ticket; /* 0: has not waited yet */
	struct list node;
};

/* max waiting clients; 0: nobody may wait. NULL: out of memory. */
struct queue *queue_new(uint32_t max, unsigned owners);
void queue_free(struct queue *q); /* NULL-safe; nobody is in it */

/* How many wait, those served left out. One atomic read: it is on the way of every connection. */
uint32_t queue_length(const struct queue *q);
/* Does anybody wait for a backend of this app? Without the lock. */
bool queue_wanted(const struct queue *q, const char *app);

/* Waits behind all others; one who has waited before goes to where it was among them, even where
 * the queue is full. The caller then looks once more for a place, for one that was given back in
 * between. 0, or -ENOSPC: the queue is full. */
MUST_CHECK int queue_join(struct queue *q, struct waiter *w);
/* Out of the queue. Returns the slot of the place that it had been given, which is the caller's
 * now, or LIVE_NO_SLOT. Nothing happens to one that is not in. */
uint32_t queue_leave(struct queue *q, struct waiter *w);

/* Gives away a place at b that the caller has reserved. Returns the owner of the waiter who has it
 * now, or QUEUE_NOBODY: it is still the caller's. */
uint32_t queue_pass(struct queue *q, const struct backend *b);
/* The same with a place that may be free: reserves it for the first waiter, within the hard limit.
 * QUEUE_NOBODY: nobody waits for it, or there is none. */
uint32_t queue_offer(struct queue *q, struct live *live, const struct backend *b);
/* The first of an owner's waiters who have been given a place, now out of the queue; NULL: none. */
struct waiter *queue_take(struct queue *q, uint32_t owner, uint32_t *ret_slot);

#endif
