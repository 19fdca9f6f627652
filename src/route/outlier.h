/* Outlier detection: which backends are ejected because clients' connections to them fail. Words
 * and rules are Envoy's outlier_detection: so many failures in a row, or a success rate far below
 * that of the pool; ejected for base_ejection_time times the number of ejections so far, up to
 * max_ejection_time; no more than max_ejection_percent of a pool at a time.
 *
 * Two rules differ. Of a pool, the first may always be ejected, but never the last sound one: that
 * would send clients to nobody. And an ejection ends half open: OUTLIER_TRIAL_CLIENTS may try the
 * backend; the first success brings it back, a failure ejects it again, for longer.
 *
 * The control thread only. No I/O; `now` is an argument; there is no chance in it. */
#ifndef ROUTE_OUTLIER_H
#define ROUTE_OUTLIER_H

#include "route/live.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

/* Clients that may try an ejected backend before anything is known of the first of them. */
#define OUTLIER_TRIAL_CLIENTS 1

struct outlier_options {
	uint32_t consecutive_failures; /* 0: never for that */
	uint32_t stdev_factor;   /* thousandths of a standard deviation below the mean; 0: never */
	uint32_t min_hosts;      /* backends with request_volume that make a mean */
	uint32_t request_volume; /* outcomes in an interval that make a rate */
	uint32_t max_ejection_percent; /* 1..100, of the members of the app's pool */
	uint64_t interval_ms;          /* of success rates; in each, an ejection is forgiven */
	uint64_t base_ejection_ms;
	uint64_t max_ejection_ms;
	uint64_t trial_ms; /* trials that come to nothing so long are given to others */
};

enum outlier_cause {
	OUTLIER_CONSECUTIVE_FAILURES,
	OUTLIER_SUCCESS_RATE,
	OUTLIER_TRIAL_FAILED,
	OUTLIER_CAUSES,
};

const char *outlier_cause_word(enum outlier_cause cause);

struct outlier_change {
	uint32_t slot;
	bool ejected;             /* else it is back */
	enum outlier_cause cause; /* of an ejection */
	unsigned ejections;       /* in sequence, this one included */
	uint64_t ms;              /* ejected: at least for so long; back: after so long */
	struct live_outcomes outcomes;
};

/* What is known of a backend that is or was ejected, for another process: spans, not times. */
struct outlier_memory {
	bool ejected;
	uint16_t ejections;  /* in sequence, 1.. */
	uint64_t left_ms;    /* until it is tried; else until one ejection is forgiven */
	uint64_t ejected_ms; /* since the first in sequence */
};

struct outlier;

/* NULL: out of memory. live outlives it. */
struct outlier *outlier_new(const struct outlier_options *options, struct live *live,
                            uint64_t now_ms);
void outlier_free(struct outlier *o);

/* Looks at what has happened and at the clock; sets and clears LIVE_EJECTED. Calls changed for each
 * backend that was ejected or is back. Cheap when nothing fails: a bit a backend is looked at. */
void outlier_tick(struct outlier *o, const struct table *t, uint64_t now_ms,
                  void (*changed)(void *arg, const struct outlier_change *change), void *arg);

/* False: nothing is known of the backend that has the slot. One that is being tried counts as
 * ejected, with nothing left. */
bool outlier_recall(const struct outlier *o, uint32_t slot, uint64_t now_ms,
                    struct outlier_memory *ret_memory);
/* Takes over what another process recalled of the backend that has the slot, and of which nothing
 * is known here. An ejection goes on, no longer than one of this process could last, and ends with
 * its trial; it changes nothing where nobody is ejected here. */
void outlier_restore(struct outlier *o, uint32_t slot, const struct outlier_memory *memory,
                     uint64_t now_ms);

#endif
