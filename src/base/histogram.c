/* Buckets from 50 microseconds, a turn of a busy loop or a neighbour's round trip, to 10 seconds,
 * which is more than any connect may take by default. Looked up by a walk: what is measured is
 * short nearly always. */
#include "base/histogram.h"

const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
	50,    100,   250,    500,    1000,   2500,    5000,     10000,
	25000, 50000, 100000, 250000, 500000, 1000000, 10000000,
};

void histogram_note(struct histogram *h, uint64_t us)
{
	unsigned i = 0;

	while (i < HISTOGRAM_BOUNDS && us > histogram_bounds_us[i])
		i++;
	counter_add(&h->buckets[i], 1);
	counter_add(&h->sum_us, us);
}

void histogram_add_to(const struct histogram *h, struct histogram_sum *sum)
{
	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		uint64_t n = counter_read(&h->buckets[i]);

		sum->buckets[i] += n;
		sum->count += n;
	}
	sum->sum_us += counter_read(&h->sum_us);
}

uint64_t histogram_quantile_us(const struct histogram_sum *sum, double q)
{
	double rank = q * (double)sum->count;
	double below = 0;

	for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
		double n = (double)sum->buckets[i];
		double from = i > 0 ? (double)histogram_bounds_us[i - 1] : 0;

		if (n > 0 && below + n >= rank)
			return (uint64_t)(from + ((double)histogram_bounds_us[i] - from) *
			                                 (rank - below) / n);
		below += n;
	}
	return sum->count > 0 ? histogram_bounds_us[HISTOGRAM_BOUNDS - 1] : 0;
}
