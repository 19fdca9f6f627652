/* Collecting. Each family is written by one function here, in the order of metrics.def, from
 * counters that their threads go on writing meanwhile: every number is right for some moment of the
 * scrape, and two of them may be a moment apart.
 *
 * Series are bounded: by the reasons, scores, sources and faults that there are, by services (at
 * most SERVICES_MAX), by regions (COUNTERS_REGIONS), and by EDGEPROXY_METRICS_BACKENDS_MAX, beyond
 * which backends are summed up by app and region (backend_groups.h). Nothing of a client is here.
 */
#include "api/metrics.h"

#include "api/backend_groups.h"
#include "api/core.h"
#include "api/routes.h"
#include "base/log.h"
#include "observe/process.h"

#include <stdlib.h>
#include <string.h>

/* As label app: a service for every app. */
#define EVERY_APP "*"
/* As label region: those from number COUNTERS_REGIONS on. */
#define OTHER_REGIONS "(other)"

struct metrics {
	struct backend_groups *groups; /* NULL: there were never too many backends */
	region_id region_end;          /* one more than the greatest that a table here had */
	uint64_t start_us;
};

/* What one scrape works with. */
struct scrape {
	struct core *c;
	struct exposition *e;
	struct counters_sum counters;
};

struct metrics *metrics_new(void)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (m != NULL)
		m->start_us = process_start_us();
	return m;
}

void metrics_free(struct metrics *m)
{
	if (m == NULL)
		return;
	backend_groups_free(m->groups);
	free(m);
}

/* ---- single samples ---- */

static void one(struct scrape *s, enum metric metric, uint64_t value)
{
	exposition_metric(s->e, metric);
	exposition_uint(s->e, NULL, value);
}

static void one_us(struct scrape *s, enum metric metric, uint64_t us)
{
	exposition_metric(s->e, metric);
	exposition_us(s->e, NULL, us);
}

/* A sample with one label. */
static void labelled(struct scrape *s, const char *value_of_label, uint64_t value)
{
	exposition_uint(s->e, &value_of_label, value);
}

/* ---- clients ---- */

static void write_ends(struct scrape *s)
{
	exposition_metric(s->e, METRIC_SESSIONS_ENDED);
	for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
		labelled(s, close_reason_word((enum close_reason)i), s->counters.ended[i]);
}

static void write_decisions(struct scrape *s)
{
	static const char *const words[REGION_SCORES] = {"0", "1", "2"};

	exposition_metric(s->e, METRIC_DECISIONS);
	for (unsigned i = 0; i < REGION_SCORES; i++)
		labelled(s, words[i], s->counters.decisions[i]);
}

static void write_clients(struct scrape *s)
{
	one(s, METRIC_CONNECTIONS, s->counters.accepted);
	one(s, METRIC_CONNECTIONS_ACTIVE, live_own_total(s->c->live));
	one(s, METRIC_CONNECTIONS_LIMIT, s->c->max_conn);
	one(s, METRIC_BYTES_RECEIVED, s->counters.bytes[CLIENT]);
	one(s, METRIC_BYTES_SENT, s->counters.bytes[BACKEND]);
	write_ends(s);
	write_decisions(s);
}

static void write_geo(struct scrape *s)
{
	const struct geo_watch_counters *watch = s->c->geo_watch;

	exposition_metric(s->e, METRIC_GEO_LOOKUPS);
	for (unsigned i = 0; i < PLACE_SOURCES; i++)
		labelled(s, place_source_word((enum place_source)i), s->counters.places[i]);
	exposition_metric(s->e, METRIC_GEO_BUILD);
	if (s->c->geo != NULL)
		exposition_uint(s->e, NULL, geo_db_build_epoch(s->c->geo));
	exposition_metric(s->e, METRIC_GEO_RELOADS);
	labelled(s, "loaded", counter_read(&watch->loaded));
	labelled(s, "failed", counter_read(&watch->failed));
}

