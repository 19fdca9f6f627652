/* Decides what becomes of what the database says. The order of every change is: read all rows, see
 * whether anything differs, ask the shrink guard, open listeners, build a new table, publish it.
 * Nothing is ever applied in part, and nothing is locked while it is applied.
 *
 * It trusts that rows are valid (control/columns.h) and nothing else about them: a valid database
 * may still be the wrong one, half restored, or emptied by a mistake. So the table in use stays
 * until a read succeeds, and a read that loses more than half of the usable backends is held: it
 * has to be proposed without a break for EDGEPROXY_SHRINK_HOLD_SECS. A failed read, or a good one
 * that is no longer short, ends the hold; one that loses still more starts it anew.
 *
 * Here, and not below, is logged what goes wrong: once, and again each minute while it lasts. */
#include "control/reload.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/congestion.h"
#include "control/last_good.h"
#include "control/quarantine_log.h"
#include "control/services.h"
#include "control/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Who says that a table may lose most of its backends. */
enum accept { ACCEPT_NOBODY, ACCEPT_HOLD, ACCEPT_OPERATOR };

struct reload {
	struct reload_options options;
	struct store *store;
	struct services services;
	struct quarantine_log quarantine_log;

	struct table *table;                       /* published last */
	struct table *retired[RELOAD_RETIRED_MAX]; /* published before, until no worker has them */
	size_t retired_count;
	struct route_rows rows; /* of that table */
	size_t quarantined;     /* beside them */
	bool rows_saved;
	bool leave_files;
	bool retired_self; /* see reload_retire() */
	uint64_t save_at_ms;

	bool pending;         /* a change is known and not read yet */
	uint64_t read_at_ms;  /* not before */
	uint64_t check_at_ms; /* the next full check */
	bool operator_waits;  /* asked for a reload that could not be done yet */

	bool held;
	uint64_t held_since_ms;
	size_t held_usable;

	bool failing;
	uint64_t failed_at_ms; /* logged */
	bool changed_since;    /* the database, since then */
	char failure[STORE_ERROR_MAX];
	bool busy;
	uint64_t busy_since_ms;

	char save_failure[STORE_ERROR_MAX];

	struct reload_counters counters;
};

/* ---- failures ---- */

static void log_failure(struct reload *r, uint64_t now_ms)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, "reload_failed");
	log_str(&l, "error", r->failure);
	if (r->table != NULL) {
		log_uint(&l, "kept_version", r->table->version);
		log_uint(&l, "kept_usable", r->table->usable_count);
	}
	log_end(&l);
	r->failed_at_ms = now_ms;
	r->changed_since = false;
}

/* Keeps the table, and says so at once when this is another failure than before. */
static void note_failure(struct reload *r, const char *error, uint64_t now_ms)
{
	bool same = r->failing && strcmp(r->failure, error) == 0;

	r->held = false;
	r->failing = true;
	if (same)
		return;
	counter_add(&r->counters.failed, 1);
	snprintf(r->failure, sizeof(r->failure), "%s", error);
	log_failure(r, now_ms);
}

/* Says so again: after a moment when the database has changed and fails as before, and now and then
 * while nothing changes. */
static void repeat_failure(struct reload *r, uint64_t now_ms)
{
	uint64_t quiet_ms = r->changed_since ? RELOAD_REPEAT_CHANGED_MS : RELOAD_REPEAT_MS;

	if (r->failing && now_ms - r->failed_at_ms >= quiet_ms)
		log_failure(r, now_ms);
}

/* A writer's lock is no failure unless it lasts. */
static void note_busy(struct reload *r, const char *error, uint64_t now_ms)
{
	if (!r->busy) {
		r->busy = true;
		r->busy_since_ms = now_ms;
	}
	if (now_ms - r->busy_since_ms >= RELOAD_BUSY_QUIET_MS)
		note_failure(r, error, now_ms);
}

