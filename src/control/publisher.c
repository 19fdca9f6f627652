/* Makes tables and gives them to the workers. A table stands or falls as a whole: its listening
 * sockets are opened first, then it is built, and only then is the one before it let go.
 *
 * It trusts the rows, which passed control/columns.h; whether they ought to be routed by is
 * reload.c's to decide. It never frees a table that a worker may be reading. */
#include "control/publisher.h"

#include "control/congestion.h"

#include <string.h>
#include <time.h>

/* ---- the tables before ---- */

/* A large table takes milliseconds to free, which no worker has: the last reference to a table is
 * always the control thread's. Returns how many are still in use. */
static size_t free_retired(struct publisher *p)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->retired_count; i++) {
		if (table_is_sole(p->retired[i]))
			table_unref(p->retired[i]);
		else
			p->retired[kept++] = p->retired[i];
	}
	p->retired_count = kept;
	return kept;
}

/* Beyond PUBLISHER_RETIRED_MAX a worker may have to free one, late rather than never. */
static void retire(struct publisher *p, struct table *t)
{
	if (t == NULL)
		return;
	if (free_retired(p) == PUBLISHER_RETIRED_MAX)
		table_unref(t);
	else
		p->retired[p->retired_count++] = t;
}

/* ---- a new table ---- */

static void publish(struct publisher *p, struct table *t)
{
	retire(p, p->table);
	p->table = t;
	counter_add(p->options.published, 1);
	gauge_set(p->options.published_at, (uint64_t)time(NULL));
	p->options.publish(p->options.arg, t);
	(void)live_collect(p->options.live);
}

static int build(struct publisher *p, const struct route_rows *rows, const struct service_set *set)
{
	const struct table_options options = {
		.local_region = p->options.config->region,
		.services = set->all,
		.service_count = set->count,
		.panics = p->options.config->healthy_panic_threshold > 0,
	};
	struct table *t;
	int rc = table_new(rows, &options, p->options.live, &t);

	if (rc == 0)
		publish(p, t);
	return rc;
}

int publisher_adopt(struct publisher *p, struct route_rows *rows, uint64_t now_ms)
{
	struct service_set set;
	int rc = services_open(&p->services, rows, &set, now_ms);

	if (rc == 0)
		rc = build(p, rows, &set);
	service_set_done(&set);
	if (rc != 0)
		return rc;
	listeners_sweep(&p->services.listeners, p->table, now_ms);
	congestion_check(rows);
	route_rows_done(&p->rows);
	p->rows = *rows;
	route_rows_init(rows);
	return 0;
}

void publisher_log(const struct publisher *p, enum log_level level, const char *source)
{
	struct log_line l;

	log_begin(&l, level, "table_loaded");
	log_uint(&l, "version", p->table->version);
	log_uint(&l, "backends", p->table->backend_count);
	log_uint(&l, "usable", p->table->usable_count);
	log_uint(&l, "quarantined", p->quarantined);
	log_uint(&l, "services", p->table->service_count);
	log_str(&l, "source", source);
	log_end(&l);
}

/* Some service had no socket: when that has changed, the same rows make another table. */
static void retry_listeners(struct publisher *p, uint64_t now_ms)
{
	struct service_set set;

	if (services_open(&p->services, &p->rows, &set, now_ms) == 0 &&
	    set.count != p->table->service_count && build(p, &p->rows, &set) == 0)
		publisher_log(p, LOG_INFO, "listener");
	service_set_done(&set);
}

void publisher_tick(struct publisher *p, bool due, uint64_t now_ms)
{
	(void)free_retired(p);
	if (due && p->services.failing)
		retry_listeners(p, now_ms);
	if (due)
		(void)live_collect(p->options.live);
	listeners_sweep(&p->services.listeners, p->table, now_ms);
}

/* ---- life ---- */

void publisher_init(struct publisher *p, const struct publisher_options *options)
{
	memset(p, 0, sizeof(*p));
	p->options = *options;
	route_rows_init(&p->rows);
	services_init(&p->services, options->config);
}

void publisher_done(struct publisher *p)
{
	services_done(&p->services);
	table_unref(p->table);
	for (size_t i = 0; i < p->retired_count; i++)
		table_unref(p->retired[i]);
	route_rows_done(&p->rows);
}
