/* Places are given to waiters by whichever worker has one: its own session has ended, its table is
 * new, its own search found one. That worker posts a message to the waiter's worker, which looks
 * what its sessions were given. Nothing is done for a waiter in the place where it is served, so
 * that a release, which can happen in the middle of anything, never calls back into a session. */
#include "proxy/places.h"

#include "proxy/mail.h"
#include "proxy/worker.h"
#include "route/balancer.h"
#include "route/queue.h"

/* Without memory for a message, the owner finds out when it next offers all. */
static void tell(struct worker *w, uint32_t owner)
{
	(void)!mail_places(&w->shared->workers[owner]);
}

static void offer(struct worker *w, const struct backend *b)
{
	const struct balancer_query anybody = {
		.app = b->app, .country = "", .region = REGION_NONE, .now_ms = w->now_ms};
	struct queue *q = w->shared->queue;

	while (queue_wanted(q, b->app) &&
	       balancer_judge(w->table, b, &anybody).exclusion == EXCLUDED_NOT) {
		uint32_t owner = queue_offer(q, w->shared->live, b);

		if (owner == QUEUE_NOBODY)
			return;
		(void)!live_admit(w->shared->live, b->slot); /* a trial, if it is ejected */
		tell(w, owner);
	}
}

void places_release(struct worker *w, uint32_t slot)
{
	const struct backend *b;

	live_release(w->shared->live, slot);
	if (queue_length(w->shared->queue) == 0)
		return;
	b = table_backend_in_slot(w->table, slot);
	if (b != NULL)
		offer(w, b);
}

bool places_pass(struct worker *w, const struct backend *b)
{
	uint32_t owner = queue_pass(w->shared->queue, b);

	if (owner == QUEUE_NOBODY)
		return false;
	tell(w, owner);
	return true;
}

void places_offer_all(struct worker *w)
{
	const struct table *t = w->table;

	if (queue_length(w->shared->queue) == 0)
		return;
	for (uint32_t i = 0; i < t->pool_count; i++) {
		const struct pool *p = &t->pools[i];

		/* The backends in the pool of every app are those of all others. */
		if (p->app == NULL || !queue_wanted(w->shared->queue, p->app))
			continue;
		for (uint32_t k = 0; k < p->member_count; k++)
			offer(w, &t->backends[p->members[k]]);
	}
}
