/* What a backend means for its sessions, route/drain.h says; here it is done to them: now, or at a
 * random time each, and then only if it is still so. A client of which the backend has had nothing
 * yet goes to another one and never knows. */
#include "proxy/sweep.h"

#include "proxy/closing.h"
#include "proxy/deadline.h"
#include "proxy/dial.h"
#include "proxy/session.h"
#include "proxy/worker.h"

static enum drain_verdict judge(const struct session *s)
{
	const char *app = s->service->app[0] != '\0' ? s->service->app : NULL;

	return drain_judge(&s->worker->drain, s->worker->table, s->slot, app);
}

void sweep_end(struct session *s)
{
	enum drain_verdict verdict = judge(s);

	s->ending = false;
	if (verdict == DRAIN_STAY)
		session_arm(s, deadline_ms(s)); /* the backend is back */
	else if (dial_unserved(s))
		dial_elsewhere(s);
	else
		session_close(s, verdict == DRAIN_GONE ? CLOSE_BACKEND_GONE : CLOSE_BACKEND_DOWN);
}

/* True: that took some work now. */
static bool look_at(struct session *s)
{
	struct worker *w = s->worker;

	if (s->slot == LIVE_NO_SLOT || s->state == SESSION_ABORT || judge(s) == DRAIN_STAY)
		return false;
	if (s->state == SESSION_DIAL) {
		dial_elsewhere(s);
		return true;
	}
	if (w->drain.shutdown_sessions) {
		sweep_end(s);
		return true;
	}
	if (!s->ending) {
		if (!s->settled)
			session_settle(s);
		s->ending = true;
		s->due_ms = (uint32_t)(w->now_ms + rng_below(&w->rng, w->drain.close_spread_ms));
		session_arm(s, deadline_ms(s));
	}
	return false;
}

void sweep_turn(struct worker *w)
{
	unsigned ended = 0;

	for (unsigned i = 0; i < SWEEP_LOOKS_A_TURN && ended < SWEEP_ENDS_A_TURN; i++) {
		struct list *node = walk_next(&w->walks, WALK_SWEEP, &w->sessions);

		if (node == NULL)
			return;
		ended += look_at(list_entry(node, struct session, node));
		closing_run(w);
	}
}
