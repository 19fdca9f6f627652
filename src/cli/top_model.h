/* What `edgeproxy top` shows, worked out of two answers of /api/v1/stats. Pure. */
#ifndef CLI_TOP_MODEL_H
#define CLI_TOP_MODEL_H

#include "base/histogram.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_BACKENDS_MAX 1000
#define TOP_PLACES_MAX 100
#define TOP_ENDS_MAX 32

/* Texts are those of the later answer, which outlives the model. */
struct top_backend {
	const char *id;
	const char *region;
	const char *country;  /* "" when unknown */
	const char *excluded; /* why it gets no clients; "": it does */
	uint64_t connections;
	uint64_t soft_limit;
	uint64_t hard_limit;
	uint64_t failures;
	uint64_t rtt_us; /* 0: unknown */
	double rate;     /* connections a second */
	double failure_rate;
};

struct top_place {
	const char *country; /* "" when unknown */
	const char *region;
	double share;     /* of the clients of the last hours */
	double scores[3]; /* of them, by region_score */
};

struct top_end {
	const char *reason;
	uint64_t count; /* since the start */
	double rate;
};

struct top_model {
	const char *version;
	const char *region;
	const char *app; /* "": every one */
	uint64_t uptime_secs;
	uint64_t active, max, queued, bindings, accepted;
	uint64_t backends_total;
	bool has_rates; /* there were two answers */
	double accept_rate, in_rate, out_rate, failure_rate;
	double scores[3];      /* shares of the decisions: of the interval, else since the start */
	double affinity_share; /* of them, those that got the backend they had */
	struct histogram_sum connect, queue, turn; /* the same */
	struct top_backend backends[TOP_BACKENDS_MAX];
	size_t backend_count;
	struct top_place places[TOP_PLACES_MAX];
	size_t place_count;
	struct top_end ends[TOP_ENDS_MAX]; /* the greatest rate first */
	size_t end_count;
};

enum top_sort {
	TOP_BY_CONNECTIONS,
	TOP_BY_RATE,
	TOP_BY_RTT,
	TOP_BY_FAILURES,
	TOP_BY_ID,
	TOP_SORTS
};

/* As an argument of --sort, and as the proxy is asked. */
const char *top_sort_word(enum top_sort sort);
const char *top_sort_parameter(enum top_sort sort);

/* before NULL, or of another process: without rates. */
void top_model_read(struct top_model *m, const json_t *now, const json_t *before);
/* Orders the backends; filter, unless "": only those whose id, region or country has that text. */
void top_model_sort(struct top_model *m, enum top_sort sort, const char *filter);

#endif
