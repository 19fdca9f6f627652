/* The loop of a worker: its thread. Each turn serves in this order: sockets (interactive traffic),
 * mail, due timers, then one quantum each way of one session with bulk, and a turn of a sweep and
 * of a census.
 *
 * The control thread only, through the crew. */
#ifndef PROXY_LOOP_H
#define PROXY_LOOP_H

#include "base/check.h"
#include "geo/geo_db.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct worker_shared;

/* Events taken from the kernel at once. */
#define LOOP_EVENTS 256

/* Makes a worker. References to table and geo are taken. paused: accepts nobody until it is told to
 * resume. 0, or -errno and nothing is held. */
MUST_CHECK int loop_init(struct worker *w, const struct worker_shared *shared, uint64_t seed,
                         struct table *table, struct geo_db *geo, bool paused);
/* Starts its thread; every worker of shared has been made. 0 or -errno. */
MUST_CHECK int loop_start(struct worker *w);
/* Waits for the thread, if it was started. */
void loop_join(struct worker *w);
/* After all threads have ended: closes clients that were still on their way, frees everything. */
void loop_done(struct worker *w);

#endif
