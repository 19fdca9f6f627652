/* A counter that one thread adds to and any thread reads: relaxed, so adding is a plain load and
 * store. It only grows, and starts at 0 (zeroed memory). */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

struct counter {
	_Atomic uint64_t value;
};

/* Its one writer. */
static inline void counter_add(struct counter *c, uint64_t n)
{
	uint64_t value = atomic_load_explicit(&c->value, memory_order_relaxed);

	atomic_store_explicit(&c->value, value + n, memory_order_relaxed);
}

static inline uint64_t counter_read(const struct counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* The same for a number that goes up and down. */
struct gauge {
	_Atomic uint64_t value;
};

/* Its one writer. */
static inline void gauge_set(struct gauge *g, uint64_t value)
{
	atomic_store_explicit(&g->value, value, memory_order_relaxed);
}

static inline uint64_t gauge_read(const struct gauge *g)
{
	return atomic_load_explicit(&g->value, memory_order_relaxed);
}

#endif
