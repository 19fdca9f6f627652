/* Two connected ends. What happens is decided here; the moving of bytes is relay.c's, the search
 * for another backend dial.c's.
 *
 * It trusts nothing that comes from a socket. A failure is never passed on as an end. */
#include "proxy/tunnel.h"

#include "net/socket.h"
#include "proxy/batch.h"
#include "proxy/deadline.h"
#include "proxy/dial.h"
#include "proxy/opening.h"
#include "proxy/session.h"
#include "proxy/sweep.h"
#include "proxy/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void arm(struct session *s)
{
	session_arm(s, deadline_ms(s));
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

/* Until we look again whether it has been delivered, or it has been held back for long enough. */
static void arm_poll(struct session *s)
{
	uint64_t at_ms = s->worker->now_ms + ABORT_POLL_MS;

	session_arm(s, at_ms < s->active_ms ? at_ms : s->active_ms);
}

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
			arm_poll(s);
			return;
		}
		if (result == RELAY_DST_FAILED || result == RELAY_NO_MEMORY) {
			session_close(s, (enum close_reason)s->reason);
			return;
		}
	}
	if (survivor->failed || socket_unacked(survivor->fd) == 0)
		session_close(s, (enum close_reason)s->reason);
	else
		arm_poll(s);
}

static void abort_session(struct session *s, unsigned dead, int err)
{
	if (s->dial != NULL)
		dial_commit(s); /* what the backend has must not be sent to it again */
	if (dead == BACKEND && !s->noted && !session_answered(s)) {
		live_note_failure(s->worker->shared->live, s->slot);
		s->noted = true; /* it has had what it gets */
	}
	session_move(s, SESSION_ABORT);
	if (err == ETIMEDOUT) /* TCP gave up: keepalive, TCP_USER_TIMEOUT */
		s->reason = dead == CLIENT ? CLOSE_CLIENT_TIMEOUT : CLOSE_SERVER_TIMEOUT;
	else
		s->reason = dead == CLIENT ? CLOSE_CLIENT_RESET : CLOSE_SERVER_RESET;
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
	arm(s);
	pump(s, CLIENT);
}

static void end_failed(struct session *s, unsigned side, int err)
{
	/* What a backend sent before it failed is an answer, even if nobody has read it yet. */
	if (side == BACKEND && s->dial != NULL && !session_answered(s) &&
	    socket_waiting(s->end[BACKEND].fd) == 0)
		dial_again(s, err);
	else
		abort_session(s, side, err);
}

static void after_run(struct session *s, unsigned side, enum relay_result result)
{
	switch (result) {
	case RELAY_WAIT:
		break;
	case RELAY_HELD:
		s->holding = true;
		if (batch_hold(&s->worker->batch, s, side, s->worker->relay.held))
			tunnel_deliver_held(s->worker);
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
			abort_session(s, side, socket_error(s->end[side].fd));
			return;
		}
		arm(s); /* a fin timeout may be shorter */
		break;
	case RELAY_SRC_FAILED:
		end_failed(s, side, errno);
		return;
	case RELAY_DST_FAILED:
		end_failed(s, !side, errno);
		return;
	case RELAY_NO_MEMORY:
		session_close(s, CLOSE_RESOURCES);
		return;
	}
	if (side == BACKEND && s->dial != NULL && session_answered(s)) {
		session_note_success(s);
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
		arm(s);
}

/* Passes on what was read of one side and held. */
static void deliver(struct session *s, unsigned side, const uint8_t *bytes, size_t length)
{
	struct relay *r = &s->dir[side];
	uint64_t before = r->bytes;
	enum relay_result result;

	CHECK(s->state == SESSION_RELAY); /* else dispatch_event() or pump() has delivered first */
	s->holding = false;
	result = relay_deliver(r, &s->end[side], &s->end[!side], &s->worker->relay, bytes, length);
	count_bytes(s, side, before);
	after_run(s, side, result);
}

void tunnel_deliver_held(struct worker *w)
{
	batch_deliver(&w->batch, deliver);
}

/* What the client has sent, while another backend may still be tried. */
static void pass_first(struct session *s)
{
	int err;

	switch (opening_pass(&s->dial->opening, &err)) {
	case OPENING_KEPT:
		break;
	case OPENING_FULL:
		commit(s);
		break;
	case OPENING_CLIENT_FAILED:
		end_failed(s, CLIENT, -err);
		break;
	case OPENING_BACKEND_FAILED:
		end_failed(s, BACKEND, -err);
		break;
	case OPENING_NO_MEMORY:
		session_close(s, CLOSE_RESOURCES);
		break;
	}
}

/* Moves what one direction has to move: now, or in its turn when it carries bulk. */
static void pump(struct session *s, unsigned side)
{
	struct relay *r = &s->dir[side];

	/* One event may move both directions, and the second may end the session. */
	if (s->holding)
		tunnel_deliver_held(s->worker);
	if (s->state != SESSION_RELAY || r->state == RELAY_ENDED)
		return;
	if (side == CLIENT && s->dial != NULL) {
		if (s->end[CLIENT].readable)
			pass_first(s);
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

void tunnel_turn(struct session *s)
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

void tunnel_event(struct session *s, unsigned side, uint32_t events)
{
	if (s->state == SESSION_ABORT) {
		abort_step(s);
		return;
	}
	s->active_ms = s->worker->now_ms;
	/* A direction that has ended is not read any more, so a reset behind the end is seen here.
	 */
	if ((events & EPOLLERR) != 0 && s->dir[side].state == RELAY_ENDED) {
		abort_session(s, side, socket_error(s->end[side].fd));
		return;
	}
	if (s->end[side].readable)
		pump(s, side);
	if (s->state == SESSION_RELAY && s->end[side].writable && relay_pending(&s->dir[!side]))
		pump(s, !side);
}

void tunnel_start(struct session *s)
{
	session_move(s, SESSION_RELAY);
	s->active_ms = s->worker->now_ms;
	arm(s);
	s->end[CLIENT].readable = true;
	pump(s, CLIENT);
	if (s->state == SESSION_RELAY && s->end[BACKEND].readable)
		pump(s, BACKEND);
}

static void relay_timeout(struct session *s, uint64_t now_ms)
{
	enum close_reason reason;
	uint64_t limit_ms;

	if (!s->settled && now_ms >= deadline_due_ms(s)) {
		session_note_success(s);
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
		arm(s);
}

static void abort_timeout(struct session *s, uint64_t now_ms)
{
	if (s->active_ms <= now_ms)
		session_close(s, (enum close_reason)s->reason);
	else
		abort_step(s);
}

void tunnel_timeout(struct session *s, uint64_t now_ms)
{
	if (s->state == SESSION_ABORT)
		abort_timeout(s, now_ms);
	else if (deadline_ms(s) > now_ms)
		arm(s); /* activity moves the deadline without touching the timer */
	else
		relay_timeout(s, now_ms);
}