static void write_affinity(struct scrape *s)
{
	struct affinity_counts counts = affinity_counts(s->c->affinity);

	one(s, METRIC_AFFINITY_HITS, s->counters.affinity_hits);
	one(s, METRIC_AFFINITY_MISSES, s->counters.affinity_misses);
	one(s, METRIC_AFFINITY_EVICTIONS, counts.evictions);
	one(s, METRIC_AFFINITY_EXPIRATIONS, counts.expirations);
	one(s, METRIC_AFFINITY_ENTRIES, counts.entries);
}

static void write_dials(struct scrape *s)
{
	one(s, METRIC_RESERVATIONS_REFUSED, s->counters.refused_reservations);
	one(s, METRIC_CONNECT_FAILURES, s->counters.connect_failures);
	one(s, METRIC_RETRIES, s->counters.retries);
	one(s, METRIC_QUEUED, s->counters.queued);
	one(s, METRIC_QUEUE_WAITING, queue_length(s->c->queue));
	exposition_metric(s->e, METRIC_QUEUE_SECONDS);
	exposition_histogram(s->e, NULL, &s->counters.queue);
}

/* ---- backends ---- */

/* Names of regions may be read only where a table has brought them to this thread; numbers are
 * given out one after the other. */
static void learn_regions(struct metrics *m, const struct table *t)
{
	for (uint32_t i = 0; i < t->backend_count; i++)
		if (t->backends[i].region >= m->region_end)
			m->region_end = (region_id)(t->backends[i].region + 1);
}

static void write_rtt(struct scrape *s)
{
	exposition_metric(s->e, METRIC_BACKEND_RTT);
	for (region_id i = 0; i < COUNTERS_REGIONS; i++) {
		const struct histogram_sum *rtt = &s->counters.rtt[i];
		const char *region = OTHER_REGIONS;

		if (rtt->count == 0 || (i != REGION_NONE && i >= s->c->metrics->region_end))
			continue;
		if (i != REGION_NONE)
			region = region_name(i);
		exposition_histogram(s->e, &region, rtt);
	}
}

/* What a series of a backend, or of a group of them, shows. */
static uint64_t of_backend(const struct live *live, const struct backend *b, enum metric metric)
{
	switch (metric) {
	case METRIC_BACKEND_CONNECTIONS:
		return live_outcomes(live, b->slot).connects;
	case METRIC_BACKEND_CONNECTIONS_ACTIVE:
		return live_connections(live, b->slot);
	case METRIC_BACKEND_CONNECTIONS_LIMIT:
		return b->hard_limit;
	case METRIC_BACKEND_ERRORS:
		return live_outcomes(live, b->slot).failures;
	default:
		CHECK(metric == METRIC_BACKEND_USABLE);
		return backend_takes_clients(live, b);
	}
}

static uint64_t of_group(const struct backend_group *g, enum metric metric)
{
	switch (metric) {
	case METRIC_BACKEND_CONNECTIONS:
		return g->connects;
	case METRIC_BACKEND_CONNECTIONS_ACTIVE:
		return g->active;
	case METRIC_BACKEND_CONNECTIONS_LIMIT:
		return g->limit;
	case METRIC_BACKEND_ERRORS:
		return g->errors;
	default:
		CHECK(metric == METRIC_BACKEND_USABLE);
		return g->usable;
	}
}

static const enum metric backend_metrics[] = {
	METRIC_BACKEND_CONNECTIONS,
	METRIC_BACKEND_CONNECTIONS_ACTIVE,
	METRIC_BACKEND_CONNECTIONS_LIMIT,
	METRIC_BACKEND_ERRORS,
	METRIC_BACKEND_USABLE,
};
#define BACKEND_METRICS (sizeof(backend_metrics) / sizeof(backend_metrics[0]))

