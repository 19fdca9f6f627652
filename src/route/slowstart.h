/* Slow start: the weight of a backend that is new or has come back counts in part, and more and
 * more (HAProxy's slowstart; the formula: route/balancer.h). The control thread only; `now` is an
 * argument. */
#ifndef ROUTE_SLOWSTART_H
#define ROUTE_SLOWSTART_H

#include "base/check.h"
#include "route/live.h"

#include <stdint.h>

/* The part of its weight with which a backend begins. */
#define SLOWSTART_MIN_PERCENT 10

struct slowstart;

/* NULL: out of memory. length_ms 0: there is none. live outlives it. */
struct slowstart *slowstart_new(struct live *live, uint64_t length_ms);
void slowstart_free(struct slowstart *s);
/* It has come back now. */
void slowstart_begin(struct slowstart *s, uint32_t slot, uint64_t now_ms);
/* It is gone again. */
void slowstart_cancel(struct slowstart *s, uint32_t slot);
/* How long ago one that is on its way began; 0: it is not. */
uint64_t slowstart_past_ms(const struct slowstart *s, uint32_t slot, uint64_t now_ms);
/* It began so long ago, in another process. */
void slowstart_restore(struct slowstart *s, uint32_t slot, uint64_t past_ms, uint64_t now_ms);
/* Raises what is on its way. */
void slowstart_tick(struct slowstart *s, uint64_t now_ms);

#endif
