/* Rates are differences of counters over the time between the answers as the proxy measured it.
 * What went backwards has begun anew, and counts from nothing. */
#include "cli/top_model.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

static uint64_t growth(const json_t *now, const json_t *before, const char *key)
{
	uint64_t n = number_of(now, key);
	uint64_t b = number_of(before, key);

	return n >= b ? n - b : n;
}

const char *top_sort_word(enum top_sort sort)
{
	static const char *const words[] = {
		[TOP_BY_CONNECTIONS] = "connections", [TOP_BY_RATE] = "rate", [TOP_BY_RTT] = "rtt",
		[TOP_BY_FAILURES] = "failures",       [TOP_BY_ID] = "id",
	};

	return words[sort];
}

const char *top_sort_parameter(enum top_sort sort)
{
	return sort == TOP_BY_RATE ? "connects" : top_sort_word(sort);
}

/* ---- parts ---- */

/* The growth of a histogram; before may be NULL. */
static void read_histogram(struct histogram_sum *h, const json_t *now, const json_t *before,
                           const char *key)
{
	const json_t *n = json_object_get(json_object_get(now, "histograms"), key);
	const json_t *b = json_object_get(json_object_get(before, "histograms"), key);
	const json_t *buckets = json_object_get(n, "buckets");
	const json_t *old = json_object_get(b, "buckets");

	*h = (struct histogram_sum){0};
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		json_int_t count = json_integer_value(json_array_get(buckets, i)) -
		                   json_integer_value(json_array_get(old, i));

		h->buckets[i] = count > 0 ? (uint64_t)count : 0;
		h->count += h->buckets[i];
	}
}

static void read_scores(struct top_model *m, const json_t *now, const json_t *before)
{
	const json_t *n = json_object_get(now, "decisions");
	const json_t *b = json_object_get(before, "decisions");
	const json_t *counters = json_object_get(now, "counters");
	const json_t *old = json_object_get(before, "counters");
	uint64_t hits = growth(counters, old, "affinity_hits");
	uint64_t misses = growth(counters, old, "affinity_misses");
	double sum = 0;

	for (size_t i = 0; i < 3; i++) {
		m->scores[i] = (double)(json_integer_value(json_array_get(n, i)) -
		                        json_integer_value(json_array_get(b, i)));
		sum += m->scores[i];
	}
	for (size_t i = 0; i < 3; i++)
		m->scores[i] = sum > 0 ? m->scores[i] / sum : 0;
	m->affinity_share = hits + misses > 0 ? (double)hits / (double)(hits + misses) : 0;
}

static int end_compare(const void *a, const void *b)
{
	const struct top_end *x = a;
	const struct top_end *y = b;

	if (x->rate != y->rate)
		return x->rate > y->rate ? -1 : 1;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return strcmp(x->reason, y->reason);
}

static void read_ends(struct top_model *m, const json_t *now, const json_t *before, double secs)
{
	json_t *ended = json_object_get(now, "ended");
	const json_t *old = json_object_get(before, "ended");
	const char *reason;
	json_t *count;

	json_object_foreach(ended, reason, count)
	{
		if (m->end_count == TOP_ENDS_MAX)
			break;
		m->ends[m->end_count++] = (struct top_end){
			.reason = reason,
			.count = (uint64_t)json_integer_value(count),
			.rate = secs > 0 ? (double)growth(ended, old, reason) / secs : 0,
		};
	}
	qsort(m->ends, m->end_count, sizeof(m->ends[0]), end_compare);
}

/* Backends of the answer before, by id: a hash table of jansson's. NULL: none, or out of memory. */
static json_t *index_backends(const json_t *before)
{
	const json_t *all = json_object_get(before, "backends");
	json_t *index = json_object();

	for (size_t i = 0; i < json_array_size(all); i++) {
		json_t *b = json_array_get(all, i);

		(void)json_object_set(index, text_of(b, "id"), b);
	}
	return index;
}

static void read_backends(struct top_model *m, const json_t *now, const json_t *before, double secs)
{
	const json_t *all = json_object_get(now, "backends");
	json_t *index = index_backends(before);

	for (size_t i = 0; i < json_array_size(all) && i < TOP_BACKENDS_MAX; i++) {
		const json_t *b = json_array_get(all, i);
		const json_t *old = json_object_get(index, text_of(b, "id"));
		bool rated = secs > 0 && old != NULL;

		m->backends[m->backend_count++] = (struct top_backend){
			.id = text_of(b, "id"),
			.region = text_of(b, "region"),
			.country = text_of(b, "country"),
			.excluded = text_of(b, "excluded"),
			.connections = number_of(b, "connections"),
			.soft_limit = number_of(b, "soft_limit"),
			.hard_limit = number_of(b, "hard_limit"),
			.failures = number_of(b, "failures"),
			.rtt_us = number_of(b, "rtt_us"),
			.rate = rated ? (double)growth(b, old, "connects") / secs : 0,
			.failure_rate = rated ? (double)growth(b, old, "failures") / secs : 0,
		};
	}
	json_decref(index);
}

