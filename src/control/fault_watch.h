/* Watches what is seen of backends, from outlier detection and from whoever else sets faults, and
 * does what follows: ejections, panic, slow starts, graces, and sessions that have to end. The
 * control thread only; `now` is an argument. */
#ifndef CONTROL_FAULT_WATCH_H
#define CONTROL_FAULT_WATCH_H

#include "base/check.h"
#include "base/counter.h"
#include "config/config.h"
#include "route/live.h"
#include "route/outlier.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct fault_watch_options {
	const struct config *config; /* outlives the watch, as does live */
	struct live *live;
	/* Sessions of backends that are gone or down may have to end (route/drain.h): the workers
	 * are to look. 0, or -ENOMEM: asked again at the next tick. */
	int (*end_sessions)(void *arg);
	void *arg;
};

struct fault_watch;
struct state_seen;

/* What the control thread has counted of backends in the table; any thread may read. */
struct fault_watch_counters {
	struct counter came[LIVE_FAULTS]; /* faults, by their bit */
	struct counter went[LIVE_FAULTS];
	struct counter ejected[OUTLIER_CAUSES];
	struct counter returned; /* from an ejection */
	struct counter panics;   /* apps with a service that entered panic */
};

/* 0 or -ENOMEM. */
MUST_CHECK int fault_watch_new(const struct fault_watch_options *options, uint64_t now_ms,
                               struct fault_watch **ret_watch);
void fault_watch_free(struct fault_watch *w); /* NULL-safe */
/* Valid as long as w is. */
const struct fault_watch_counters *fault_watch_counters(const struct fault_watch *w);

/* A new table, before any worker has it. A reference is taken. */
void fault_watch_table(struct fault_watch *w, struct table *t, uint64_t now_ms);
/* At every tick of the control thread; nothing to do before the first table. */
void fault_watch_tick(struct fault_watch *w, uint64_t now_ms);

/* What another process should know of the backend in a slot (control/state.h). False: nothing. */
bool fault_watch_recall(const struct fault_watch *w, uint32_t slot, uint64_t now_ms,
                        struct state_seen *ret_seen);
/* Takes that over, age_ms after it was recalled, for a backend of which nothing is known here yet:
 * once, after the first table and before anybody else sets faults. Only what has an owner that can
 * end it is taken: the faults of checks and agents are the checker's, once it starts. Of a backend
 * that has moved to another address only its drain goes on. What follows comes with the next
 * tick. Returns whether the backend has a fault now. */
bool fault_watch_restore(struct fault_watch *w, uint32_t slot, const struct state_seen *seen,
                         uint64_t age_ms, uint64_t now_ms);

#endif
