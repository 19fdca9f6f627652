/* What is remembered of what the workers decide: all that lives on their flight records, filled and
 * emptied together. The API thread. */
#ifndef RECORDER_RECORDER_H
#define RECORDER_RECORDER_H

#include "base/check.h"
#include "proxy/crew.h"
#include "recorder/backend_names.h"
#include "recorder/client_sketch.h"
#include "recorder/event_log.h"
#include "recorder/history.h"
#include "recorder/traffic.h"
#include "recorder/transitions.h"
#include "route/table.h"

#include <stdint.h>

/* Backends are looked over for what has become of them once in so long. */
#define RECORDER_LOOK_MS 1000

struct recorder {
	struct crew *crew;
	struct history *history;
	struct event_log *event_log;
	struct backend_names *names; /* of what history and sketch speak of */
	struct client_sketch *clients;
	struct traffic *traffic;
	struct transitions *transitions;
	uint64_t look_ms; /* when backends are looked over next */
};

/* The crew outlives it; seed is a secret. 0 or -ENOMEM; recorder_done() is due in either case. */
MUST_CHECK int recorder_init(struct recorder *rec, struct crew *crew, uint64_t seed);
void recorder_done(struct recorder *rec);
/* Takes what is new; table is the latest. Call every 100 ms: workers keep no more (proxy/flight.h).
 */
void recorder_tick(struct recorder *rec, struct table *table, uint64_t now_ms);

#endif
