/* Bindings over the API: which clients have which backend, counted by backend, and a way to forget
 * some. The table of affinity may have millions, so it is looked through a step at a time, with
 * other requests in between; a binding that comes or goes meanwhile may or may not be counted. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "base/log.h"
#include "http/query.h"

#include <stdlib.h>
#include <string.h>

/* Steps of AFFINITY_EXPORT_ENTRIES at a time: some milliseconds. */
#define STEPS_A_TURN 32

struct bindings_filter {
	bool by_client;
	struct prefix client;
	char backend[BACKEND_ID_MAX + 1];
	char app[APP_NAME_MAX + 1];
};

struct search {
	struct pending pending;
	struct core *core;
	struct table *table; /* a reference: slots have names by it */
	struct bindings_filter filter;
	bool clear;
	bool done;
	struct affinity_cursor cursor;
	uint64_t now_ms;
	uint64_t seen;
	uint64_t matched;
	size_t limit;
	size_t kept;
	struct affinity_entry *entries; /* limit */
	uint32_t *counts;               /* by index in the table; the last: of no backend there */
};

static const struct backend *backend_of(const struct table *t, const struct affinity_entry *e)
{
	const struct backend *b = table_backend_in_slot(t, e->binding.slot);

	return b != NULL && live_generation(t->live, e->binding.slot) == e->binding.generation
	               ? b
	               : NULL;
}

static const struct service *service_of(const struct table *t, uint32_t key)
{
	for (uint32_t i = 0; i < t->service_count; i++)
		if (t->services[i]->key == key)
			return t->services[i];
	return NULL;
}

static bool matches(const struct search *s, const struct affinity_entry *e, const struct backend *b)
{
	const struct bindings_filter *f = &s->filter;

	return (!f->by_client || prefix_contains(&f->client, &e->client)) &&
	       (f->backend[0] == '\0' || (b != NULL && strcmp(f->backend, b->id) == 0)) &&
	       (f->app[0] == '\0' || (b != NULL && strcmp(f->app, b->app) == 0));
}

static void take(struct search *s, const struct affinity_entry *e)
{
	const struct backend *b = backend_of(s->table, e);

	s->seen++;
	if (!matches(s, e, b))
		return;
	s->matched++;
	s->counts[b != NULL ? (uint32_t)(b - s->table->backends) : s->table->backend_count]++;
	if (s->kept < s->limit)
		s->entries[s->kept++] = *e;
	if (s->clear)
		affinity_forget(s->core->affinity, &e->client, e->service);
}

static bool search_step(struct pending *p)
{
	struct search *s = (struct search *)(void *)p;
	struct affinity_entry entries[AFFINITY_EXPORT_ENTRIES];
	size_t count;

	for (int i = 0; i < STEPS_A_TURN && !s->done; i++) {
		s->done = !affinity_export(s->core->affinity, &s->cursor, 0, s->now_ms, entries,
		                           &count);
		for (size_t k = 0; k < count; k++)
			take(s, &entries[k]);
	}
	return s->done;
}

static void search_drop(struct pending *p)
{
	struct search *s = (struct search *)(void *)p;

	table_unref(s->table);
	free(s->entries);
	free(s->counts);
	free(s);
}

static void begin(struct core *c, const struct request *q, const struct bindings_filter *f,
                  size_t limit, bool clear, struct reply *r)
{
	struct search *s;

	if (!query_may_wait(q, r))
		return;
	s = calloc(1, sizeof(*s));
	if (s != NULL) {
		s->pending = (struct pending){
			.busy = true, .ready = search_step, .drop = search_drop};
		s->core = c;
		s->table = table_ref(c->table);
		s->filter = *f;
		s->clear = clear;
		s->limit = limit;
		s->now_ms = clock_now_ms();
		s->entries = calloc(limit + 1, sizeof(s->entries[0]));
		s->counts = calloc((size_t)c->table->backend_count + 1, sizeof(s->counts[0]));
		if (s->entries != NULL && s->counts != NULL) {
			r->pending = &s->pending;
			return;
		}
		search_drop(&s->pending);
	}
	reply_problem(r, 503, NULL, "out of memory");
}

/* ---- answers ---- */

