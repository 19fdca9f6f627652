/* Sums over a sliding window: each counter keeps its sum and what each step added to it, and a step
 * that leaves the window takes that away again.
 *
 * Arcs lie in a table like a cache: a set of places by the hash of the arc, so that finding one,
 * and finding one that may give way, looks at TRAFFIC_WAYS places whatever happens. Clients from
 * many places to many backends can thus cost no more than clients from few. */
#include "recorder/traffic.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

struct tally {
	uint32_t sum;
	uint32_t steps[TRAFFIC_STEPS];
};

struct place {
	uint32_t slot;
	uint32_t generation;
	uint16_t country;
	uint8_t region_score;
	struct tally tally; /* sum 0: free */
};

struct traffic {
	uint64_t step_ms; /* when the present step began */
	unsigned step;
	struct tally countries[TRAFFIC_COUNTRIES];
	struct tally gave_way;
	struct place places[TRAFFIC_SETS][TRAFFIC_WAYS];
};

struct traffic *traffic_new(uint64_t now_ms)
{
	struct traffic *t = calloc(1, sizeof(*t));

	if (t != NULL)
		t->step_ms = now_ms;
	return t;
}

void traffic_free(struct traffic *t)
{
	free(t);
}

static void tally_add(struct tally *t, unsigned step)
{
	t->sum++;
	t->steps[step]++;
}

static void tally_forget(struct tally *t, unsigned step)
{
	t->sum -= t->steps[step];
	t->steps[step] = 0;
}

/* All that has been counted in from goes to to. */
static void tally_move(struct tally *from, struct tally *to)
{
	to->sum += from->sum;
	for (unsigned i = 0; i < TRAFFIC_STEPS; i++)
		to->steps[i] += from->steps[i];
	*from = (struct tally){0};
}

static bool is_arc(const struct place *p, const struct place *wanted)
{
	return p->tally.sum != 0 && p->slot == wanted->slot &&
	       p->generation == wanted->generation && p->country == wanted->country &&
	       p->region_score == wanted->region_score;
}

/* The place of an arc; the least used of its set where it has none yet. */
static struct place *place_of(struct traffic *t, const struct place *wanted)
{
	const uint32_t key[] = {wanted->slot, wanted->generation,
	                        (uint32_t)wanted->country << 8 | wanted->region_score};
	struct place *set = t->places[hash_bytes(key, sizeof(key), 0) % TRAFFIC_SETS];
	struct place *least = &set[0];

	for (unsigned i = 0; i < TRAFFIC_WAYS; i++) {
		if (is_arc(&set[i], wanted))
			return &set[i];
		if (set[i].tally.sum < least->tally.sum)
			least = &set[i];
	}
	tally_move(&least->tally, &t->gave_way);
	*least = *wanted;
	return least;
}

void traffic_note(struct traffic *t, const struct flight_record *record)
{
	const char code[3] = {record->country[0], record->country[1], '\0'};
	int country = country_index(code);
	struct place wanted = {
		.slot = record->slot,
		.generation = record->generation,
		.country = country == COUNTRY_INDEX_NONE ? TRAFFIC_UNKNOWN : (uint16_t)country,
		.region_score = record->region_score,
	};

	if (record->kind != FLIGHT_ROUTED)
		return;
	tally_add(&t->countries[wanted.country], t->step);
	tally_add(&place_of(t, &wanted)->tally, t->step);
}

static void forget_step(struct traffic *t, unsigned step)
{
	for (unsigned i = 0; i < TRAFFIC_COUNTRIES; i++)
		tally_forget(&t->countries[i], step);
	for (unsigned i = 0; i < TRAFFIC_SETS; i++)
		for (unsigned k = 0; k < TRAFFIC_WAYS; k++)
			tally_forget(&t->places[i][k].tally, step);
	tally_forget(&t->gave_way, step);
}

void traffic_tick(struct traffic *t, uint64_t now_ms)
{
	/* One that slept for longer than the window has everything to forget, once. */
	if (now_ms - t->step_ms > TRAFFIC_WINDOW_MS)
		t->step_ms = now_ms - TRAFFIC_WINDOW_MS;
	while (now_ms - t->step_ms >= TRAFFIC_STEP_MS) {
		t->step_ms += TRAFFIC_STEP_MS;
		t->step = (t->step + 1) % TRAFFIC_STEPS;
		forget_step(t, t->step);
	}
}

static void country_text(unsigned index, char to[3])
{
	if (index == TRAFFIC_UNKNOWN)
		to[0] = '\0';
	else
		to[0] = (char)('A' + index / 26);
	to[1] = index == TRAFFIC_UNKNOWN ? '\0' : (char)('A' + index % 26);
	to[2] = '\0';
}

static int compare_arcs(const void *a, const void *b)
{
	const struct traffic_arc *x = a, *y = b;
	int order = (x->clients < y->clients) - (x->clients > y->clients);

	if (order == 0)
		order = strcmp(x->country, y->country);
	return order != 0 ? order : (x->slot > y->slot) - (x->slot < y->slot);
}

/* Sorts them; returns how many there are, `most` at most, and adds the clients of the others to
 * *rest. */
static size_t keep_first(struct traffic_arc *all, size_t count, size_t most, uint64_t *rest)
{
	qsort(all, count, sizeof(all[0]), compare_arcs);
	for (size_t i = most; i < count; i++)
		*rest += all[i].clients;
	return count < most ? count : most;
}

/* A country is sorted as an arc that leads nowhere. */
size_t traffic_countries(const struct traffic *t, struct traffic_country *ret, size_t most,
                         uint64_t *ret_rest)
{
	struct traffic_arc all[TRAFFIC_COUNTRIES];
	size_t count = 0;

	for (unsigned i = 0; i < TRAFFIC_COUNTRIES; i++) {
		if (t->countries[i].sum == 0)
			continue;
		all[count] = (struct traffic_arc){.clients = t->countries[i].sum};
		country_text(i, all[count++].country);
	}
	*ret_rest = 0;
	count = keep_first(all, count, most, ret_rest);
	for (size_t i = 0; i < count; i++) {
		memcpy(ret[i].country, all[i].country, sizeof(ret[i].country));
		ret[i].clients = all[i].clients;
	}
	return count;
}

size_t traffic_arcs(const struct traffic *t, struct traffic_arc *ret, size_t most,
                    uint64_t *ret_rest)
{
	struct traffic_arc all[TRAFFIC_ARCS_MAX];
	size_t count = 0;

	for (unsigned i = 0; i < TRAFFIC_ARCS_MAX; i++) {
		const struct place *p = &t->places[i / TRAFFIC_WAYS][i % TRAFFIC_WAYS];

		if (p->tally.sum == 0)
			continue;
		all[count] = (struct traffic_arc){.region_score = p->region_score,
		                                  .slot = p->slot,
		                                  .generation = p->generation,
		                                  .clients = p->tally.sum};
		country_text(p->country, all[count++].country);
	}
	*ret_rest = t->gave_way.sum;
	count = keep_first(all, count, most, ret_rest);
	memcpy(ret, all, count * sizeof(all[0]));
	return count;
}
