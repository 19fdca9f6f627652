/* Drain: what becomes of the clients that a backend already has, when it is to have no new ones.
 *
 *     drain                            sessions stay; clients that had it may come back for a grace
 *     maint, deleted, row gone         sessions end spread over a time, or at once, or stay
 *     healthy = 0, or a fault is seen  sessions end at once, or stay
 *
 * as HAProxy's close-spread-time and on-marked-down say. Pure; no I/O. */
#ifndef ROUTE_DRAIN_H
#define ROUTE_DRAIN_H

#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct drain_rules {
	uint64_t close_spread_ms; /* 0: backends that are gone keep their sessions */
	bool shutdown_sessions;   /* they lose them at once, and so do those that are down */
};

enum drain_verdict {
	DRAIN_STAY,
	DRAIN_GONE, /* taken out: maint, deleted, or no row */
	DRAIN_DOWN, /* unhealthy by its row or by what has been seen of it */
};

/* What the backend in a slot means for a session there. In a pool that is in panic nobody is down
 * by faults. */
enum drain_verdict drain_judge(const struct drain_rules *rules, const struct table *t,
                               uint32_t slot, const char *app);
/* Must some session end because of this table that could stay with the one before (NULL: none)?
 * Control thread. */
bool drain_is_due(const struct drain_rules *rules, const struct table *t, const struct table *was);
/* A backend that is to drain now and was not before gets its grace. Control thread. */
void drain_begin(const struct table *t, const struct table *was, uint64_t grace_ms,
                 uint64_t now_ms);

#endif