static void write_each_backend(struct scrape *s)
{
	const struct live *live = s->c->live;
	const struct table *t = s->c->table;

	for (size_t k = 0; k <= BACKEND_METRICS; k++) {
		bool faults = k == BACKEND_METRICS;

		exposition_metric(s->e, faults ? METRIC_BACKEND_FAULTS : backend_metrics[k]);
		for (uint32_t i = 0; i < t->backend_count; i++) {
			const struct backend *b = &t->backends[i];
			const char *values[] = {b->id, b->app, region_name(b->region), NULL};
			unsigned set = faults ? live_faults(live, b->slot) : 0;

			if (!backend_is_shown(live, b))
				continue;
			if (!faults)
				exposition_uint(s->e, values,
				                of_backend(live, b, backend_metrics[k]));
			for (unsigned bit = 0; set != 0 && bit < LIVE_FAULTS; bit++) {
				values[3] = live_fault_word(bit);
				if ((set >> bit & 1) != 0)
					exposition_uint(s->e, values, 1);
			}
		}
	}
}

static void write_group_faults(struct scrape *s, const struct backend_group *g, const char **values)
{
	for (unsigned bit = 0; bit < LIVE_FAULTS; bit++) {
		values[3] = live_fault_word(bit);
		if (g->faults[bit] != 0)
			exposition_uint(s->e, values, g->faults[bit]);
	}
}

static void write_groups(struct scrape *s)
{
	const struct backend_groups *groups = s->c->metrics->groups;

	for (size_t k = 0; k <= BACKEND_METRICS; k++) {
		bool faults = k == BACKEND_METRICS;

		exposition_metric(s->e, faults ? METRIC_BACKEND_FAULTS : backend_metrics[k]);
		for (size_t i = 0; i < backend_groups_count(groups); i++) {
			const struct backend_group *g = backend_groups_get(groups, i);
			const char *region = g->app != NULL ? region_name(g->region)
			                                    : OTHER_REGIONS;
			const char *values[] = {NULL, g->app, region, NULL};

			if (i == 0 && g->members == 0 && g->connects == 0 && g->errors == 0)
				continue;
			if (faults)
				write_group_faults(s, g, values);
			else
				exposition_uint(s->e, values, of_group(g, backend_metrics[k]));
		}
	}
}

static bool has_too_many(const struct core *c)
{
	return c->table->backend_count > c->config->metrics_backends_max;
}

static void sum_up(struct core *c)
{
	struct metrics *m = c->metrics;

	if (m->groups == NULL)
		m->groups = backend_groups_new(c->live);
	if (m->groups != NULL)
		backend_groups_update(m->groups, c->table);
}

void metrics_table_goes(struct core *c)
{
	learn_regions(c->metrics, c->table);
	if (has_too_many(c))
		sum_up(c);
}

static void write_backends(struct scrape *s)
{
	write_rtt(s);
	if (!has_too_many(s->c)) {
		write_each_backend(s);
		return;
	}
	sum_up(s->c);
	if (s->c->metrics->groups != NULL)
		write_groups(s);
	else
		s->e->failed = true;
}

/* ---- what is seen of backends ---- */

static bool served_before(const struct table *t, uint32_t service)
{
	for (uint32_t i = 0; i < service; i++)
		if (strcmp(t->services[i]->app, t->services[service]->app) == 0)
			return true;
	return false;
}

static void write_panic(struct scrape *s)
{
	const struct table *t = s->c->table;

	exposition_metric(s->e, METRIC_PANIC);
	for (uint32_t i = 0; i < t->service_count; i++) {
		const char *app = t->services[i]->app;

		if (!served_before(t, i))
			labelled(s, app[0] != '\0' ? app : EVERY_APP,
			         table_in_panic(t, app[0] != '\0' ? app : NULL));
	}
	one(s, METRIC_PANICS, counter_read(&s->c->faults->panics));
}

static void write_faults(struct scrape *s)
{
	const struct fault_watch_counters *faults = s->c->faults;

	exposition_metric(s->e, METRIC_FAULT_TRANSITIONS);
	for (unsigned bit = 0; bit < LIVE_FAULTS; bit++) {
		const char *came[] = {live_fault_word(bit), "on"};
		const char *went[] = {live_fault_word(bit), "off"};

		exposition_uint(s->e, came, counter_read(&faults->came[bit]));
		exposition_uint(s->e, went, counter_read(&faults->went[bit]));
	}
	exposition_metric(s->e, METRIC_EJECTIONS);
	for (unsigned i = 0; i < OUTLIER_CAUSES; i++)
		labelled(s, outlier_cause_word((enum outlier_cause)i),
		         counter_read(&faults->ejected[i]));
	one(s, METRIC_EJECTIONS_ENDED, counter_read(&faults->returned));
	write_panic(s);
}

