/* What is remembered of what the workers decide: all that lives on their flight records, filled and
 * emptied together. The API thread. */
#ifndef API_RECORDER_H
#define API_RECORDER_H

#include "api/backend_names.h"
#include "api/client_sketch.h"
#include "api/event_log.h"
#include "api/history.h"
#include "api/traffic.h"
#include "api/transitions.h"
#include "base/check.h"
#include "proxy/crew.h"
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
