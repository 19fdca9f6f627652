/* Waiting for a place. A session that waits holds its client and nothing else: no place, no backend
 * socket, no buffer; what the client sends stays in its socket, but for first bytes that were taken
 * off it for a backend that failed (opening.h). */
#include "proxy/waiting.h"

#include "proxy/access_log.h"
#include "proxy/places.h"
#include "proxy/session.h"
#include "proxy/worker.h"

#include <errno.h>
#include <sys/socket.h>

/* A client that was reset, or that has ended its side and has left nothing for a backend. */
static bool client_left(const struct waiting *q)
{
	const struct end *client = &q->session->end[CLIENT];
	char byte;
	ssize_t n;

	if (client->failed)
		return true;
	if (!client->hangup)
		return false;
	n = recv(client->fd, &byte, sizeof(byte), MSG_PEEK);
	return (n == 0 && !q->has_request) || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* The time in the queue counts from the first joining to the last leaving, the dials between left
 * out. */
static void stop(struct waiting *q)
{
	struct session *s = q->session;
	uint64_t us = (s->worker->now_ns - q->joined_ns) / 1000;

	q->in = false;
	s->queue_us = us < UINT32_MAX - s->queue_us ? s->queue_us + (uint32_t)us : UINT32_MAX;
	s->worker->waiting--;
}

void waiting_join(struct waiting *q, const struct tried *tried, bool has_request)
{
	struct session *s = q->session;
	struct worker *w = s->worker;
	const struct config *c = w->shared->config;

	q->has_request = has_request;
	if (c->queue_max == 0) {
		session_close(s, s->retries > 0 ? CLOSE_CONNECT_FAILED : CLOSE_BACKENDS_FULL);
		return;
	}
	if (client_left(q)) {
		session_close(s, CLOSE_CLIENT_GONE);
		return;
	}
	if (q->waiter.ticket == 0)
		q->deadline_ms = w->now_ms + c->queue_timeout_ms;
	q->joined_ns = w->now_ns;
	q->waiter.app = s->service->app;
	q->waiter.tried = tried;
	q->waiter.owner = worker_number(w);
	if (w->now_ms >= q->deadline_ms) {
		session_close(s, CLOSE_QUEUE_TIMEOUT);
		return;
	}
	if (queue_join(w->shared->queue, &q->waiter) != 0) {
		session_close(s, CLOSE_QUEUE_FULL);
		return;
	}
	session_move(s, SESSION_QUEUE);
	access_log_queued(s);
	if (!s->queued)
		counter_add(&w->counters.queued, 1);
	s->queued = true;
	q->in = true;
	if (w->waiting++ == 0)
		timer_arm(&w->timers, &w->offer_all, w->now_ms + WAITING_RETRY_MS);
	session_arm(s, q->deadline_ms);
}

void waiting_leave(struct waiting *q)
{
	uint32_t slot;

	if (!q->in)
		return;
	slot = queue_leave(q->session->worker->shared->queue, &q->waiter);
	stop(q);
	if (slot != LIVE_NO_SLOT)
		places_release(q->session->worker, slot);
}

void waiting_event(struct waiting *q)
{
	if (client_left(q))
		session_close(q->session, CLOSE_CLIENT_GONE);
}

uint32_t waiting_timeout(struct waiting *q)
{
	uint32_t slot = queue_leave(q->session->worker->shared->queue, &q->waiter);

	if (slot != LIVE_NO_SLOT)
		stop(q);
	else
		session_close(q->session, CLOSE_QUEUE_TIMEOUT);
	return slot;
}

struct session *waiting_take(struct worker *w, uint32_t *ret_slot)
{
	struct waiter *waiter = queue_take(w->shared->queue, worker_number(w), ret_slot);
	struct waiting *q;

	if (waiter == NULL)
		return NULL;
	q = list_entry(waiter, struct waiting, waiter);
	CHECK(q->session->state == SESSION_QUEUE);
	stop(q);
	return q->session;
}
