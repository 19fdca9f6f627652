/* The crew: all workers together, as the control thread sees them. Control thread only, where
 * nothing else is said. */
#ifndef PROXY_CREW_H
#define PROXY_CREW_H

#include "base/check.h"
#include "base/log_writer.h"
#include "config/config.h"
#include "geo/geo_db.h"
#include "proxy/census.h"
#include "proxy/counters.h"
#include "proxy/flight.h"
#include "route/affinity.h"
#include "route/client_limits.h"
#include "route/live.h"
#include "route/queue.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct crew;

struct crew_options {
	const struct config *config; /* outlives the crew, as do live, affinity, client_limits and
	                                queue */
	struct live *live;
	struct affinity *affinity;
	struct client_limits *client_limits; /* NULL: there are none */
	struct queue *queue;                 /* with an owner for each worker */
	struct log_writer *access_log;       /* for lines about sessions; NULL: the main log */
	unsigned workers;
	uint32_t max_conn;
	uint64_t seed; /* of the workers' random sources */
	bool paused;   /* accept nobody before crew_resume() */
};

/* Starts the threads; they accept at once, unless paused. 0 or -errno. */
MUST_CHECK int crew_new(const struct crew_options *options, struct table *table, struct geo_db *geo,
                        struct crew **ret_crew);
/* Hands every worker a new table or database. Out of memory: that worker keeps what it has, and
 * -ENOMEM is returned. */
MUST_CHECK int crew_post_table(struct crew *c, struct table *table);
MUST_CHECK int crew_post_geo(struct crew *c, struct geo_db *geo);
/* Sessions of backends that are gone or down may have to end (route/drain.h): look over them. */
MUST_CHECK int crew_sweep(struct crew *c);
/* Accept what is queued, then no more. */
MUST_CHECK int crew_stop(struct crew *c);
/* Accept no more, at once: what is queued is for another process that has the sockets too. -ENOMEM:
 * some may have stopped. */
MUST_CHECK int crew_pause(struct crew *c);
/* Accept (again). */
MUST_CHECK int crew_resume(struct crew *c);
/* Has every worker stopped accepting? */
bool crew_stopped(const struct crew *c);
/* What all workers have counted, added to *sum. Any thread, as long as the crew is there; so are
 * the three below. */
void crew_counters(const struct crew *c, struct counters_sum *sum);
unsigned crew_size(const struct crew *c);
/* Has all workers look for a census of crew_size() parts; what a worker has no memory for is left
 * out. */
void crew_census(struct crew *c, struct census *census);
/* Of worker number n: what it has decided lately. One thread at a time may take from it. */
struct flight *crew_flight(struct crew *c, unsigned n);
/* Closes what is left, ends the threads, frees. NULL-safe. */
void crew_free(struct crew *c);

#endif
