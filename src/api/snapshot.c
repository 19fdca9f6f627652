/* Built once a second for everybody who watches, so its cost is that of one scan of the table's
 * backends and of a few hundred rows of JSON, however many watch. Reads counters and live state
 * relaxed, as they are: numbers of one snapshot may be microseconds apart. */
#include "api/snapshot.h"

#include "base/clock.h"
#include "recorder/traffic.h"
#include "recorder/transitions.h"
#include "route/region.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Significant digits of a rate. */
#define RATE_DIGITS 6
#define NS_A_SEC 1e9

/* ---- which backends ---- */

struct busy {
	const struct backend *backend;
	double load;
};

/* Is a less worth showing than b? Members of a table are ordered by id. */
static bool is_lesser(const struct busy *a, const struct busy *b)
{
	return a->load < b->load || (a->load == b->load && a->backend > b->backend);
}

/* Restores the heap whose least element is at 0, after a change there. */
static void sift_down(struct busy *heap, size_t count)
{
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		struct busy moved = heap[i];

		if (child >= count)
			return;
		if (child + 1 < count && is_lesser(&heap[child + 1], &heap[child]))
			child++;
		if (!is_lesser(&heap[child], &heap[i]))
			return;
		heap[i] = heap[child];
		heap[child] = moved;
		i = child;
	}
}

static void sift_up(struct busy *heap, size_t i)
{
	while (i > 0 && is_lesser(&heap[i], &heap[(i - 1) / 2])) {
		struct busy moved = heap[i];

		heap[i] = heap[(i - 1) / 2];
		heap[(i - 1) / 2] = moved;
		i = (i - 1) / 2;
	}
}

static int compare_by_id(const void *a, const void *b)
{
	const struct busy *x = a, *y = b;

	return (x->backend > y->backend) - (x->backend < y->backend); /* both of one table */
}

size_t snapshot_busiest(const struct table *t, const struct backend **ret, size_t most)
{
	struct busy heap[SNAPSHOT_BACKENDS];
	size_t count = 0;

	if (most > SNAPSHOT_BACKENDS)
		most = SNAPSHOT_BACKENDS;
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		struct busy one = {.backend = b};

		if (b->deleted)
			continue;
		one.load = (double)live_connections(t->live, b->slot) / b->soft_limit;
		if (count < most) {
			heap[count] = one;
			sift_up(heap, count++);
		} else if (most > 0 && is_lesser(&heap[0], &one)) {
			heap[0] = one;
			sift_down(heap, count);
		}
	}
	qsort(heap, count, sizeof(heap[0]), compare_by_id);
	for (size_t i = 0; i < count; i++)
		ret[i] = heap[i].backend;
	return count;
}

/* ---- JSON ---- */

/* Every json_pack() below takes its values over, also where one of them is NULL: then it fails as a
 * whole, and the one check at the end sees it. */

static json_t *text_or_null(const char *text)
{
	json_t *j = text != NULL && text[0] != '\0' ? json_string(text) : NULL;

	return j != NULL ? j : json_null();
}

/* To a thousandth. */
static json_t *rate(bool known, uint64_t now, uint64_t was, double secs)
{
	if (!known || now < was)
		return json_null();
	return json_real((double)(uint64_t)((double)(now - was) / secs * 1000 + 0.5) / 1000);
}

static json_t *rates_json(const struct counters_sum *now, const struct snapshot_base *base,
                          double secs)
{
	const struct counters_sum *was = &base->counters;

	if (secs <= 0)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "clients",
	                 rate(true, now->accepted, was->accepted, secs), "connect_failures",
	                 rate(true, now->connect_failures, was->connect_failures, secs),
	                 "bytes_received", rate(true, now->bytes[0], was->bytes[0], secs),
	                 "bytes_sent", rate(true, now->bytes[1], was->bytes[1], secs), "done",
	                 rate(true, now->ended[CLOSE_DONE], was->ended[CLOSE_DONE], secs));
}