static void read_places(struct top_model *m, const json_t *now)
{
	const json_t *all = json_object_get(now, "clients");
	double sum = 0;

	for (size_t i = 0; i < json_array_size(all); i++)
		sum += json_number_value(json_object_get(json_array_get(all, i), "weight"));
	for (size_t i = 0; i < json_array_size(all) && i < TOP_PLACES_MAX; i++) {
		const json_t *p = json_array_get(all, i);
		double weight = json_number_value(json_object_get(p, "weight"));
		struct top_place *place = &m->places[m->place_count++];

		*place = (struct top_place){.country = text_of(p, "country"),
		                            .region = text_of(p, "region"),
		                            .share = sum > 0 ? weight / sum : 0};
		for (size_t k = 0; k < 3 && weight > 0; k++)
			place->scores[k] =
				json_number_value(json_array_get(json_object_get(p, "scores"), k)) /
				weight;
	}
}

/* ---- the whole ---- */

void top_model_read(struct top_model *m, const json_t *now, const json_t *before)
{
	const json_t *connections = json_object_get(now, "connections");
	const json_t *counters = json_object_get(now, "counters");
	const json_t *bytes = json_object_get(now, "bytes");
	const json_t *old_counters, *old_bytes;
	double secs = 0;

	/* Another process has been up for less long than the one before. */
	if (number_of(now, "now_ms") <= number_of(before, "now_ms") ||
	    number_of(now, "uptime_secs") < number_of(before, "uptime_secs"))
		before = NULL;
	if (before != NULL)
		secs = (double)growth(now, before, "now_ms") / 1000;
	old_counters = json_object_get(before, "counters");
	old_bytes = json_object_get(before, "bytes");
	*m = (struct top_model){
		.version = text_of(now, "version"),
		.region = text_of(now, "region"),
		.app = text_of(now, "app"),
		.uptime_secs = number_of(now, "uptime_secs"),
		.active = number_of(connections, "active"),
		.max = number_of(connections, "max"),
		.queued = number_of(connections, "queued"),
		.bindings = number_of(connections, "bindings"),
		.accepted = number_of(counters, "accepted"),
		.backends_total = number_of(now, "backends_total"),
		.has_rates = secs > 0,
	};
	if (secs > 0) {
		m->accept_rate = (double)growth(counters, old_counters, "accepted") / secs;
		m->failure_rate = (double)growth(counters, old_counters, "connect_failures") / secs;
		m->in_rate = (double)growth(bytes, old_bytes, "from_clients") / secs;
		m->out_rate = (double)growth(bytes, old_bytes, "to_clients") / secs;
	}
	read_histogram(&m->connect, now, before, "connect");
	read_histogram(&m->queue, now, before, "queue");
	read_histogram(&m->turn, now, before, "turn");
	read_scores(m, now, before);
	read_ends(m, now, before, secs);
	read_backends(m, now, before, secs);
	read_places(m, now);
}

/* ---- order ---- */

static int by_id(const struct top_backend *a, const struct top_backend *b)
{
	return strcmp(a->id, b->id);
}

static int compare_numbers(double a, double b, const struct top_backend *x,
                           const struct top_backend *y)
{
	return a != b ? (a > b ? -1 : 1) : by_id(x, y);
}

static int by_connections(const void *a, const void *b)
{
	const struct top_backend *x = a, *y = b;

	return compare_numbers((double)x->connections, (double)y->connections, x, y);
}

static int by_rate(const void *a, const void *b)
{
	const struct top_backend *x = a, *y = b;

	return compare_numbers(x->rate, y->rate, x, y);
}

static int by_rtt(const void *a, const void *b)
{
	const struct top_backend *x = a, *y = b;

	return compare_numbers((double)x->rtt_us, (double)y->rtt_us, x, y);
}

static int by_failures(const void *a, const void *b)
{
	const struct top_backend *x = a, *y = b;

	if (x->failure_rate != y->failure_rate)
		return x->failure_rate > y->failure_rate ? -1 : 1;
	return compare_numbers((double)x->failures, (double)y->failures, x, y);
}

static int by_name(const void *a, const void *b)
{
	return by_id(a, b);
}

void top_model_sort(struct top_model *m, enum top_sort sort, const char *filter)
{
	static int (*const orders[])(const void *, const void *) = {
		[TOP_BY_CONNECTIONS] = by_connections,
		[TOP_BY_RATE] = by_rate,
		[TOP_BY_RTT] = by_rtt,
		[TOP_BY_FAILURES] = by_failures,
		[TOP_BY_ID] = by_name,
	};
	size_t kept = 0;

	for (size_t i = 0; i < m->backend_count; i++) {
		const struct top_backend *b = &m->backends[i];

		if (filter[0] == '\0' || strstr(b->id, filter) != NULL ||
		    strstr(b->region, filter) != NULL || strstr(b->country, filter) != NULL)
			m->backends[kept++] = *b;
	}
	m->backend_count = kept;
	qsort(m->backends, kept, sizeof(m->backends[0]), orders[sort]);
}
