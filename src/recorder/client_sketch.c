/* Entries lie in an array; a binary heap of their numbers has the lightest on top, and a table with
 * linear probing finds one by its key. A connection of a prefix that has no entry takes over the
 * lightest one, whose weight becomes its error.
 *
 * Decay costs nothing: instead of making all weights smaller, each new connection weighs more by
 * 2^(age of the sketch / half-life), and whoever reads divides by that. Before the numbers become
 * too large for their precision, all are divided once. */
#include "recorder/client_sketch.h"

#include "base/check.h"
#include "base/hash.h"
#include "route/live.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 65536
#define NONE UINT32_MAX
/* From here on weights are divided: 2^53 connections of weight 1 could still be told apart. */
#define GAIN_MAX 0x1p40
#define V4_OFFSET_BITS 96

struct entry {
	struct ip key; /* masked */
	struct client_seen latest;
	uint64_t latest_ms;
	double weight; /* in units of the epoch */
	double error;
	uint32_t heap_at;
};

struct client_sketch {
	size_t capacity;
	size_t count;
	uint64_t half_life_ms;
	uint64_t epoch_ms;
	uint64_t seed;
	double total;
	struct entry *entries;
	uint32_t *heap;
	uint32_t *table; /* entry numbers, NONE: free */
	size_t table_mask;
};

struct client_sketch *client_sketch_new(size_t entries, uint64_t half_life_ms, uint64_t seed)
{
	struct client_sketch *s = calloc(1, sizeof(*s));
	size_t slots = 2;

	CHECK(entries >= 1 && entries <= ENTRIES_MAX && half_life_ms > 0);
	while (slots < 2 * entries)
		slots *= 2;
	if (s == NULL)
		return NULL;
	s->capacity = entries;
	s->half_life_ms = half_life_ms;
	s->seed = seed;
	s->table_mask = slots - 1;
	s->entries = calloc(entries, sizeof(*s->entries));
	s->heap = calloc(entries, sizeof(*s->heap));
	s->table = malloc(slots * sizeof(*s->table));
	if (s->entries == NULL || s->heap == NULL || s->table == NULL) {
		client_sketch_free(s);
		return NULL;
	}
	memset(s->table, 0xff, slots * sizeof(*s->table));
	return s;
}

void client_sketch_free(struct client_sketch *s)
{
	if (s == NULL)
		return;
	free(s->entries);
	free(s->heap);
	free(s->table);
	free(s);
}

/* ---- the table ---- */

static size_t home_of(const struct client_sketch *s, const struct ip *key, uint32_t service)
{
	return hash_mix(hash_bytes(key->b, sizeof(key->b), s->seed) ^ service) & s->table_mask;
}

/* The place of a key, or the free one where it would go. */
static size_t place_of(const struct client_sketch *s, const struct ip *key, uint32_t service)
{
	size_t at = home_of(s, key, service);

	while (s->table[at] != NONE) {
		const struct entry *e = &s->entries[s->table[at]];

		if (e->latest.service == service && ip_equal(&e->key, key))
			break;
		at = (at + 1) & s->table_mask;
	}
	return at;
}

/* Takes an entry out; those behind it move up, so that no search ends too early. */
static void unlist(struct client_sketch *s, const struct entry *e)
{
	size_t hole = place_of(s, &e->key, e->latest.service);
	size_t at = hole;

	for (;;) {
		size_t home;

		at = (at + 1) & s->table_mask;
		if (s->table[at] == NONE)
			break;
		home = home_of(s, &s->entries[s->table[at]].key,
		               s->entries[s->table[at]].latest.service);
		if (((at - home) & s->table_mask) < ((at - hole) & s->table_mask))
			continue;
		s->table[hole] = s->table[at];
		hole = at;
	}
	s->table[hole] = NONE;
}

/* ---- the heap ---- */

