/* What has happened, in one order: the decisions of the workers (recorder/history.h) and the lines
 * of the log that are not about one session (base/log_ring.h), each with a number that only grows;
 * the first is 1. The latest HISTORY_RECORDS decisions and EVENT_LINES lines are kept, apart from
 * each other, so that many clients do not push out what has become of a backend. The API thread. */
#ifndef RECORDER_EVENT_LOG_H
#define RECORDER_EVENT_LOG_H

#include "base/log_ring.h"
#include "recorder/history.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENT_LINES LOG_RING_LINES

struct event_log;

struct event {
	uint64_t number;
	uint64_t at_ns;                     /* monotonic */
	const struct flight_record *record; /* a decision; or */
	const char *line;                   /* a line of the log */
};

/* NULL: out of memory. */
struct event_log *event_log_new(void);
void event_log_free(struct event_log *e); /* NULL-safe */
/* Takes what is new from h and from the log. What comes in by one call is put in the order of time;
 * wall_ns is the time of day of now_ns, by which the times of lines are understood. */
void event_log_update(struct event_log *e, const struct history *h, uint64_t now_ns,
                      uint64_t wall_ns);
/* The first event that is kept whose number is above `after`. False: there is none. Valid until the
 * next event_log_update() or history_drain(). */
bool event_log_find(const struct event_log *e, const struct history *h, uint64_t after,
                    struct event *ret_event);
/* The number of the latest event; 0: there was none. */
uint64_t event_log_latest(const struct event_log *e);

/* The time of day that a line of the log begins with, UNIX nanoseconds; 0: it has none. */
uint64_t event_line_time(const char *line);

#endif