/* ---- routes, threads, the process ---- */

static void write_table(struct scrape *s)
{
	const struct reload_counters *reload = s->c->reload;
	const struct table *t = s->c->table;

	one(s, METRIC_TABLE_VERSION, t->version);
	one(s, METRIC_TABLE_BACKENDS, t->backend_count);
	one(s, METRIC_TABLE_USABLE, t->usable_count);
	one(s, METRIC_TABLE_SERVICES, t->service_count);
	exposition_metric(s->e, METRIC_RELOADS);
	labelled(s, "published", counter_read(&reload->published));
	labelled(s, "failed", counter_read(&reload->failed));
	labelled(s, "held", counter_read(&reload->held));
	one(s, METRIC_RELOAD_TIME, gauge_read(&reload->published_at));
	one(s, METRIC_RELOAD_FAILING, gauge_read(&reload->is_failing));
	one(s, METRIC_RELOAD_HELD, gauge_read(&reload->is_held));
	one(s, METRIC_QUARANTINED, gauge_read(&reload->quarantined));
}

static void write_threads(struct scrape *s)
{
	one(s, METRIC_API_REGISTRATIONS, registry_count(s->c->registrar.registry));
	one(s, METRIC_API_DATABASE_FAILING, s->c->registrar.database_failed);
	one(s, METRIC_WORKERS, crew_size(s->c->crew));
	exposition_metric(s->e, METRIC_WORKER_TURN);
	exposition_histogram(s->e, NULL, &s->counters.turn);
	exposition_metric(s->e, METRIC_LOG_DROPPED);
	labelled(s, "main", log_dropped());
	if (s->c->access_log != NULL)
		labelled(s, "access", access_sink_dropped(s->c->access_log));
	one(s, METRIC_FLIGHT_LOST, history_lost(s->c->recorder.history));
	one(s, METRIC_AGGREGATED, has_too_many(s->c));
	exposition_metric(s->e, METRIC_BUILD_INFO);
	labelled(s, EDGEPROXY_VERSION, 1);
}

static void write_process(struct scrape *s)
{
	struct process_figures p;

	process_read(&p);
	one_us(s, METRIC_CPU, p.cpu_us);
	one(s, METRIC_RESIDENT, p.resident_bytes);
	one(s, METRIC_VIRTUAL, p.virtual_bytes);
	one(s, METRIC_OPEN_FDS, p.open_fds);
	one(s, METRIC_MAX_FDS, p.max_fds);
	one_us(s, METRIC_START_TIME, s->c->metrics->start_us);
}

void metrics_write(struct core *c, struct exposition *e)
{
	struct scrape s = {.c = c, .e = e};

	learn_regions(c->metrics, c->table);
	crew_counters(c->crew, &s.counters);
	write_clients(&s);
	write_geo(&s);
	write_affinity(&s);
	write_dials(&s);
	write_backends(&s);
	write_faults(&s);
	write_table(&s);
	write_threads(&s);
	write_process(&s);
}

/* ---- the route ---- */

void route_metrics(struct core *c, const struct request *q, struct reply *r)
{
	struct exposition e = {0};

	/* Every app is in it. */
	if (q->token != NULL && !token_covers(q->token, NULL)) {
		reply_problem(r, 403, NULL, "metrics need a token for all apps");
		return;
	}
	metrics_write(c, &e);
	if (e.failed) {
		free(e.text);
		reply_json(r, 500, NULL);
		return;
	}
	r->status = 200;
	r->content_type = EXPOSITION_CONTENT_TYPE;
	r->text = e.text;
	r->len = e.len;
}
