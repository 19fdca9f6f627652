/* A histogram of durations, in the buckets that Prometheus knows: how many lasted no longer than
 * each bound, and how long all of them together. One thread notes, any thread reads. All histograms
 * have the same bounds, so that they can be added up and drawn side by side. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include "base/counter.h"

#include <stdint.h>

#define HISTOGRAM_BOUNDS 15

/* Ascending. A duration above the last is in a bucket of its own. */
extern const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

/* Zeroed: empty. */
struct histogram {
	struct counter buckets[HISTOGRAM_BOUNDS + 1]; /* each without those below it */
	struct counter sum_us;
};

/* Its one writer. */
void histogram_note(struct histogram *h, uint64_t us);

/* Plain numbers, for adding up. */
struct histogram_sum {
	uint64_t buckets[HISTOGRAM_BOUNDS + 1]; /* each without those below it */
	uint64_t sum_us;
	uint64_t count;
};

/* While it is being written, sum and count may be one note apart; count is that of the buckets. */
void histogram_add_to(const struct histogram *h, struct histogram_sum *sum);
/* The duration that the part q (0..1) of all does not exceed, interpolated within its bucket as
 * Prometheus does; 0 when empty, the last bound when beyond it. */
uint64_t histogram_quantile_us(const struct histogram_sum *sum, double q);

#endif
