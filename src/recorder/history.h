/* The flight recorder's memory: the latest HISTORY_RECORDS of what the workers have decided, in the
 * order in which they were read, each with a number that only grows. Whoever shows them (events,
 * the live page, the plan) keeps the number that comes next and asks from there. The API thread. */
#ifndef RECORDER_HISTORY_H
#define RECORDER_HISTORY_H

#include "proxy/crew.h"
#include "proxy/flight.h"

#include <stddef.h>
#include <stdint.h>

#define HISTORY_RECORDS 8192

struct history;

/* NULL: out of memory. */
struct history *history_new(void);
void history_free(struct history *h); /* NULL-safe */
/* Takes what the workers have written. Call every 100 ms: what they cannot keep is lost. Each
 * record is also given to seen(), before it is kept. */
void history_drain(struct history *h, struct crew *crew,
                   void (*seen)(void *arg, const struct flight_record *record), void *arg);
/* The number that the next record will have; the first is 0. */
uint64_t history_next(const struct history *h);
/* Record number n, or NULL where that has been overwritten or is not there yet. Valid until the
 * next history_drain(). */
const struct flight_record *history_find(const struct history *h, uint64_t n);
/* The number of the oldest record that is kept. */
uint64_t history_first(const struct history *h);
/* Records that were lost because nobody had drained in time. */
uint64_t history_lost(const struct history *h);

#endif
