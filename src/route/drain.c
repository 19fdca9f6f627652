/* The rules of drain.h, worked out from one table, or from two that follow one another. Workers ask
 * for a verdict when they are told to look over their sessions, and again when a session's time has
 * come: a backend that is back by then keeps it. */
#include "route/drain.h"

#include <stddef.h>

static bool is_gone(const struct backend *b)
{
	return b == NULL || b->deleted || b->state == STATE_MAINT;
}

enum drain_verdict drain_judge(const struct drain_rules *rules, const struct table *t,
                               uint32_t slot, const char *app)
{
	const struct backend *b = table_backend_in_slot(t, slot);
	unsigned faults;

	if (is_gone(b))
		return rules->close_spread_ms > 0 || rules->shutdown_sessions ? DRAIN_GONE
		                                                              : DRAIN_STAY;
	if (!rules->shutdown_sessions)
		return DRAIN_STAY;
	if (!b->healthy)
		return DRAIN_DOWN;
	faults = live_faults(t->live, slot) & ~(unsigned)LIVE_AGENT_DRAIN;
	if ((faults & LIVE_AGENT_MAINT) != 0)
		return DRAIN_DOWN;
	return faults != 0 && !table_in_panic(t, app) ? DRAIN_DOWN : DRAIN_STAY;
}

bool drain_is_due(const struct drain_rules *rules, const struct table *t, const struct table *was)
{
	for (uint32_t i = 0; was != NULL && i < was->backend_count; i++) {
		const struct backend *b = &was->backends[i];

		if (drain_judge(rules, t, b->slot, b->app) != DRAIN_STAY &&
		    drain_judge(rules, was, b->slot, b->app) == DRAIN_STAY)
			return true;
	}
	return false;
}

void drain_begin(const struct table *t, const struct table *was, uint64_t grace_ms, uint64_t now_ms)
{
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		const struct backend *before = was == NULL ? NULL
		                                           : table_backend_in_slot(was, b->slot);

		if (b->state == STATE_DRAIN && (before == NULL || before->state != STATE_DRAIN))
			live_set_grace(t->live, b->slot, grace_ms > 0 ? now_ms + grace_ms : 0);
	}
}
