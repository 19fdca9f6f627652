/* Sums over workers are taken field by field while the workers go on: each number is right, two of
 * them may be a moment apart. */
#include "proxy/counters.h"

static void add(const struct counter *counters, uint64_t *sums, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		sums[i] += counter_read(&counters[i]);
}

void counters_add_to(const struct counters *c, struct counters_sum *sum)
{
#define COUNTER(field, help) sum->field += counter_read(&c->field);
#include "proxy/counters.def"
#undef COUNTER
	add(c->ended, sum->ended, CLOSE_REASON_COUNT);
	add(c->bytes, sum->bytes, 2);
	add(c->decisions, sum->decisions, REGION_SCORES);
	add(c->places, sum->places, PLACE_SOURCES);
	histogram_add_to(&c->turn, &sum->turn);
	histogram_add_to(&c->queue, &sum->queue);
	for (unsigned i = 0; i < COUNTERS_REGIONS; i++)
		histogram_add_to(&c->rtt[i], &sum->rtt[i]);
}
