/* The life of a session. What happens is decided here; the moving of bytes is relay.c's, the search
 * for a backend dial.c's, the words are access_log.c's.
 *
 * It trusts its worker to call it on one thread only and to free closed sessions late, and nothing
 * that comes from a socket. It never closes a cut stream cleanly. */
#include "proxy/session.h"

#include "base/clock.h"
#include "net/socket.h"
#include "proxy/access_log.h"
#include "proxy/admission.h"
#include "proxy/batch.h"
#include "proxy/deadline.h"
#include "proxy/dial.h"
#include "proxy/greeting.h"
#include "proxy/sweep.h"
#include "proxy/waiting.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* An idle connection costs this much; with a word more, fewer fit into a chunk of the pool. */
_Static_assert(sizeof(struct session) <= 248, "a session has outgrown its place");

#define NEXT(name) (1u << SESSION_##name)

/* The states that may follow each. */
static const unsigned allowed[] = {
#define STATE(name, help, next) [SESSION_##name] = (next),
#include "proxy/session_state.def"
#undef STATE
};

static const char *const reason_words[] = {
#define CLOSE(name, word, help) [CLOSE_##name] = word,
#include "proxy/close_reason.def"
#undef CLOSE
};

const char *close_reason_word(enum close_reason reason)
{
	return reason_words[reason];
}

void session_move(struct session *s, enum session_state next)
{
	CHECK((allowed[s->state] >> next & 1u) != 0);
	s->state = (uint8_t)next;
}

void session_arm(struct session *s)
{
	timer_arm(&s->worker->timers, &s->timer, deadline_ms(s));
}

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

struct binding session_binding(const struct session *s)
{
	const struct live *live = s->worker->shared->live;

	return (struct binding){.slot = s->slot, .generation = live_generation(live, s->slot)};
}

/* Has the backend given any sign of life? Until then the session can still go elsewhere. */
static bool backend_answered(const struct session *s)
{
	const struct relay *r = &s->dir[BACKEND];

	return r->bytes != 0 || relay_pending(r) || r->state != RELAY_FLOWING;
}

