/* What a worker has counted since it started. Its thread writes, any thread reads
 * (crew_counters()); nothing here is decided by. */
#ifndef PROXY_COUNTERS_H
#define PROXY_COUNTERS_H

#include "base/counter.h"
#include "base/histogram.h"
#include "proxy/close_reason.h"
#include "route/policy.h"

#include <stdint.h>

/* Values of region_score (route/balancer.h). */
#define REGION_SCORES 3
/* Round trips are told apart by the backend's region_id; those from here on are told together. */
#define COUNTERS_REGIONS 64

struct counters {
#define COUNTER(field, help) struct counter field;
#include "proxy/counters.def"
#undef COUNTER
	struct counter ended[CLOSE_REASON_COUNT];
	struct counter bytes[2];                 /* [CLIENT]: from clients to backends */
	struct counter decisions[REGION_SCORES]; /* of clients that were connected */
	struct counter places[PLACE_SOURCES];    /* how it was found where a client is */
	struct histogram turn;                  /* work of one turn of the loop, waiting left out */
	struct histogram queue;                 /* time that connected clients had waited */
	struct histogram rtt[COUNTERS_REGIONS]; /* connecting to a backend, by its region */
};

struct counters_sum {
#define COUNTER(field, help) uint64_t field;
#include "proxy/counters.def"
#undef COUNTER
	uint64_t ended[CLOSE_REASON_COUNT];
	uint64_t bytes[2];
	uint64_t decisions[REGION_SCORES];
	uint64_t places[PLACE_SOURCES];
	struct histogram_sum turn;
	struct histogram_sum queue;
	struct histogram_sum rtt[COUNTERS_REGIONS];
};

/* Any thread. */
void counters_add_to(const struct counters *c, struct counters_sum *sum);

#endif