static void note_success(struct reload *r)
{
	struct log_line l;

	if (!r->failing)
		return;
	r->failing = false;
	log_begin(&l, LOG_INFO, "reload_recovered");
	log_uint(&l, "version", r->table->version);
	log_end(&l);
}

/* ---- the last good file ---- */

static void save_rows(struct reload *r, uint64_t now_ms)
{
	const char *dir = r->options.config->state_dir;
	char error[STORE_ERROR_MAX];
	struct log_line l;

	if (r->leave_files) {
		r->rows_saved = false;
		return;
	}
	r->rows_saved = true;
	if (dir[0] == '\0')
		return;
	r->save_at_ms = now_ms + RELOAD_SAVE_EVERY_MS;
	if (last_good_save(dir, &r->rows, error) == 0) {
		r->save_failure[0] = '\0';
		return;
	}
	r->rows_saved = false;
	r->save_at_ms = now_ms + RELOAD_REPEAT_MS;
	if (strcmp(r->save_failure, error) == 0)
		return;
	snprintf(r->save_failure, sizeof(r->save_failure), "%s", error);
	log_begin(&l, LOG_ERROR, "last_good_failed");
	log_str(&l, "error", error);
	log_str(&l, "advice", "a restart without the database would have no table");
	log_end(&l);
}

/* ---- a new table ---- */

/* A large table takes milliseconds to free, which no worker has: the last reference to a table is
 * always the control thread's. Returns how many are still in use. */
static size_t free_retired(struct reload *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->retired_count; i++) {
		if (table_is_sole(r->retired[i]))
			table_unref(r->retired[i]);
		else
			r->retired[kept++] = r->retired[i];
	}
	r->retired_count = kept;
	return kept;
}

/* Beyond RELOAD_RETIRED_MAX a worker may have to free one, late rather than never. */
static void retire(struct reload *r, struct table *t)
{
	if (t == NULL)
		return;
	if (free_retired(r) == RELOAD_RETIRED_MAX)
		table_unref(t);
	else
		r->retired[r->retired_count++] = t;
}

static void publish(struct reload *r, struct table *t)
{
	retire(r, r->table);
	r->table = t;
	counter_add(&r->counters.published, 1);
	gauge_set(&r->counters.published_at, (uint64_t)time(NULL));
	r->options.publish(r->options.arg, t);
	(void)live_collect(r->options.live);
}

static int build(struct reload *r, const struct route_rows *rows, const struct service_set *set)
{
	const struct table_options options = {
		.local_region = r->options.config->region,
		.services = set->all,
		.service_count = set->count,
		.panics = r->options.config->healthy_panic_threshold > 0,
	};
	struct table *t;
	int rc = table_new(rows, &options, r->options.live, &t);

	if (rc == 0)
		publish(r, t);
	return rc;
}

static void log_loaded(const struct reload *r, enum log_level level, const char *source,
                       size_t quarantined)
{
	struct log_line l;

	log_begin(&l, level, "table_loaded");
	log_uint(&l, "version", r->table->version);
	log_uint(&l, "backends", r->table->backend_count);
	log_uint(&l, "usable", r->table->usable_count);
	log_uint(&l, "quarantined", quarantined);
	log_uint(&l, "services", r->table->service_count);
	log_str(&l, "source", source);
	log_end(&l);
}

/* Backends that became known after another process has taken over are that one's business: only it
 * gives out slots of live. */
static void keep_known(const struct reload *r, struct route_rows *rows)
{
	size_t kept = 0;

	for (size_t i = 0; i < rows->backend_count; i++) {
		if (live_find(r->options.live, rows->backends[i].id) != LIVE_NO_SLOT)
			rows->backends[kept++] = rows->backends[i];
	}
	rows->backend_count = kept;
}

