/* Backends as this process sees them now: the rows of the table that routes, and what is known of
 * each beside its row (route/live.h). `backends.c` shows what the database says. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "http/query.h"
#include "route/balancer.h"

#include <stdlib.h>
#include <string.h>

/* One word: why no new client would go there, or "up". */
static const char *status_of(const struct table *t, const struct backend *b, uint64_t now_ms)
{
	enum exclusion e = balancer_judge(t, b,
	                                  &(struct balancer_query){
						  .app = b->app,
						  .country = "",
						  .now_ms = now_ms,
					  })
	                           .exclusion;

	return e == EXCLUDED_NOT ? "up" : exclusion_word(e);
}

static json_t *faults_json(unsigned faults)
{
	json_t *list = json_array();

	for (unsigned bit = 0; bit < LIVE_FAULTS; bit++)
		if ((faults >> bit & 1) != 0)
			(void)json_array_append_new(list, json_string(live_fault_word(bit)));
	return list;
}

static json_t *number_or_null(uint64_t n)
{
	return n != 0 ? json_integer((json_int_t)n) : json_null();
}

static json_t *backend_json(const struct table *t, const struct backend *b, uint64_t now_ms)
{
	const struct live *l = t->live;
	struct live_outcomes seen = live_outcomes(l, b->slot);
	char addr[ENDPOINT_TEXT_MAX];

	return json_pack(
		"{s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:b, s:o, "
		"s:o, s:I, s:I, s:I, s:I, s:o}",
		"id", json_text(b->id), "app", json_text(b->app), "region",
		json_text(region_name(b->region)), "country", json_text(b->country), "addr",
		endpoint_format(&b->addr, addr), "status", status_of(t, b, now_ms), "state",
		admin_state_word(b->state), "healthy", (int)b->healthy, "weight",
		(json_int_t)b->weight, "weight_percent",
		(json_int_t)live_weight_percent(l, b->slot), "connections",
		(json_int_t)live_connections(l, b->slot), "soft_limit", (json_int_t)b->soft_limit,
		"hard_limit", (json_int_t)b->hard_limit, "faults",
		faults_json(live_faults(l, b->slot)), "panic", (int)table_in_panic(t, b->app),
		"ramp", number_or_null(live_ramp(l, b->slot)), "rtt_us",
		number_or_null(live_rtt_us(l, b->slot)), "connects", (json_int_t)seen.connects,
		"successes", (json_int_t)seen.successes, "failures", (json_int_t)seen.failures,
		"failures_in_a_row", (json_int_t)seen.failures_in_a_row, "grace_secs",
		number_or_null((live_grace_ms(l, b->slot, now_ms) + 999) / 1000));
}

/* A word that some backend could have: of status_of(), or of its row. */
static bool is_state(const char *word)
{
	enum admin_state state;

	for (int e = EXCLUDED_UNHEALTHY; e < EXCLUDED_TRIED; e++)
		if (e != EXCLUDED_APP && strcmp(word, exclusion_word((enum exclusion)e)) == 0)
			return true;
	return strcmp(word, "up") == 0 || admin_state_parse(word, &state) == 0;
}

struct wanted {
	char app[APP_NAME_MAX + 1];
	char region[REGION_NAME_MAX + 1];
	char state[16];
};

static bool is_wanted(const struct table *t, const struct backend *b, const struct wanted *w,
                      const struct request *q, uint64_t now_ms)
{
	if (b->deleted || !token_covers(q->token, b->app))
		return false;
	if (w->app[0] != '\0' && strcmp(w->app, b->app) != 0)
		return false;
	if (w->region[0] != '\0' && strcmp(w->region, region_name(b->region)) != 0)
		return false;
	return w->state[0] == '\0' || strcmp(w->state, status_of(t, b, now_ms)) == 0 ||
	       strcmp(w->state, admin_state_word(b->state)) == 0;
}

/* A page is so many rows of the table behind `offset`; `next` is where the following one begins.
 * A change of the table in between may move rows across the edge: `table` tells. */
void route_live_backends(struct core *c, const struct request *q, struct reply *r)
{
	const struct table *t = c->table;
	uint64_t now_ms = clock_now_ms();
	unsigned long limit = QUERY_PAGE_DEFAULT;
	unsigned long at = 0;
	char limit_text[8], offset_text[8];
	struct wanted w;
	const struct query_field fields[] = {
		{"app", w.app, sizeof(w.app)},
		{"region", w.region, sizeof(w.region)},
		{"state", w.state, sizeof(w.state)},
		{"limit", limit_text, sizeof(limit_text)},
		{"offset", offset_text, sizeof(offset_text)},
	};
	json_t *list;

	if (!query_read(q, fields, sizeof(fields) / sizeof(fields[0]), r) ||
	    !query_number("limit", limit_text, 1, QUERY_PAGE_MAX, &limit, r) ||
	    !query_number("offset", offset_text, 0, BACKENDS_MAX, &at, r))
		return;
	if (w.state[0] != '\0' && !is_state(w.state)) {
		reply_problem(r, 400, "state",
		              "state must be up, ready, drain, maint, unhealthy, weight-0, "
		              "check-down, ejected, agent-down, agent-drain, agent-maint or "
		              "hard-limit");
		return;
	}
	list = json_array();
	for (; at < t->backend_count && json_array_size(list) < limit; at++)
		if (is_wanted(t, &t->backends[at], &w, q, now_ms))
			(void)json_array_append_new(list,
			                            backend_json(t, &t->backends[at], now_ms));
	reply_json(r, 200,
	           json_pack("{s:o, s:I, s:o}", "backends", list, "table", (json_int_t)t->version,
	                     "next",
	                     at < t->backend_count ? json_integer((json_int_t)at) : json_null()));
}

static int compare_id(const void *id, const void *backend)
{
	return strcmp(id, ((const struct backend *)backend)->id);
}

void route_live_backend(struct core *c, const struct request *q, struct reply *r)
{
	const struct table *t = c->table;
	const struct backend *b = bsearch(q->match.id, t->backends, t->backend_count,
	                                  sizeof(t->backends[0]), compare_id);

	if (!query_read(q, NULL, 0, r))
		return;
	if (b == NULL || b->deleted)
		reply_problem(r, 404, "id", "no such backend");
	else if (!token_covers(q->token, b->app))
		reply_problem(r, 403, NULL, "the token does not cover this app");
	else
		reply_json(r, 200, backend_json(t, b, clock_now_ms()));
}
