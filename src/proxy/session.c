/* What every state may do with a session. Nothing here decides: the states do, each in its file.
 *
 * It trusts its worker to call it on one thread only, and calls nobody back: a session that is
 * closed in the middle of anything is only marked, and closing.c does the rest when that is over.
 */
#include "proxy/session.h"

#include "net/socket.h"
#include "proxy/worker.h"

/* An idle connection costs this much; with a word more, fewer fit into a chunk of the pool. */
_Static_assert(sizeof(struct session) <= 248, "a session has outgrown its place");

#define NEXT(name) (1u << SESSION_##name)

/* The states that may follow each. */
static const unsigned allowed[] = {
#define STATE(name, help, next) [SESSION_##name] = (next),
#include "proxy/session_state.def"
#undef STATE
};

/* No two sessions of a worker have the same: it names them (census.h). Many may come in one turn,
 * though no faster than one a nanosecond, so this is never ahead of the clock. */
static uint64_t accept_time(struct worker *w)
{
	w->accept_ns = w->now_ns > w->accept_ns ? w->now_ns : w->accept_ns + 1;
	return w->accept_ns;
}

void session_init(struct session *s, struct worker *w, int fd, const struct endpoint *peer,
                  struct service *service)
{
	*s = (struct session){
		.end = {{.fd = fd}, {.fd = -1}},
		.worker = w,
		.service = service,
		.accept_ns = accept_time(w),
		.active_ms = w->now_ms,
		.client = *peer,
		.slot = LIVE_NO_SLOT,
		.state = SESSION_HEADER,
	};
	for (unsigned side = 0; side < 2; side++)
		relay_init(&s->dir[side], w->relay.mode);
	list_init(&s->turn);
	timer_init(&s->timer, WORKER_TIMER_SESSION);
	list_push_back(&w->sessions, &s->node);
}

void session_move(struct session *s, enum session_state next)
{
	CHECK((allowed[s->state] >> next & 1u) != 0);
	s->state = (uint8_t)next;
}

void session_arm(struct session *s, uint64_t at_ms)
{
	timer_arm(&s->worker->timers, &s->timer, at_ms);
}

void session_close(struct session *s, enum close_reason reason)
{
	struct worker *w = s->worker;

	session_move(s, SESSION_CLOSED);
	s->reason = (uint8_t)reason;
	timer_cancel(&w->timers, &s->timer);
	list_remove(&s->turn);
	list_remove(&s->node);
	list_push_back(&w->closing, &s->node);
}

void session_free(struct session *s)
{
	list_remove(&s->node);
	object_pool_put(&s->worker->session_pool, s);
}

bool session_answered(const struct session *s)
{
	const struct relay *r = &s->dir[BACKEND];

	return r->bytes != 0 || relay_pending(r) || r->state != RELAY_FLOWING;
}

void session_note_success(struct session *s)
{
	if (s->noted)
		return;
	s->noted = true;
	live_note_success(s->worker->shared->live, s->slot);
}

void session_settle(struct session *s)
{
	s->settled = true;
	socket_tune_long(s->end[BACKEND].fd, &s->worker->tcp);
}

/* The first bytes for a backend go at once in any case, and so do the last ones, with the end of
 * the stream; most sessions have none between. */
void session_nodelay(struct session *s)
{
	if (s->nodelay)
		return;
	s->nodelay = true;
	socket_nodelay(s->end[BACKEND].fd);
}

void session_note_flight(struct session *s, enum flight_kind kind, unsigned detail)
{
	struct worker *w = s->worker;
	struct flight_record r = {
		.at_ns = w->now_ns,
		.client = s->client.ip,
		.slot = s->slot,
		.service = s->service->key,
		.connect_us = s->connected ? s->connect_us : 0,
		.queue_us = s->queued ? s->queue_us : 0,
		.region = s->region,
		.retries = s->retries,
		.country = {s->country[0], s->country[1]},
		.kind = (uint8_t)kind,
		.detail = (uint8_t)detail,
		.region_score = s->region_score,
		.place_source = s->place_source,
		.from_affinity = s->from_affinity,
	};

	if (s->slot != LIVE_NO_SLOT)
		r.generation = live_generation(w->shared->live, s->slot);
	flight_note(&w->flight, &r);
}

struct binding session_binding(const struct session *s)
{
	const struct live *live = s->worker->shared->live;

	return (struct binding){.slot = s->slot, .generation = live_generation(live, s->slot)};
}