static json_t *totals_json(const struct counters_sum *now)
{
	return json_pack("{s:I, s:I, s:I, s:[I, I, I]}", "clients", (json_int_t)now->accepted,
	                 "connect_failures", (json_int_t)now->connect_failures, "queued",
	                 (json_int_t)now->queued, "region_scores", (json_int_t)now->decisions[0],
	                 (json_int_t)now->decisions[1], (json_int_t)now->decisions[2]);
}

static json_t *countries_json(const struct traffic *t, uint64_t *ret_rest)
{
	struct traffic_country found[SNAPSHOT_COUNTRIES];
	size_t count = traffic_countries(t, found, SNAPSHOT_COUNTRIES, ret_rest);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
			list, json_pack("{s:o, s:I}", "country", text_or_null(found[i].country),
		                        "clients", (json_int_t)found[i].clients));
	return list;
}

/* Those whose backend is gone are among the rest. */
static json_t *arcs_json(const struct core *c, uint64_t *ret_rest)
{
	struct traffic_arc found[SNAPSHOT_ARCS];
	size_t count = traffic_arcs(c->recorder.traffic, found, SNAPSHOT_ARCS, ret_rest);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct traffic_arc *a = &found[i];
		const struct backend *b = table_backend_in_slot(c->table, a->slot);

		if (b == NULL || live_generation(c->live, a->slot) != a->generation) {
			*ret_rest += a->clients;
			continue;
		}
		(void)json_array_append_new(
			list,
			json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "from",
		                  text_or_null(a->country), "backend", text_or_null(b->id),
		                  "region", text_or_null(region_name(b->region)), "country",
		                  text_or_null(b->country), "region_score",
		                  (json_int_t)a->region_score, "clients", (json_int_t)a->clients));
	}
	return list;
}

/* Its connects at the snapshot before. False: it was not shown there. */
static bool connects_before(const struct snapshot_base *base, const struct live *live,
                            uint32_t slot, uint64_t *ret)
{
	for (size_t i = 0; i < base->connect_count; i++) {
		if (base->connects[i].slot != slot)
			continue;
		*ret = base->connects[i].connects;
		return base->connects[i].generation == live_generation(live, slot);
	}
	return false;
}

static json_t *backend_json(const struct core *c, const struct backend *b, uint64_t connects,
                            const struct snapshot_base *base, double secs)
{
	struct live *live = c->live;
	uint32_t rtt_us = live_rtt_us(live, b->slot);
	uint64_t before = 0;
	bool known = secs > 0 && connects_before(base, live, b->slot, &before);

	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "id",
	                 text_or_null(b->id), "app", text_or_null(b->app), "region",
	                 text_or_null(region_name(b->region)), "country", text_or_null(b->country),
	                 "status", backend_status(c->table, b), "connections",
	                 (json_int_t)live_connections(live, b->slot), "soft_limit",
	                 (json_int_t)b->soft_limit, "hard_limit", (json_int_t)b->hard_limit,
	                 "weight", (json_int_t)b->weight, "ramp_percent",
	                 live_ramp(live, b->slot) != LIVE_NO_RAMP
	                         ? json_integer(live_ramp(live, b->slot))
	                         : json_null(),
	                 "rtt_us", rtt_us != 0 ? json_integer(rtt_us) : json_null(), "connects",
	                 rate(known, connects, before, secs));
}

static json_t *backends_json(const struct core *c, struct snapshot_base *base, double secs)
{
	const struct backend *shown[SNAPSHOT_BACKENDS];
	struct snapshot_connects connects[SNAPSHOT_BACKENDS];
	size_t count = snapshot_busiest(c->table, shown, SNAPSHOT_BACKENDS);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		uint32_t slot = shown[i]->slot;

		connects[i].slot = slot;
		connects[i].generation = live_generation(c->live, slot);
		connects[i].connects = live_outcomes(c->live, slot).connects;
		(void)json_array_append_new(list, backend_json(c, shown[i], connects[i].connects,
		                                               base, secs));
	}
	memcpy(base->connects, connects, count * sizeof(connects[0]));
	base->connect_count = count;
	return list;
}

