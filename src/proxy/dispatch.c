/* From what happens to the state whose business it is: greeting.c HEADER, dial.c DIAL, waiting.c
 * QUEUE, tunnel.c RELAY and ABORT. A state calls only those that stand below it (tunnel, greeting,
 * dial, waiting); where a step leads up, from QUEUE back to DIAL and from DIAL to RELAY, it is
 * taken here. */
#include "proxy/dispatch.h"

#include "proxy/closing.h"
#include "proxy/dial.h"
#include "proxy/greeting.h"
#include "proxy/mail.h"
#include "proxy/places.h"
#include "proxy/session.h"
#include "proxy/tunnel.h"
#include "proxy/waiting.h"
#include "proxy/worker.h"

#include <sys/epoll.h>

void dispatch_start(struct worker *w, int fd, const struct endpoint *peer, struct service *service)
{
	struct session *s = object_pool_get(&w->session_pool);
	struct session unlucky;

	counter_add(&w->counters.accepted, 1);
	if (s == NULL) {
		/* Without memory a session on the stack lives just long enough to be logged. */
		session_init(&unlucky, w, fd, peer, service);
		session_close(&unlucky, CLOSE_RESOURCES);
		closing_run(w);
		list_remove(&unlucky.node);
		return;
	}
	session_init(s, w, fd, peer, service);
	if (worker_watch(w, fd, s, TAG_END_0) != 0)
		session_close(s, CLOSE_RESOURCES);
	else
		greeting_start(s);
	closing_run(w);
}

void dispatch_held(struct worker *w)
{
	tunnel_deliver_held(w);
	closing_run(w);
}

/* What the flags of an end say from now on. */
static void note_events(struct end *end, uint32_t events)
{
	if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0)
		end->readable = true;
	if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
		end->writable = true;
	if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0)
		end->hangup = true;
	if ((events & EPOLLRDHUP) != 0)
		end->ended = true;
	if ((events & EPOLLERR) != 0)
		end->failed = true;
}

/* Of the backend's socket before this one? */
static bool is_stale(const struct session *s, unsigned side)
{
	return side == BACKEND &&
	       (s->state == SESSION_QUEUE ||
	        (s->state == SESSION_DIAL && s->dial->failed_turn_ns == s->worker->now_ns));
}

static void serve_event(struct session *s, unsigned side, uint32_t events)
{
	/* The edge tells of a reset once only: now, or nobody would notice while dialling. */
	bool client_gone = side == CLIENT && (events & (EPOLLERR | EPOLLHUP)) != 0;

	switch ((enum session_state)s->state) {
	case SESSION_HEADER:
		if (client_gone)
			session_close(s, CLOSE_CLIENT_GONE);
		else
			greeting_event(s);
		break;
	case SESSION_DIAL:
		if (client_gone)
			session_close(s, CLOSE_CLIENT_GONE);
		else if (side == BACKEND && dial_event(s, events))
			tunnel_start(s);
		break;
	case SESSION_QUEUE:
		waiting_event(&s->dial->waiting);
		break;
	case SESSION_RELAY:
	case SESSION_ABORT:
		tunnel_event(s, side, events);
		break;
	case SESSION_CLOSED:
		break;
	}
}

void dispatch_event(struct session *s, unsigned side, uint32_t events)
{
	struct worker *w = s->worker;

	/* What is no plain message of a relaying session goes behind those that are held, and
	 * finds free what their sessions had if they have ended. */
	if (s->state != SESSION_RELAY || (events & ~(EPOLLIN | EPOLLOUT)) != 0)
		dispatch_held(w);
	if (s->state != SESSION_CLOSED && !is_stale(s, side)) {
		note_events(&s->end[side], events);
		serve_event(s, side, events);
	}
	closing_run(w);
}

void dispatch_timer(struct timer *t, uint64_t now_ms)
{
	struct session *s = list_entry(t, struct session, timer);
	struct worker *w = s->worker;
	uint32_t slot;

	switch ((enum session_state)s->state) {
	case SESSION_HEADER:
		session_close(s, CLOSE_HEADER_TIMEOUT);
		break;
	case SESSION_DIAL:
		dial_timeout(s, now_ms);
		break;
	case SESSION_QUEUE:
		slot = waiting_timeout(&s->dial->waiting);
		if (slot != LIVE_NO_SLOT)
			dial_resume(s, slot);
		break;
	case SESSION_RELAY:
	case SESSION_ABORT:
		tunnel_timeout(s, now_ms);
		break;
	case SESSION_CLOSED:
		break;
	}
	closing_run(w);
}

void dispatch_places(struct worker *w)
{
	for (int i = 0; i < DISPATCH_PLACES_A_TURN; i++) {
		uint32_t slot;
		struct session *s = waiting_take(w, &slot);

		if (s == NULL)
			return;
		dial_resume(s, slot);
		closing_run(w);
	}
	/* Without memory for a message, when all places are next offered. */
	(void)!mail_places(w);
}

void dispatch_offer(struct timer *t, uint64_t now_ms)
{
	struct worker *w = list_entry(t, struct worker, offer_all);

	places_offer_all(w);
	dispatch_places(w);
	if (w->waiting != 0)
		timer_arm(&w->timers, t, now_ms + WAITING_RETRY_MS);
}

void dispatch_bulk(struct worker *w)
{
	struct session *s = list_entry(w->bulk.next, struct session, turn);

	list_remove(&s->turn);
	tunnel_turn(s);
	closing_run(w);
}
