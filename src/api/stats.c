/* The numbers of the moment over HTTP, for whoever draws them again and again (`edgeproxy top`):
 * counters that only grow, so that two answers give a rate; histograms; and the backends and places
 * that matter most, never all of a hundred thousand. Reads what workers count, and makes none
 * wait. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "http/query.h"
#include "proxy/counters.h"
#include "recorder/client_sketch.h"
#include "route/balancer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BACKENDS_DEFAULT 200
#define PLACES_MAX 100

enum order { BY_CONNECTIONS, BY_CONNECTS, BY_FAILURES, BY_RTT, BY_ID, ORDERS };

static const char *const orders[] = {
	[BY_CONNECTIONS] = "connections",
	[BY_CONNECTS] = "connects",
	[BY_FAILURES] = "failures",
	[BY_RTT] = "rtt",
	[BY_ID] = "id",
};

/* ---- counters ---- */

static json_t *counters_json(const struct counters_sum *sum)
{
	json_t *j = json_object();

#define COUNTER(field, help) json_object_set_new(j, #field, json_integer((json_int_t)sum->field));
#include "proxy/counters.def"
#undef COUNTER
	return j;
}

static json_t *ends_json(const struct counters_sum *sum)
{
	json_t *j = json_object();

	for (int i = 0; i < CLOSE_REASON_COUNT; i++)
		if (sum->ended[i] != 0)
			json_object_set_new(j, close_reason_word((enum close_reason)i),
			                    json_integer((json_int_t)sum->ended[i]));
	return j;
}

static json_t *places_found_json(const struct counters_sum *sum)
{
	json_t *j = json_object();

	for (int i = 0; i < PLACE_SOURCES; i++)
		json_object_set_new(j, place_source_word((enum place_source)i),
		                    json_integer((json_int_t)sum->places[i]));
	return j;
}

/* Each bucket without those below it; the last one is what is above all bounds. */
static json_t *histogram_json(const struct histogram_sum *h)
{
	json_t *buckets = json_array();

	for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)h->buckets[i]));
	return json_pack("{s:o, s:I, s:I, s:I, s:I}", "buckets", buckets, "count",
	                 (json_int_t)h->count, "sum_us", (json_int_t)h->sum_us, "p50_us",
	                 (json_int_t)histogram_quantile_us(h, 0.5), "p99_us",
	                 (json_int_t)histogram_quantile_us(h, 0.99));
}

static json_t *histograms_json(const struct counters_sum *sum)
{
	struct histogram_sum connect = {0};
	json_t *bounds = json_array();

	for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
		json_array_append_new(bounds, json_integer((json_int_t)histogram_bounds_us[i]));
	for (int region = 0; region < COUNTERS_REGIONS; region++) {
		for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
			connect.buckets[i] += sum->rtt[region].buckets[i];
		connect.sum_us += sum->rtt[region].sum_us;
		connect.count += sum->rtt[region].count;
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "bounds_us", bounds, "connect",
	                 histogram_json(&connect), "queue", histogram_json(&sum->queue), "turn",
	                 histogram_json(&sum->turn));
}

/* ---- backends ---- */

struct ranked {
	uint64_t key; /* the greatest first */
	uint32_t backend;
};

static int ranked_compare(const void *a, const void *b)
{
	const struct ranked *x = a;
	const struct ranked *y = b;

	if (x->key != y->key)
		return x->key > y->key ? -1 : 1;
	return x->backend < y->backend ? -1 : x->backend > y->backend;
}

static uint64_t rank_of(const struct core *c, const struct backend *b, enum order order)
{
	switch (order) {
	case BY_CONNECTIONS:
		return live_connections(c->live, b->slot);
	case BY_CONNECTS:
		return live_outcomes(c->live, b->slot).connects;
	case BY_FAILURES:
		return live_outcomes(c->live, b->slot).failures;
	case BY_RTT:
		return live_rtt_us(c->live, b->slot);
	default:
		return 0; /* the table has them by id */
	}
}

static json_t *backend_json(const struct core *c, const struct backend *b)
{
	const struct balancer_query anybody = {.app = b->app, .country = "", .region = REGION_NONE};
	struct balancer_terms terms = balancer_judge(c->table, b, &anybody);
	struct live_outcomes o = live_outcomes(c->live, b->slot);

	return json_pack(
		"{s:o, s:o, s:s, s:o, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "id",
		json_text(b->id), "app", json_text(b->app), "region", region_name(b->region),
		"country", json_text(b->country), "state", admin_state_word(b->state), "excluded",
		json_text(exclusion_word(terms.exclusion)), "weight", (json_int_t)b->weight,
		"soft_limit", (json_int_t)b->soft_limit, "hard_limit", (json_int_t)b->hard_limit,
		"connections", (json_int_t)terms.connections, "connects", (json_int_t)o.connects,
		"successes", (json_int_t)o.successes, "failures", (json_int_t)o.failures, "rtt_us",
		(json_int_t)live_rtt_us(c->live, b->slot), "ramp", (int)terms.ramp);
}