/* How many backends there are of each status, by its word. */
static json_t *statuses_json(const struct table *t, uint32_t *ret_total)
{
	json_t *all = json_object();
	const char *words[16]; /* no more than exclusion.def has */
	uint32_t counts[16] = {0};
	size_t count = 0, k;

	*ret_total = 0;
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const char *word = backend_status(t, &t->backends[i]);

		if (t->backends[i].deleted)
			continue;
		++*ret_total;
		for (k = 0; k < count && words[k] != word; k++)
			;
		if (k == count && count < sizeof(words) / sizeof(words[0]))
			words[count++] = word;
		if (k < count)
			counts[k]++;
	}
	for (k = 0; k < count; k++)
		(void)json_object_set_new(all, words[k], json_integer(counts[k]));
	return all;
}

static json_t *panics_json(const struct table *t)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < t->pool_count && json_array_size(list) < SNAPSHOT_PANICS; i++)
		if (pool_in_panic(&t->pools[i]))
			(void)json_array_append_new(list, text_or_null(t->pools[i].app));
	return list;
}

static json_t *transitions_json(const struct transitions *t)
{
	json_t *list = json_array();
	const struct transition *k;

	for (size_t n = 0; n < SNAPSHOT_TRANSITIONS && (k = transitions_find(t, n)) != NULL; n++)
		(void)json_array_append_new(list, json_pack("{s:I, s:o, s:s, s:s}", "at_ms",
		                                            (json_int_t)k->at_ms, "backend",
		                                            text_or_null(k->backend), "from",
		                                            k->from, "to", k->to));
	return list;
}

static json_t *process_json(const struct core *c, uint64_t now_ns)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return json_pack("{s:I, s:s, s:o, s:I, s:b, s:b, s:I, s:I, s:I}", "at_ms",
	                 (json_int_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000, "version",
	                 EDGEPROXY_VERSION, "region",
	                 text_or_null(region_name(c->table->local_region)), "uptime_secs",
	                 (json_int_t)((now_ns / 1000000 - c->started_ms) / 1000), "stopping",
	                 (int)atomic_load_explicit(c->stopping, memory_order_relaxed), "tokens",
	                 (int)c->has_tokens, "sessions", (json_int_t)live_total(c->live), "waiting",
	                 (json_int_t)queue_length(c->queue), "window_secs",
	                 (json_int_t)(TRAFFIC_WINDOW_MS / 1000));
}

char *snapshot_text(const struct core *c, struct snapshot_base *base, uint64_t now_ns)
{
	struct counters_sum now = {0};
	double secs = 0;
	uint64_t countries_rest, arcs_rest;
	uint32_t total;
	json_t *root = process_json(c, now_ns), *more;
	char *text = NULL;

	crew_counters(c->crew, &now);
	if (base->at_ns != 0 && now_ns - base->at_ns <= SNAPSHOT_STALE_MS * UINT64_C(1000000))
		secs = (double)(now_ns - base->at_ns) / NS_A_SEC;
	more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rates",
	                 rates_json(&now, base, secs), "totals", totals_json(&now), "countries",
	                 countries_json(c->recorder.traffic, &countries_rest), "arcs",
	                 arcs_json(c, &arcs_rest), "statuses", statuses_json(c->table, &total),
	                 "backends", backends_json(c, base, secs), "panic", panics_json(c->table),
	                 "transitions", transitions_json(c->recorder.transitions));
	base->at_ns = now_ns;
	base->counters = now;
	if (root != NULL && more != NULL && json_object_update(root, more) == 0 &&
	    json_object_set_new(root, "countries_rest", json_integer((json_int_t)countries_rest)) ==
	            0 &&
	    json_object_set_new(root, "arcs_rest", json_integer((json_int_t)arcs_rest)) == 0 &&
	    json_object_set_new(root, "backends_total", json_integer(total)) == 0 &&
	    json_object_set_new(root, "unseen",
	                        json_integer((json_int_t)history_lost(c->recorder.history))) == 0)
		text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(RATE_DIGITS));
	json_decref(more);
	json_decref(root);
	return text;
}
