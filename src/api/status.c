/* GET /api/v1/status: the process at a glance, for `edgeproxy status`. Every number is read where
 * it lies, without a lock; so two of them may be of different moments. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/json_text.h"

#include <unistd.h>

static json_t *backends_json(const struct table *t)
{
	json_int_t counts[LIVE_FAULTS] = {0};
	json_int_t rows = 0, shut = 0, ramps = 0, draining = 0, maint = 0;
	json_t *seen = json_object();

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		unsigned marks = live_faults(t->live, b->slot);

		if (b->deleted)
			continue;
		rows++;
		draining += b->state == STATE_DRAIN;
		maint += b->state == STATE_MAINT;
		shut += backend_usable(b) && live_is_shut(t->live, b->slot);
		ramps += live_ramp(t->live, b->slot) != LIVE_NO_RAMP;
		for (unsigned bit = 0; bit < LIVE_FAULTS; bit++)
			counts[bit] += marks >> bit & 1;
	}
	for (unsigned bit = 0; bit < LIVE_FAULTS; bit++)
		(void)json_object_set_new(seen, live_fault_word(bit), json_integer(counts[bit]));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "rows", rows, "usable",
	                 (json_int_t)t->usable_count - shut, "faulty", shut, "warming_up", ramps,
	                 "drain", draining, "maint", maint, "faults", seen);
}

/* The apps whose faults are ignored; null stands for the pool of every app. */
static json_t *panic_json(const struct table *t)
{
	json_t *apps = json_array();

	for (uint32_t i = 0; i < t->pool_count; i++)
		if (pool_in_panic(&t->pools[i]))
			(void)json_array_append_new(apps, json_text(t->pools[i].app));
	return apps;
}

static json_t *sessions_json(const struct core *c, const struct counters_sum *sum)
{
	uint32_t own = live_own_total(c->live);
	uint32_t all = live_total(c->live);

	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "now", (json_int_t)own, "draining_elsewhere",
	                 (json_int_t)(all > own ? all - own : 0), "accepted",
	                 (json_int_t)sum->accepted, "bytes_received",
	                 (json_int_t)sum->bytes[CLIENT], "bytes_sent",
	                 (json_int_t)sum->bytes[BACKEND]);
}

static json_t *geo_json(const struct core *c)
{
	if (c->geo == NULL)
		return json_null();
	return json_pack("{s:o, s:o, s:I}", "path", json_text(c->config->geoip_path), "type",
	                 json_text(geo_db_type(c->geo)), "build_epoch",
	                 (json_int_t)geo_db_build_epoch(c->geo));
}

static json_t *table_json(const struct core *c, uint64_t now_ms)
{
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:b, s:b}", "path",
	                 json_text(c->config->db_path), "version", (json_int_t)c->table->version,
	                 "age_secs", (json_int_t)((now_ms - c->table_ms) / 1000), "services",
	                 (json_int_t)c->table->service_count, "quarantined",
	                 (json_int_t)gauge_read(&c->reload->quarantined), "failing",
	                 gauge_read(&c->reload->is_failing) != 0, "held",
	                 gauge_read(&c->reload->is_held) != 0);
}

/* What becomes of the clients of a backend that is taken out: route/drain.h. */
static json_t *drain_rules_json(const struct core *c)
{
	const struct config *config = c->config;

	return json_pack("{s:I, s:I, s:b}", "grace_secs", (json_int_t)config->drain_grace_secs,
	                 "close_spread_secs", (json_int_t)config->close_spread_secs,
	                 "shutdown_sessions",
	                 config->on_marked_down == MARKED_DOWN_SHUTDOWN_SESSIONS);
}

void route_status(struct core *c, const struct request *q, struct reply *r)
{
	struct counters_sum sum = {0};
	uint64_t now_ms = clock_now_ms();

	(void)q;
	crew_counters(c->crew, &sum);
	reply_json(
		r, 200,
		json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:{s:I, s:I}, s:o, s:o, "
	                  "s:o, s:o}",
	                  "status",
	                  atomic_load_explicit(c->stopping, memory_order_relaxed) ? "stopping"
	                                                                          : "ok",
	                  "version", EDGEPROXY_VERSION, "pid", (json_int_t)getpid(), "uptime_secs",
	                  (json_int_t)((now_ms - c->started_ms) / 1000), "workers",
	                  (json_int_t)crew_size(c->crew), "region", json_text(c->config->region),
	                  "app", json_text(c->config->app), "sessions", sessions_json(c, &sum),
	                  "backends", backends_json(c->table), "queue", "waiting",
	                  (json_int_t)queue_length(c->queue), "waited", (json_int_t)sum.queued,
	                  "panic", panic_json(c->table), "table", table_json(c, now_ms), "geo",
	                  geo_json(c), "drain_rules", drain_rules_json(c)));
}