/* Of the `limit` first in that order; NULL: out of memory. */
static json_t *backends_json(const struct core *c, enum order order, uint64_t limit,
                             size_t *ret_total)
{
	const struct table *t = c->table;
	uint32_t count = t != NULL ? t->backend_count : 0;
	struct ranked *all = calloc((size_t)count + 1, sizeof(*all));
	json_t *rows = json_array();
	size_t n = 0;

	for (uint32_t i = 0; all != NULL && i < count; i++)
		if (!t->backends[i].deleted)
			all[n++] = (struct ranked){.key = rank_of(c, &t->backends[i], order),
			                           .backend = i};
	if (all != NULL)
		qsort(all, n, sizeof(*all), ranked_compare);
	for (size_t i = 0; i < n && i < limit; i++)
		json_array_append_new(rows, backend_json(c, &t->backends[all[i].backend]));
	free(all);
	*ret_total = n;
	return rows;
}

/* ---- places ---- */

/* Clients of one country and region, as the sketch has them. */
struct place_sum {
	char country[3];
	region_id region;
	double weight;
	double scores[REGION_SCORES];
};

static int place_compare(const void *a, const void *b)
{
	const struct place_sum *x = a;
	const struct place_sum *y = b;

	return x->weight > y->weight ? -1 : x->weight < y->weight;
}

static struct place_sum *place_find(struct place_sum *all, size_t *count,
                                    const struct client_seen *seen)
{
	size_t i = 0;

	while (i < *count &&
	       (all[i].region != seen->region || strcmp(all[i].country, seen->country) != 0))
		i++;
	if (i == *count) {
		all[i] = (struct place_sum){.region = seen->region};
		memcpy(all[i].country, seen->country, sizeof(seen->country));
		(*count)++;
	}
	return &all[i];
}

static json_t *clients_json(const struct core *c, uint64_t now_ms)
{
	size_t entries = client_sketch_count(c->recorder.clients);
	struct place_sum *all = calloc(entries + 1, sizeof(*all));
	json_t *rows = json_array();
	size_t count = 0;

	for (size_t i = 0; all != NULL && i < entries; i++) {
		struct client_entry e = client_sketch_entry(c->recorder.clients, i, now_ms);
		struct place_sum *p = place_find(all, &count, &e.latest);

		p->weight += e.weight;
		if (e.latest.region_score < REGION_SCORES)
			p->scores[e.latest.region_score] += e.weight;
	}
	qsort(all != NULL ? all : &(struct place_sum){0}, count, sizeof(*all), place_compare);
	for (size_t i = 0; i < count && i < PLACES_MAX; i++)
		json_array_append_new(rows,
		                      json_pack("{s:o, s:o, s:f, s:[f,f,f]}", "country",
		                                json_text(all[i].country), "region",
		                                json_text(region_name(all[i].region)), "weight",
		                                all[i].weight, "scores", all[i].scores[0],
		                                all[i].scores[1], all[i].scores[2]));
	free(all);
	return rows;
}

/* ---- the answer ---- */

static bool read_order(const char *text, enum order *ret, struct reply *r)
{
	for (int i = 0; i < ORDERS; i++) {
		if (text[0] == '\0' || strcmp(text, orders[i]) == 0) {
			*ret = (enum order)i;
			return true;
		}
	}
	reply_problem(r, 400, "sort", "sort must be connections, connects, failures, rtt or id");
	return false;
}

static json_t *totals_json(const struct core *c)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "active", (json_int_t)live_own_total(c->live),
	                 "max", (json_int_t)c->config->max_conn, "queued",
	                 (json_int_t)queue_length(c->queue), "bindings",
	                 (json_int_t)affinity_counts(c->affinity).entries);
}

void route_stats(struct core *c, const struct request *q, struct reply *r)
{
	char limit_text[8] = "", sort_text[16] = "";
	const struct query_field known[] = {{"limit", limit_text, sizeof(limit_text)},
	                                    {"sort", sort_text, sizeof(sort_text)}};
	struct counters_sum sum = {0};
	uint64_t now_ms = clock_now_ms();
	unsigned long limit = BACKENDS_DEFAULT;
	enum order order;
	size_t total;
	json_t *backends;

	if (!query_may_see(q, "", r) || !query_read(q, known, 2, r) ||
	    !read_order(sort_text, &order, r) ||
	    !query_number("limit", limit_text, 0, QUERY_PAGE_MAX, &limit, r))
		return;
	crew_counters(c->crew, &sum);
	backends = backends_json(c, order, limit, &total);
	reply_json(r, 200,
	           json_pack("{s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:{s:I, s:I}, s:o, "
	                     "s:[I,I,I], s:o, s:o, s:o, s:o, s:I}",
	                     "now_ms", (json_int_t)now_ms, "uptime_secs",
	                     (json_int_t)((now_ms - c->started_ms) / 1000), "version",
	                     EDGEPROXY_VERSION, "region", c->config->region, "app", c->config->app,
	                     "workers", (json_int_t)crew_size(c->crew), "table_version",
	                     (json_int_t)(c->table != NULL ? c->table->version : 0), "connections",
	                     totals_json(c), "counters", counters_json(&sum), "bytes",
	                     "from_clients", (json_int_t)sum.bytes[CLIENT], "to_clients",
	                     (json_int_t)sum.bytes[BACKEND], "ended", ends_json(&sum), "decisions",
	                     (json_int_t)sum.decisions[0], (json_int_t)sum.decisions[1],
	                     (json_int_t)sum.decisions[2], "places", places_found_json(&sum),
	                     "histograms", histograms_json(&sum), "clients",
	                     clients_json(c, now_ms), "backends", backends, "backends_total",
	                     (json_int_t)total));
}