/* Takes the rows over when they make a table. */
static int adopt(struct reload *r, struct route_rows *rows, uint64_t now_ms)
{
	struct service_set set;
	int rc = services_open(&r->services, rows, &set, now_ms);

	if (rc == 0)
		rc = build(r, rows, &set);
	service_set_done(&set);
	if (rc != 0)
		return rc;
	listeners_sweep(&r->services.listeners, r->table, now_ms);
	congestion_check(rows);
	route_rows_done(&r->rows);
	r->rows = *rows;
	route_rows_init(rows);
	return 0;
}

/* Some service had no socket: when that has changed, the same rows make another table. */
static void retry_listeners(struct reload *r, uint64_t now_ms)
{
	struct service_set set;

	if (services_open(&r->services, &r->rows, &set, now_ms) == 0 &&
	    set.count != r->table->service_count && build(r, &r->rows, &set) == 0)
		log_loaded(r, LOG_INFO, "listener", 0);
	service_set_done(&set);
}

/* ---- the shrink guard ---- */

static void hold(struct reload *r, size_t usable, uint64_t now_ms)
{
	struct log_line l;

	if (r->held && usable >= r->held_usable)
		return;
	if (!r->held)
		counter_add(&r->counters.held, 1);
	r->held = true;
	r->held_since_ms = now_ms;
	r->held_usable = usable;
	log_begin(&l, LOG_ERROR, "reload_held");
	log_uint(&l, "usable_now", r->table->usable_count);
	log_uint(&l, "usable_new", usable);
	log_uint(&l, "kept_version", r->table->version);
	log_uint(&l, "accepted_in_secs", r->options.config->shrink_hold_secs);
	log_str(&l, "advice",
	        "more than half of the usable backends would go; SIGHUP accepts it now");
	log_end(&l);
}

static void log_accepted(enum accept by, size_t usable_now, size_t usable_new)
{
	struct log_line l;

	log_begin(&l, LOG_WARN, "reload_accepted");
	log_str(&l, "by", by == ACCEPT_OPERATOR ? "sighup" : "hold");
	log_uint(&l, "usable_now", usable_now);
	log_uint(&l, "usable_new", usable_new);
	log_end(&l);
}

/* ---- reading ---- */

/* What to do with rows that were read well. 0, or -errno: they make no table. */
static int consider(struct reload *r, struct route_rows *rows, size_t quarantined,
                    enum accept accept, uint64_t now_ms)
{
	size_t usable_now = r->table->usable_count;
	size_t usable_new;
	bool shrinks;
	int rc;

	if (r->retired_self)
		keep_known(r, rows);
	usable_new = route_rows_usable(rows);
	shrinks = usable_new * 2 < usable_now;
	if (accept == ACCEPT_HOLD && usable_new < r->held_usable)
		accept = ACCEPT_NOBODY;
	if (route_rows_equal(rows, &r->rows)) {
		r->held = false;
		/* Nothing to build, but what was wrong with the rows beside it has changed. */
		if (quarantined != r->quarantined)
			log_loaded(r, LOG_INFO, "database", quarantined);
		r->quarantined = quarantined;
		return 0;
	}
	if (shrinks && accept == ACCEPT_NOBODY && r->options.config->shrink_hold_secs > 0) {
		hold(r, usable_new, now_ms);
		return 0;
	}
	rc = adopt(r, rows, now_ms);
	if (rc != 0)
		return rc;
	r->held = false;
	r->rows_saved = false;
	r->quarantined = quarantined;
	if (shrinks && accept != ACCEPT_NOBODY)
		log_accepted(accept, usable_now, usable_new);
	log_loaded(r, LOG_INFO, "database", quarantined);
	return 0;
}

static int read_store(struct reload *r, bool fresh, struct route_rows *ret_rows,
                      size_t *ret_quarantined, char error[STORE_ERROR_MAX])
{
	const struct store_read_options options = {
		.fresh = fresh,
		.app = r->options.config->app,
		.bad_row = quarantine_log_row,
		.arg = &r->quarantine_log,
	};
	int rc;

	quarantine_log_begin(&r->quarantine_log);
	rc = store_read(r->store, &options, ret_rows, ret_quarantined, error);
	quarantine_log_end(&r->quarantine_log);
	return rc;
}

