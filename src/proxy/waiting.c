/* Waiting for a place. A session that waits holds its client and nothing else: no place, no backend
 * socket, no buffer; what the client sends stays in its socket, but for first bytes that were taken
 * off it for a backend that failed (dial.h).
 *
 * Places are given to waiters by whichever worker has one: its own session has ended, its table is
 * new, its own search found one. That worker posts a message to the waiter's worker, which looks
 * what its sessions were given. Nothing is done for a waiter in the place where it is served, so
 * that a release, which can happen in the middle of anything, never calls back into a session. */
#include "proxy/waiting.h"

#include "proxy/access_log.h"
#include "proxy/dial.h"
#include "proxy/session.h"
#include "proxy/worker.h"
#include "route/balancer.h"
#include "route/queue.h"

#include <errno.h>
#include <sys/socket.h>

static uint32_t owner_of(const struct worker *w)
{
	return (uint32_t)(w - w->shared->workers);
}

/* Without memory for a message, the owner finds out when it next offers all. */
static void tell(struct worker *w, uint32_t owner)
{
	(void)!worker_post_places(&w->shared->workers[owner]);
}

/* ---- places ---- */

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

void waiting_release(struct worker *w, uint32_t slot)
{
	const struct backend *b;

	live_release(w->shared->live, slot);
	if (queue_length(w->shared->queue) == 0)
		return;
	b = table_backend_in_slot(w->table, slot);
	if (b != NULL)
		offer(w, b);
}

bool waiting_pass(struct worker *w, const struct backend *b)
{
	uint32_t owner = queue_pass(w->shared->queue, b);

	if (owner == QUEUE_NOBODY)
		return false;
	tell(w, owner);
	return true;
}

void waiting_offer_all(struct worker *w)
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

/* ---- sessions ---- */

/* A client that was reset, or that has ended its side and has left nothing for a backend. */
static bool client_left(const struct session *s)
{
	char byte;
	ssize_t n;

	if (s->end[CLIENT].failed)
		return true;
	if (!s->end[CLIENT].hangup)
		return false;
	n = recv(s->end[CLIENT].fd, &byte, sizeof(byte), MSG_PEEK);
	return (n == 0 && s->dial->first == NULL) || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* The time in the queue counts from the first joining to the last leaving, the dials between left
 * out. */
static void stop_waiting(struct session *s)
{
	uint64_t us = (s->worker->now_ns - s->dial->queued_ns) / 1000;

	s->queue_us = us < UINT32_MAX - s->queue_us ? s->queue_us + (uint32_t)us : UINT32_MAX;
	s->worker->waiting--;
}

void waiting_join(struct session *s)
{
	struct worker *w = s->worker;
	const struct config *c = w->shared->config;
	struct dial *d = s->dial;
	bool first = d->waiter.ticket == 0;

	if (c->queue_max == 0) {
		session_close(s, s->retries > 0 ? CLOSE_CONNECT_FAILED : CLOSE_BACKENDS_FULL);
		return;
	}
	if (client_left(s)) {
		session_close(s, CLOSE_CLIENT_GONE);
		return;
	}
	if (first) {
		counter_add(&w->counters.queued, 1);
		d->queue_deadline_ms = w->now_ms + c->queue_timeout_ms;
	}
	d->queued_ns = w->now_ns;
	d->waiter.app = s->service->app;
	d->waiter.tried = &d->tried;
	d->waiter.owner = owner_of(w);
	if (w->now_ms >= d->queue_deadline_ms) {
		session_close(s, CLOSE_QUEUE_TIMEOUT);
		return;
	}
	if (queue_join(w->shared->queue, &d->waiter) != 0) {
		session_close(s, CLOSE_QUEUE_FULL);
		return;
	}
	session_move(s, SESSION_QUEUE);
	access_log_queued(s);
	s->queued = true;
	if (w->waiting++ == 0)
		timer_arm(&w->timers, &w->offer_all, w->now_ms + WAITING_RETRY_MS);
	session_arm(s);
}

void waiting_leave(struct session *s)
{
	uint32_t slot = queue_leave(s->worker->shared->queue, &s->dial->waiter);

	stop_waiting(s);
	if (slot != LIVE_NO_SLOT)
		waiting_release(s->worker, slot);
}

void waiting_event(struct session *s)
{
	if (client_left(s))
		session_close(s, CLOSE_CLIENT_GONE);
}

static void go_on(struct session *s, uint32_t slot)
{
	stop_waiting(s);
	dial_resume(s, slot);
}

void waiting_timeout(struct session *s)
{
	uint32_t slot = queue_leave(s->worker->shared->queue, &s->dial->waiter);

	if (slot != LIVE_NO_SLOT)
		go_on(s, slot); /* in the last moment */
	else
		session_close(s, CLOSE_QUEUE_TIMEOUT);
}

void waiting_serve(struct worker *w)
{
	struct waiter *waiter;
	uint32_t slot;

	for (int i = 0; i < WAITING_SERVES_A_TURN; i++) {
		waiter = queue_take(w->shared->queue, owner_of(w), &slot);
		if (waiter == NULL)
			return;
		go_on(list_entry(waiter, struct dial, waiter)->session, slot);
	}
	tell(w, owner_of(w));
}