/* The backend has served this client: it answered, or kept the connection for a while. */
static void note_success(struct session *s)
{
	if (s->noted)
		return;
	s->noted = true;
	live_note_success(s->worker->shared->live, s->slot);
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

void session_close(struct session *s, enum close_reason reason)
{
	struct worker *w = s->worker;

	if (s->connected && backend_answered(s))
		note_success(s);
	if (s->state == SESSION_QUEUE)
		waiting_leave(s);
	session_move(s, SESSION_CLOSED);
	counter_add(&w->counters.ended[reason], 1);
	if (reason != CLOSE_DONE)
		session_note_flight(s, FLIGHT_ENDED, reason);
	access_log_session(s, reason, clock_now_ns());
	dial_free(s);
	for (unsigned side = 0; side < 2; side++) {
		relay_done(&s->dir[side], &w->relay);
		close_end(&s->end[side], reason == CLOSE_DONE);
	}
	if (s->slot != LIVE_NO_SLOT) {
		if (s->connected)
			affinity_touch(w->shared->affinity, &s->client.ip, s->service->key,
			               session_binding(s), w->now_ms);
		waiting_release(w, s->slot);
	}
	admission_leave(s);
	live_release_total(w->shared->live);
	timer_cancel(&w->timers, &s->timer);
	list_remove(&s->turn);
	free(s->peer);
	service_unref(s->service);
	list_remove(&s->node);
	list_push_back(&w->dead, &s->node);
	atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
}

void session_free(struct session *s)
{
	list_remove(&s->node);
	object_pool_put(&s->worker->session_pool, s);
}

/* Behind those that wait already. */
static void queue_turn(struct session *s)
{
	if (list_empty(&s->turn))
		list_push_back(&s->worker->bulk, &s->turn);
}

static void count_bytes(struct session *s, unsigned side, uint64_t before)
{
	counter_add(&s->worker->counters.bytes[side], s->dir[side].bytes - before);
}

/* Moves what one direction has, and counts it. */
static enum relay_result run(struct session *s, unsigned side)
{
	struct relay *r = &s->dir[side];
	uint64_t before = r->bytes;
	enum relay_result result = relay_run(r, &s->end[side], &s->end[!side], &s->worker->relay);

	count_bytes(s, side, before);
	return result;
}

/* ---- ABORT: one side was reset ---- */

/* What the dead side sent before it died goes to the survivor; when the survivor's TCP has it all,
 * the survivor is reset too. A reset overtakes everything that is still in a send buffer, so it is
 * held back until that is empty, but no longer than ABORT_FLUSH_MS. */
static void abort_step(struct session *s)
{
	unsigned dead = s->dir[CLIENT].doomed ? CLIENT : BACKEND;
	struct relay *r = &s->dir[dead];
	struct end *survivor = &s->end[!dead];

	if (r->state != RELAY_ENDED) {
		enum relay_result result = run(s, dead);

		if (result == RELAY_YIELD) {
			queue_turn(s);
			return;
		}
		if (result == RELAY_WAIT && relay_pending(r)) {
			session_arm(s);
			return;
		}
		if (result == RELAY_DST_FAILED || result == RELAY_NO_MEMORY) {
			session_close(s, (enum close_reason)s->abort_reason);
			return;
		}
	}
	if (survivor->failed || socket_unacked(survivor->fd) == 0)
		session_close(s, (enum close_reason)s->abort_reason);
	else
		session_arm(s);
}

static void session_abort(struct session *s, unsigned dead, int err)
{
	if (s->dial != NULL)
		dial_commit(s); /* what the backend has must not be sent to it again */
	if (dead == BACKEND && !s->noted && !backend_answered(s)) {
		live_note_failure(s->worker->shared->live, s->slot);
		s->noted = true; /* it has had what it gets */
	}
	session_move(s, SESSION_ABORT);
	if (err == ETIMEDOUT) /* TCP gave up: keepalive, TCP_USER_TIMEOUT */
		s->abort_reason = dead == CLIENT ? CLOSE_CLIENT_TIMEOUT : CLOSE_SERVER_TIMEOUT;
	else
		s->abort_reason = dead == CLIENT ? CLOSE_CLIENT_RESET : CLOSE_SERVER_RESET;
	s->active_ms = s->worker->now_ms + ABORT_FLUSH_MS;
	s->end[dead].readable = true;
	s->end[dead].hangup = true;
	s->dir[dead].doomed = true;
	relay_done(&s->dir[!dead], &s->worker->relay);
	abort_step(s);
}

/* ---- RELAY ---- */

static void pump(struct session *s, unsigned side);

static void commit(struct session *s)
{
	dial_commit(s);
	session_arm(s);
	pump(s, CLIENT);
}

bool session_unserved(const struct session *s)
{
	return s->dial != NULL && dial_flight(s->dial) == 0 && !backend_answered(s) &&
	       socket_waiting(s->end[BACKEND].fd) == 0;
}

void session_end_failed(struct session *s, unsigned side, int err)
{
	/* What a backend sent before it failed is an answer, even if nobody has read it yet. */
	if (side == BACKEND && s->dial != NULL && !backend_answered(s) &&
	    socket_waiting(s->end[BACKEND].fd) == 0)
		dial_again(s, err);
	else
		session_abort(s, side, err);
}

static void after_run(struct session *s, unsigned side, enum relay_result result)
{
	switch (result) {
	case RELAY_WAIT:
		break;
	case RELAY_HELD:
		s->holding = true;
		if (batch_hold(&s->worker->batch, s, side, s->worker->relay.held))
			session_deliver_held(s->worker);
		return;
	case RELAY_YIELD:
		queue_turn(s);
		break;
	case RELAY_DONE:
		if (s->dir[!side].state == RELAY_ENDED) {
			session_close(s, CLOSE_DONE); /* which passes the end on */
			return;
		}
		/* It fails only when the receiver is gone, which its own direction will find. */
		(void)shutdown(s->end[!side].fd, SHUT_WR);
		/* A reset right behind the end: nobody reads this side any more. */
		if (s->end[side].failed) {
			session_abort(s, side, socket_error(s->end[side].fd));
			return;
		}
		session_arm(s); /* a fin timeout may be shorter */
		break;
	case RELAY_SRC_FAILED:
		session_end_failed(s, side, errno);
		return;
	case RELAY_DST_FAILED:
		session_end_failed(s, !side, errno);
		return;
	case RELAY_NO_MEMORY:
		session_close(s, CLOSE_RESOURCES);
		return;
	}
	if (side == BACKEND && s->dial != NULL && backend_answered(s)) {
		note_success(s);
		commit(s);
	}
}

static void run_direction(struct session *s, unsigned side)
{
	struct relay *r = &s->dir[side];
	struct relay_shared *shared = &s->worker->relay;
	bool was_behind = relay_pending(r);
	enum relay_result result;

	shared->room = r->bulk ? NULL : batch_room(&s->worker->batch);
	result = run(s, side);
	shared->room = NULL;
	after_run(s, side, result);
	/* Somebody else is waited for now, perhaps for a shorter time. */
	if (s->state == SESSION_RELAY && was_behind && !relay_pending(r))
		session_arm(s);
}

/* Passes on what was read of one side and held. */
static void deliver(struct session *s, unsigned side, const uint8_t *bytes, size_t length)
{
	struct relay *r = &s->dir[side];
	uint64_t before = r->bytes;
	enum relay_result result;

	CHECK(s->state == SESSION_RELAY); /* else session_event() or pump() has delivered first */
	s->holding = false;
	result = relay_deliver(r, &s->end[side], &s->end[!side], &s->worker->relay, bytes, length);
	count_bytes(s, side, before);
	after_run(s, side, result);
}

void session_deliver_held(struct worker *w)
{
	batch_deliver(&w->batch, deliver);
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

/* Moves what one direction has to move: now, or in its turn when it carries bulk. */
static void pump(struct session *s, unsigned side)
{
	struct relay *r = &s->dir[side];

	/* One event may move both directions, and the second may end the session. */
	if (s->holding)
		session_deliver_held(s->worker);
	if (s->state != SESSION_RELAY || r->state == RELAY_ENDED)
		return;
	if (side == CLIENT && s->dial != NULL) {
		if (!s->end[CLIENT].readable || dial_pass_flight(s))
			return;
		commit(s);
		return;
	}
	/* Behind a reset comes no end that could push the last bytes. */
	if (side == CLIENT && s->end[CLIENT].readable &&
	    (!s->end[CLIENT].ended || s->end[CLIENT].failed))
		session_nodelay(s);
	/* Whether the backend answers or fails is not bulk: an end of the client that is told
	 * behind it would commit the session first. */
	if (r->bulk && s->dial == NULL) {
		queue_turn(s);
		return;
	}
	run_direction(s, side);
}

void session_turn(struct session *s)
{
	if (s->state == SESSION_ABORT) {
		abort_step(s);
		return;
	}
	s->active_ms = s->worker->now_ms;
	for (unsigned side = 0; side < 2; side++) {
		if (s->state != SESSION_RELAY)
			return;
		/* While there is a dial, the client's first bytes are its business. */
		if (!s->dir[side].bulk || (side == CLIENT && s->dial != NULL))
			continue;
		run_direction(s, side);
	}
}

static void relay_event(struct session *s, unsigned side, uint32_t events)
{
	s->active_ms = s->worker->now_ms;
	/* A direction that has ended is not read any more, so a reset behind the end is seen here.
	 */
	if ((events & EPOLLERR) != 0 && s->dir[side].state == RELAY_ENDED) {
		session_abort(s, side, socket_error(s->end[side].fd));
		return;
	}
	if (s->end[side].readable)
		pump(s, side);
	if (s->state == SESSION_RELAY && s->end[side].writable && relay_pending(&s->dir[!side]))
		pump(s, !side);
}

void session_connected(struct session *s)
{
	session_move(s, SESSION_RELAY);
	s->active_ms = s->worker->now_ms;
	session_arm(s);
	s->end[CLIENT].readable = true;
	pump(s, CLIENT);
	if (s->state == SESSION_RELAY && s->end[BACKEND].readable)
		pump(s, BACKEND);
}

/* ---- all states ---- */

void session_settle(struct session *s)
{
	s->settled = true;
	socket_tune_long(s->end[BACKEND].fd, &s->worker->tcp);
}

static void relay_timeout(struct session *s, uint64_t now_ms)
{
	enum close_reason reason;
	uint64_t limit_ms;

	if (!s->settled && now_ms >= deadline_due_ms(s)) {
		note_success(s);
		session_settle(s);
	}
	if (s->ending && now_ms >= deadline_due_ms(s)) {
		sweep_end(s);
		return;
	}
	reason = deadline_idle(s, &limit_ms);
	if (now_ms >= s->active_ms + limit_ms)
		session_close(s, reason);
	else if (now_ms >= deadline_first_byte_ms(s))
		session_close(s, CLOSE_FIRST_BYTE_TIMEOUT);
	else if (s->dial != NULL && now_ms >= s->dial->deadline_ms)
		commit(s);
	else
		session_arm(s);
}

void session_timer(struct timer *t, uint64_t now_ms)
{
	struct session *s = list_entry(t, struct session, timer);

	/* Activity moves the deadline without touching the timer. */
	if (s->state != SESSION_ABORT && deadline_ms(s) > now_ms) {
		session_arm(s);
		return;
	}
	switch ((enum session_state)s->state) {
	case SESSION_HEADER:
		session_close(s, CLOSE_HEADER_TIMEOUT);
		break;
	case SESSION_DIAL:
		dial_timeout(s, now_ms);
		break;
	case SESSION_QUEUE:
		waiting_timeout(s);
		break;
	case SESSION_RELAY:
		relay_timeout(s, now_ms);
		break;
	case SESSION_ABORT:
		if (s->active_ms <= now_ms)
			session_close(s, (enum close_reason)s->abort_reason);
		else
			abort_step(s);
		break;
	case SESSION_CLOSED:
		break;
	}
}

void session_event(struct session *s, unsigned side, uint32_t events)
{
	struct end *end = &s->end[side];

	/* What is no plain message of a relaying session goes behind those that are held. */
	if (s->state != SESSION_RELAY || (events & ~(EPOLLIN | EPOLLOUT)) != 0)
		session_deliver_held(s->worker);
	if (s->state == SESSION_CLOSED)
		return; /* closed earlier in this turn */
	if (side == BACKEND &&
	    (s->state == SESSION_QUEUE ||
	     (s->state == SESSION_DIAL && s->dial->failed_turn_ns == s->worker->now_ns)))
		return; /* of the socket before this one */
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

	switch ((enum session_state)s->state) {
	case SESSION_HEADER:
		/* The edge tells of a reset once only: now, or nobody would notice while dialling.
		 */
		if ((events & (EPOLLERR | EPOLLHUP)) != 0)
			session_close(s, CLOSE_CLIENT_GONE);
		else
			greeting_event(s);
		break;
	case SESSION_DIAL:
		if (side == BACKEND)
			dial_event(s, events);
		else if ((events & (EPOLLERR | EPOLLHUP)) != 0)
			session_close(s, CLOSE_CLIENT_GONE);
		break;
	case SESSION_QUEUE:
		waiting_event(s);
		break;
	case SESSION_RELAY:
		relay_event(s, side, events);
		break;
	case SESSION_ABORT:
		abort_step(s);
		break;
	case SESSION_CLOSED:
		break;
	}
}

/* No two sessions of a worker have the same: it names them (census.h). Many may come in one turn,
 * though no faster than one a nanosecond, so this is never ahead of the clock. */
static uint64_t accept_time(struct worker *w)
{
	w->accept_ns = w->now_ns > w->accept_ns ? w->now_ns : w->accept_ns + 1;
	return w->accept_ns;
}

static void session_init(struct session *s, struct worker *w, int fd, const struct endpoint *peer,
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

void session_start(struct worker *w, int fd, const struct endpoint *peer, struct service *service)
{
	struct session *s = object_pool_get(&w->session_pool);
	struct session unlucky;
	bool starved = s == NULL;

	counter_add(&w->counters.accepted, 1);
	/* Without memory a session on the stack lives just long enough to be logged and closed. */
	if (starved)
		s = &unlucky;
	session_init(s, w, fd, peer, service);
	if (starved) {
		session_close(s, CLOSE_RESOURCES);
		list_remove(&s->node);
		return;
	}
	if (worker_watch(w, fd, s, TAG_END_0) != 0) {
		session_close(s, CLOSE_RESOURCES);
		return;
	}
	greeting_start(s);
}