static void load(struct reload *r, bool fresh, enum accept accept, uint64_t now_ms)
{
	uint64_t started_ms = clock_now_ms();
	struct route_rows rows;
	size_t quarantined;
	char error[STORE_ERROR_MAX];
	int rc = read_store(r, fresh, &rows, &quarantined, error);

	/* Reading a large table takes a while: leave time for everything else. */
	r->read_at_ms = now_ms + RELOAD_READ_SHARE * (clock_now_ms() - started_ms);
	r->pending = rc == -EBUSY;
	if (rc == -EBUSY) {
		note_busy(r, error, now_ms);
		return;
	}
	r->busy = false;
	r->operator_waits = false;
	if (rc != 0) {
		note_failure(r, error, now_ms);
		return;
	}
	rc = consider(r, &rows, quarantined, accept, now_ms);
	route_rows_done(&rows);
	if (rc == 0) {
		note_success(r);
		return;
	}
	(void)db_error(error, rc, "cannot make a table: %s", strerror(-rc));
	note_failure(r, error, now_ms);
}

/* ---- the clock ---- */

static void tell_state(struct reload *r)
{
	gauge_set(&r->counters.is_failing, r->failing);
	gauge_set(&r->counters.is_held, r->held);
	gauge_set(&r->counters.quarantined, r->quarantined);
}

static enum accept who_accepts(const struct reload *r, uint64_t now_ms)
{
	if (r->operator_waits)
		return ACCEPT_OPERATOR;
	if (r->held && now_ms - r->held_since_ms >= r->options.config->shrink_hold_secs * 1000)
		return ACCEPT_HOLD;
	return ACCEPT_NOBODY;
}

void reload_tick(struct reload *r, uint64_t now_ms)
{
	enum accept accept = who_accepts(r, now_ms);
	bool due = now_ms >= r->check_at_ms;
	bool changed = false;
	char error[STORE_ERROR_MAX];
	int rc;

	(void)free_retired(r);
	if (due)
		r->check_at_ms = now_ms + r->options.config->db_reload_secs * 1000;
	rc = store_poll(r->store, &changed, error);
	if (rc == -EBUSY)
		note_busy(r, error, now_ms);
	else if (rc != 0)
		note_failure(r, error, now_ms);
	r->changed_since |= changed;
	/* A lock must not put off the full check. */
	r->pending |= changed || (due && rc == -EBUSY);
	if (rc == 0 && !r->pending)
		r->busy = false;
	if (rc == 0 && (due || accept != ACCEPT_NOBODY || (r->pending && now_ms >= r->read_at_ms)))
		load(r, due || accept != ACCEPT_NOBODY, accept, now_ms);
	repeat_failure(r, now_ms);
	if (due && r->services.failing)
		retry_listeners(r, now_ms);
	if (due)
		(void)live_collect(r->options.live);
	listeners_sweep(&r->services.listeners, r->table, now_ms);
	if (!r->rows_saved && now_ms >= r->save_at_ms)
		save_rows(r, now_ms);
	tell_state(r);
}

void reload_now(struct reload *r, uint64_t now_ms)
{
	uint64_t version = r->table->version;
	struct log_line l;

	r->operator_waits = true;
	r->failure[0] = '\0'; /* whatever is wrong is news to whoever asks */
	store_set_patience(r->store, RELOAD_PATIENCE_MS);
	load(r, true, ACCEPT_OPERATOR, now_ms);
	store_set_patience(r->store, STORE_BUSY_TIMEOUT_MS);
	if (r->failing || r->operator_waits || r->table->version != version)
		return;
	log_begin(&l, LOG_INFO, "table_unchanged");
	log_uint(&l, "version", version);
	log_end(&l);
}

/* ---- the start and the end ---- */