static json_t *entry_json(const struct search *s, const struct affinity_entry *e)
{
	const struct config *config = s->core->config;
	const struct backend *b = backend_of(s->table, e);
	const struct service *service = service_of(s->table, e->service);
	struct prefix p = {.ip = e->client,
	                   .bits = (uint8_t)(ip_is_v4(&e->client) ? 96 + config->binding_prefix_v4
	                                                          : config->binding_prefix_v6)};
	char client[PREFIX_TEXT_MAX];

	return json_pack("{s:s, s:o, s:o, s:I}", "client", prefix_format(&p, client), "service",
	                 json_text(service != NULL ? service->name : NULL), "backend",
	                 json_text(b != NULL ? b->id : NULL), "unused_secs",
	                 (json_int_t)(s->now_ms > e->used_ms ? (s->now_ms - e->used_ms) / 1000
	                                                     : 0));
}

struct tally {
	uint32_t index;
	uint32_t count;
};

static int most_first(const void *a, const void *b)
{
	const struct tally *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* The backends that have most of them, QUERY_PAGE_MAX at most; a null id: of none in the table. */
static json_t *tallies_json(const struct search *s)
{
	uint32_t backends = s->table->backend_count;
	struct tally *tallies = calloc((size_t)backends + 1, sizeof(*tallies));
	json_t *list = json_array();
	size_t count = 0;

	for (uint32_t i = 0; tallies != NULL && i <= backends; i++)
		if (s->counts[i] != 0)
			tallies[count++] = (struct tally){.index = i, .count = s->counts[i]};
	if (count > 0)
		qsort(tallies, count, sizeof(*tallies), most_first);
	for (size_t i = 0; i < count && i < QUERY_PAGE_MAX; i++) {
		const char *id = tallies[i].index < backends
		                         ? s->table->backends[tallies[i].index].id
		                         : NULL;

		(void)json_array_append_new(list,
		                            json_pack("{s:o, s:I}", "backend", json_text(id),
		                                      "bindings", (json_int_t)tallies[i].count));
	}
	free(tallies);
	return list;
}

static bool read_filter(const struct request *q, struct bindings_filter *f, unsigned long *limit,
                        bool *all, struct reply *r)
{
	char client[PREFIX_TEXT_MAX], number[8], every[8];
	const struct query_field fields[] = {
		{"client", client, sizeof(client)}, {"backend", f->backend, sizeof(f->backend)},
		{"app", f->app, sizeof(f->app)},    {"limit", number, sizeof(number)},
		{"all", every, sizeof(every)},
	};

	*f = (struct bindings_filter){0};
	*limit = QUERY_PAGE_DEFAULT;
	return query_read(q, fields, sizeof(fields) / sizeof(fields[0]), r) &&
	       query_number("limit", number, 0, QUERY_PAGE_MAX, limit, r) &&
	       query_prefix("client", client, &f->client, &f->by_client, r) &&
	       query_may_see(q, f->app, r) && query_true("all", every, all, r);
}

static const struct search *finished(const struct request *q, struct reply *r)
{
	const struct search *s = (const struct search *)(const void *)q->pending;

	if (s->done)
		return s;
	reply_problem(r, 503, NULL, "there are too many bindings to look through now");
	r->retry_after_secs = 1;
	return NULL;
}

void route_bindings(struct core *c, const struct request *q, struct reply *r)
{
	struct bindings_filter f;
	const struct search *s;
	unsigned long limit;
	json_t *list;
	bool all;

	if (q->pending == NULL) {
		if (read_filter(q, &f, &limit, &all, r))
			begin(c, q, &f, limit, false, r);
		return;
	}
	s = finished(q, r);
	if (s == NULL)
		return;
	list = json_array();
	for (size_t i = 0; i < s->kept; i++)
		(void)json_array_append_new(list, entry_json(s, &s->entries[i]));
	reply_json(r, 200,
	           json_pack("{s:o, s:I, s:I, s:o}", "bindings", list, "matched",
	                     (json_int_t)s->matched, "seen", (json_int_t)s->seen, "by_backend",
	                     tallies_json(s)));
}

void route_clear_bindings(struct core *c, const struct request *q, struct reply *r)
{
	struct bindings_filter f;
	const struct search *s;
	unsigned long limit;
	struct log_line l;
	bool all;

	if (q->pending == NULL) {
		if (!read_filter(q, &f, &limit, &all, r))
			return;
		if (!all && !f.by_client && f.backend[0] == '\0' && f.app[0] == '\0')
			reply_problem(r, 400, NULL, "which? client, backend, app, or all=true");
		else
			begin(c, q, &f, 0, true, r);
		return;
	}
	s = finished(q, r);
	if (s == NULL)
		return;
	log_begin(&l, LOG_INFO, "bindings_cleared");
	log_uint(&l, "count", s->matched);
	query_log_end(&l, q);
	reply_json(r, 200,
	           json_pack("{s:I, s:o}", "cleared", (json_int_t)s->matched, "by_backend",
	                     tallies_json(s)));
}
