/* The health checks of all backends: a thread of its own that finds out how they are and writes it
 * into live. It never touches the routing database: a backend gets new clients when its row and its
 * checks agree that it may. */
#ifndef HEALTH_CHECKER_H
#define HEALTH_CHECKER_H

#include "base/check.h"
#include "config/config.h"
#include "route/live.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct checker;

struct checker_options {
	const struct config *config; /* outlives the checker, as does live */
	struct live *live;
	uint32_t concurrency; /* checks under way at one time, 1.. */
	uint64_t seed;
};

/* Control thread. Nothing is checked yet. 0 or -errno (-ENOENT, -ENOTDIR …: no such folder as
 * EDGEPROXY_HEALTH_SCRIPT_DIR). */
MUST_CHECK int checker_new(const struct checker_options *options, struct checker **ret_checker);
/* Control thread. Starts the thread with a table. Faults of checks and agents that are set in live
 * by then are those of an earlier process: they go on from there, and are taken back where nobody
 * is checked any more. continued: that process was checking until now, so this is nobody's first
 * sight. 0 or -errno. */
MUST_CHECK int checker_start(struct checker *c, struct table *table, bool continued);
/* Control thread. Hands it a new table. Out of memory: it keeps what it has, and -ENOMEM. */
MUST_CHECK int checker_post_table(struct checker *c, struct table *table);
/* Ends the thread and what it has under way; nothing is changed in live. NULL-safe. */
void checker_free(struct checker *c);

#endif
