/* One timer a session. A relaying session waits for several things at once, and the timer is set to
 * the earliest; any other state waits for one, and sets it itself. Activity moves that
 * without touching the timer: when it fires too early, it is armed anew. */
#include "proxy/deadline.h"

#include "proxy/dial.h"
#include "proxy/worker.h"

enum close_reason deadline_idle(const struct session *s, uint64_t *ret_ms)
{
	const struct config *c = s->worker->shared->config;

	if (relay_pending(&s->dir[CLIENT])) {
		*ret_ms = c->server_timeout_ms;
		return CLOSE_SERVER_TIMEOUT;
	}
	if (relay_pending(&s->dir[BACKEND])) {
		*ret_ms = c->client_timeout_ms;
		return CLOSE_CLIENT_TIMEOUT;
	}
	if (s->dir[BACKEND].state == RELAY_ENDED) {
		*ret_ms = c->client_fin_timeout_ms;
		return CLOSE_CLIENT_FIN_TIMEOUT;
	}
	if (s->dir[CLIENT].state == RELAY_ENDED) {
		*ret_ms = c->server_fin_timeout_ms;
		return CLOSE_SERVER_FIN_TIMEOUT;
	}
	if (c->server_timeout_ms < c->client_timeout_ms) {
		*ret_ms = c->server_timeout_ms;
		return CLOSE_SERVER_TIMEOUT;
	}
	*ret_ms = c->client_timeout_ms;
	return CLOSE_CLIENT_TIMEOUT;
}

/* Has neither side sent a byte, nor ended? Where a backend speaks first, its word counts: such a
 * client has nothing to say yet. */
static bool nothing_said(const struct session *s)
{
	for (unsigned side = 0; side < 2; side++)
		if (s->dir[side].bytes != 0 || s->dir[side].state != RELAY_FLOWING ||
		    relay_pending(&s->dir[side]))
			return false;
	return true;
}

uint64_t deadline_first_byte_ms(const struct session *s)
{
	uint64_t timeout_ms = s->worker->shared->config->first_byte_timeout_ms;

	if (timeout_ms == 0 || !nothing_said(s))
		return UINT64_MAX;
	return (s->accept_ns + (uint64_t)s->queue_us * 1000) / 1000000 + timeout_ms;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t deadline_due_ms(const struct session *s)
{
	uint64_t now_ms = s->worker->now_ms;

	return now_ms + (uint64_t)(int64_t)(int32_t)(s->due_ms - (uint32_t)now_ms);
}

uint64_t deadline_ms(const struct session *s)
{
	uint64_t limit_ms;

	deadline_idle(s, &limit_ms);
	limit_ms += s->active_ms;
	if (s->ending || !s->settled)
		limit_ms = earlier(limit_ms, deadline_due_ms(s));
	limit_ms = earlier(limit_ms, deadline_first_byte_ms(s));
	return s->dial != NULL ? earlier(limit_ms, s->dial->deadline_ms) : limit_ms;
}
