/* The end of sessions. One is closed in the middle of something that is done with it or with
 * another, and there nothing is torn down; here everything is, in one place, when whoever was at it
 * has returned. Its memory stays until the end of the turn (loop.c): events of the same batch may
 * still name it.
 *
 * Every accepted client comes by here exactly once. A cut stream is never closed cleanly. */
#include "proxy/closing.h"

#include "base/clock.h"
#include "net/socket.h"
#include "proxy/access_log.h"
#include "proxy/admission.h"
#include "proxy/dial.h"
#include "proxy/places.h"
#include "proxy/session.h"
#include "proxy/worker.h"

#include <stdlib.h>
#include <unistd.h>

/* Both sides of a session that ends otherwise than cleanly must see that; see session_close(). */
static void close_end(struct end *end, bool clean)
{
	if (end->fd < 0)
		return;
	if (clean)
		close(end->fd);
	else
		socket_reset(end->fd);
	end->fd = -1;
}

static void give_back_place(struct session *s)
{
	struct worker *w = s->worker;

	if (s->slot == LIVE_NO_SLOT)
		return;
	if (s->connected)
		affinity_touch(w->shared->affinity, &s->client.ip, s->service->key,
		               session_binding(s), w->now_ms);
	places_release(w, s->slot);
}

static void finish(struct session *s)
{
	struct worker *w = s->worker;
	enum close_reason reason = (enum close_reason)s->reason;

	if (s->connected && session_answered(s))
		session_note_success(s);
	dial_free(s);
	counter_add(&w->counters.ended[reason], 1);
	if (reason != CLOSE_DONE)
		session_note_flight(s, FLIGHT_ENDED, reason);
	access_log_session(s, reason, clock_now_ns());
	for (unsigned side = 0; side < 2; side++) {
		relay_done(&s->dir[side], &w->relay);
		close_end(&s->end[side], reason == CLOSE_DONE);
	}
	give_back_place(s);
	admission_leave(s);
	live_release_total(w->shared->live);
	free(s->peer);
	service_unref(s->service);
	list_remove(&s->node);
	list_push_back(&w->dead, &s->node);
	atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
}

void closing_run(struct worker *w)
{
	while (!list_empty(&w->closing))
		finish(list_entry(w->closing.next, struct session, node));
}