/* Rows for the case that the database gives none: those of the last time, or none. */
static const char *fall_back(struct reload *r, struct route_rows *ret_rows)
{
	const struct config *c = r->options.config;
	char error[STORE_ERROR_MAX];
	struct log_line l;
	int rc = -ENOENT;

	if (c->state_dir[0] != '\0')
		rc = last_good_load(c->state_dir, c->app, ret_rows, error);
	if (rc == 0)
		return "last-good";
	if (rc != -ENOENT) {
		log_begin(&l, LOG_ERROR, "last_good_failed");
		log_str(&l, "error", error);
		log_end(&l);
	}
	route_rows_init(ret_rows);
	return "none";
}

static int start_from_database(struct reload *r, uint64_t now_ms, char error[STORE_ERROR_MAX])
{
	struct route_rows rows;
	int rc;

	store_set_patience(r->store, RELOAD_PATIENCE_MS);
	rc = read_store(r, true, &rows, &r->quarantined, error);
	store_set_patience(r->store, STORE_BUSY_TIMEOUT_MS);
	r->pending = rc == -EBUSY;
	if (rc != 0)
		return rc;
	rc = adopt(r, &rows, now_ms);
	route_rows_done(&rows);
	if (rc != 0)
		return db_error(error, rc, "cannot make a table: %s", strerror(-rc));
	log_loaded(r, LOG_INFO, "database", r->quarantined);
	save_rows(r, now_ms);
	return 0;
}

static int start(struct reload *r, uint64_t now_ms, char error[STORE_ERROR_MAX])
{
	struct route_rows rows;
	const char *source;
	int rc;

	CHECK(r->table == NULL);
	r->check_at_ms = now_ms + r->options.config->db_reload_secs * 1000;
	rc = services_open_own(&r->services, error);
	if (rc != 0)
		return rc;
	rc = start_from_database(r, now_ms, error);
	if (rc == 0)
		return 0;
	note_failure(r, error, now_ms);
	source = fall_back(r, &rows);
	rc = adopt(r, &rows, now_ms);
	route_rows_done(&rows);
	if (rc != 0)
		return db_error(error, rc, "cannot make a table: %s", strerror(-rc));
	log_loaded(r, strcmp(source, "none") == 0 ? LOG_ERROR : LOG_WARN, source, 0);
	return 0;
}

int reload_start(struct reload *r, uint64_t now_ms, char error[STORE_ERROR_MAX])
{
	int rc = start(r, now_ms, error);

	tell_state(r);
	return rc;
}

struct listeners *reload_listeners(struct reload *r)
{
	return &r->services.listeners;
}

void reload_leave_files(struct reload *r, bool leave)
{
	r->leave_files = leave;
}

void reload_retire(struct reload *r)
{
	reload_leave_files(r, true);
	listeners_let_go(&r->services.listeners);
	r->retired_self = true;
}

const struct reload_counters *reload_counters(const struct reload *r)
{
	return &r->counters;
}

struct table *reload_table(const struct reload *r)
{
	return r->table;
}

int reload_new(const struct reload_options *options, struct reload **ret_reload)
{
	struct reload *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->options = *options;
	r->rows_saved = true;
	route_rows_init(&r->rows);
	services_init(&r->services, options->config);
	if (quarantine_log_init(&r->quarantine_log) != 0 ||
	    store_new(options->config->db_path, &r->store) != 0) {
		reload_free(r);
		return -ENOMEM;
	}
	*ret_reload = r;
	return 0;
}

void reload_free(struct reload *r)
{
	if (r == NULL)
		return;
	if (!r->rows_saved)
		save_rows(r, r->save_at_ms);
	store_free(r->store);
	services_done(&r->services);
	quarantine_log_done(&r->quarantine_log);
	table_unref(r->table);
	for (size_t i = 0; i < r->retired_count; i++)
		table_unref(r->retired[i]);
	route_rows_done(&r->rows);
	free(r);
}
