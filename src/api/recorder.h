/* What is remembered of what the workers decide: the parts of struct core that live on their flight
 * records, filled and emptied together. The API thread. */
#ifndef API_RECORDER_H
#define API_RECORDER_H

#include "base/check.h"

#include <stdint.h>

struct core;

/* Backends are looked over for what has become of them once in so long. */
#define RECORDER_LOOK_MS 1000

/* 0 or -ENOMEM; recorder_done() is due in either case. */
MUST_CHECK int recorder_init(struct core *c, uint64_t seed);
void recorder_done(struct core *c);
/* Takes what is new. Call every 100 ms: workers keep no more (proxy/flight.h). */
void recorder_tick(struct core *c, uint64_t now_ms);

#endif