static void heap_set(struct client_sketch *s, size_t at, uint32_t number)
{
	s->heap[at] = number;
	s->entries[number].heap_at = (uint32_t)at;
}

static void sift_up(struct client_sketch *s, size_t at)
{
	uint32_t number = s->heap[at];

	while (at > 0 && s->entries[s->heap[(at - 1) / 2]].weight > s->entries[number].weight) {
		heap_set(s, at, s->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(s, at, number);
}

static void sift_down(struct client_sketch *s, size_t at)
{
	uint32_t number = s->heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= s->count)
			break;
		if (child + 1 < s->count &&
		    s->entries[s->heap[child + 1]].weight < s->entries[s->heap[child]].weight)
			child++;
		if (s->entries[s->heap[child]].weight >= s->entries[number].weight)
			break;
		heap_set(s, at, s->heap[child]);
		at = child;
	}
	heap_set(s, at, number);
}

/* ---- weights ---- */

static double gain_at(const struct client_sketch *s, uint64_t now_ms)
{
	return exp2((double)(now_ms - s->epoch_ms) / (double)s->half_life_ms);
}

/* What a connection weighs now, in units of the epoch. */
static double gain(struct client_sketch *s, uint64_t now_ms)
{
	double g = gain_at(s, now_ms);

	if (g <= GAIN_MAX)
		return g;
	for (size_t i = 0; i < s->count; i++) {
		s->entries[i].weight /= g;
		s->entries[i].error /= g;
	}
	s->total /= g;
	s->epoch_ms = now_ms;
	return 1;
}

/* An entry for a key that has none. */
static struct entry *take_entry(struct client_sketch *s)
{
	struct entry *e;

	if (s->count < s->capacity) {
		e = &s->entries[s->count];
		*e = (struct entry){0};
		heap_set(s, s->count, (uint32_t)s->count);
		s->count++;
		sift_up(s, s->count - 1);
		return e;
	}
	e = &s->entries[s->heap[0]];
	unlist(s, e);
	e->error = e->weight;
	return e;
}

void client_sketch_note(struct client_sketch *s, const struct client_seen *seen, uint64_t now_ms)
{
	struct ip key = ip_masked(&seen->client, CLIENT_SKETCH_V4_BITS, CLIENT_SKETCH_V6_BITS);
	size_t at = place_of(s, &key, seen->service);
	double g = gain(s, now_ms);
	bool known = s->table[at] != NONE;
	struct entry *e = known ? &s->entries[s->table[at]] : take_entry(s);
	uint32_t slot = e->latest.slot;
	uint32_t generation = e->latest.generation;

	e->key = key;
	e->latest = *seen;
	e->latest_ms = now_ms;
	if (known && seen->slot == LIVE_NO_SLOT) {
		e->latest.slot = slot;
		e->latest.generation = generation;
	}
	if (!known)
		s->table[place_of(s, &key, seen->service)] = (uint32_t)(e - s->entries);
	e->weight += g;
	s->total += g;
	sift_down(s, e->heap_at);
}

/* ---- reading ---- */

size_t client_sketch_count(const struct client_sketch *s)
{
	return s->count;
}

struct client_entry client_sketch_entry(const struct client_sketch *s, size_t i, uint64_t now_ms)
{
	const struct entry *e = &s->entries[i];
	double g = gain_at(s, now_ms);
	uint8_t bits = ip_is_v4(&e->key) ? V4_OFFSET_BITS + CLIENT_SKETCH_V4_BITS
	                                 : CLIENT_SKETCH_V6_BITS;

	CHECK(i < s->count);
	return (struct client_entry){
		.prefix = {.ip = e->key, .bits = bits},
		.latest = e->latest,
		.latest_ms = e->latest_ms,
		.weight = e->weight / g,
		.error = e->error / g,
	};
}

double client_sketch_total(const struct client_sketch *s, uint64_t now_ms)
{
	return s->total / gain_at(s, now_ms);
}
