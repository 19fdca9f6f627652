/* Decides what becomes of what the database says. The order of every change is: read all rows, see
 * whether anything differs, ask the shrink guard, open listeners, build a new table, publish it.
 * Nothing is ever applied in part, and nothing is locked while it is applied.
 *
 * It trusts that rows are valid (control/columns.h) and nothing else about them. The table in use
 * stays until a read succeeds; what would take away most of it is held (shrink_guard.h), and what
 * goes wrong is said once, and again while it lasts (reload_failure.h). A failed read, or a good
 * one that is no longer short, ends a hold. */
#include "control/reload.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/last_good_keeper.h"
#include "control/publisher.h"
#include "control/quarantine_log.h"
#include "control/reload_failure.h"
#include "control/shrink_guard.h"
#include "control/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reload {
	struct reload_options options;
	struct store *store;
	struct quarantine_log quarantine_log;
	struct publisher publisher;
	struct shrink_guard guard;
	struct reload_failure failure;
	struct last_good_keeper keeper;
	bool retired; /* see reload_retire() */

	bool pending;         /* a change is known and not read yet */
	uint64_t read_at_ms;  /* not before */
	uint64_t check_at_ms; /* the next full check */
	bool operator_waits;  /* asked for a reload that could not be done yet */

	struct reload_counters counters;
};

/* Keeps the table. */
static void fail(struct reload *r, const char *error, uint64_t now_ms)
{
	shrink_guard_release(&r->guard);
	reload_failure_note(&r->failure, error, r->publisher.table, now_ms);
}

static void wait_for_writer(struct reload *r, const char *error, uint64_t now_ms)
{
	if (reload_failure_busy(&r->failure, now_ms))
		fail(r, error, now_ms);
}

/* ---- reading ---- */

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

/* What to do with rows that were read well. 0, or -errno: they make no table. */
static int consider(struct reload *r, struct route_rows *rows, size_t quarantined,
                    enum accept accept, uint64_t now_ms)
{
	struct publisher *p = &r->publisher;
	size_t usable_before = p->table->usable_count;
	size_t usable;
	int rc;

	if (r->retired)
		keep_known(r, rows);
	usable = route_rows_usable(rows);
	if (route_rows_equal(rows, &p->rows)) {
		shrink_guard_release(&r->guard);
		/* Nothing to build, but what was wrong with the rows beside it has changed. */
		if (quarantined != p->quarantined) {
			p->quarantined = quarantined;
			publisher_log(p, LOG_INFO, "database");
		}
		return 0;
	}
	if (shrink_guard_holds(&r->guard, p->table, usable, accept, now_ms))
		return 0;
	rc = publisher_adopt(p, rows, now_ms);
	if (rc != 0)
		return rc;
	last_good_keeper_changed(&r->keeper);
	p->quarantined = quarantined;
	shrink_guard_passed(&r->guard, usable_before, usable, accept);
	publisher_log(p, LOG_INFO, "database");
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
		wait_for_writer(r, error, now_ms);
		return;
	}
	reload_failure_idle(&r->failure);
	r->operator_waits = false;
	if (rc != 0) {
		fail(r, error, now_ms);
		return;
	}
	rc = consider(r, &rows, quarantined, accept, now_ms);
	route_rows_done(&rows);
	if (rc == 0) {
		reload_failure_end(&r->failure, r->publisher.table);
		return;
	}
	(void)db_error(error, rc, "cannot make a table: %s", strerror(-rc));
	fail(r, error, now_ms);
}

/* ---- the clock ---- */

static void tell_state(struct reload *r)
{
	gauge_set(&r->counters.is_failing, r->failure.lasts);
	gauge_set(&r->counters.is_held, r->guard.holds);
	gauge_set(&r->counters.quarantined, r->publisher.quarantined);
}

static enum accept who_accepts(const struct reload *r, uint64_t now_ms)
{
	if (r->operator_waits)
		return ACCEPT_OPERATOR;
	if (shrink_guard_is_over(&r->guard, now_ms))
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

	if (due)
		r->check_at_ms = now_ms + r->options.config->db_reload_secs * 1000;
	rc = store_poll(r->store, &changed, error);
	if (rc == -EBUSY)
		wait_for_writer(r, error, now_ms);
	else if (rc != 0)
		fail(r, error, now_ms);
	r->failure.changed_since |= changed;
	/* A lock must not put off the full check. */
	r->pending |= changed || (due && rc == -EBUSY);
	if (rc == 0 && !r->pending)
		reload_failure_idle(&r->failure);
	if (rc == 0 && (due || accept != ACCEPT_NOBODY || (r->pending && now_ms >= r->read_at_ms)))
		load(r, due || accept != ACCEPT_NOBODY, accept, now_ms);
	reload_failure_repeat(&r->failure, r->publisher.table, now_ms);
	publisher_tick(&r->publisher, due, now_ms);
	last_good_keeper_tick(&r->keeper, &r->publisher.rows, now_ms);
	tell_state(r);
}

void reload_now(struct reload *r, uint64_t now_ms)
{
	uint64_t version = r->publisher.table->version;
	struct log_line l;

	r->operator_waits = true;
	reload_failure_forget(&r->failure); /* whatever is wrong is news to whoever asks */
	store_set_patience(r->store, RELOAD_PATIENCE_MS);
	load(r, true, ACCEPT_OPERATOR, now_ms);
	store_set_patience(r->store, STORE_BUSY_TIMEOUT_MS);
	if (r->failure.lasts || r->operator_waits || r->publisher.table->version != version)
		return;
	log_begin(&l, LOG_INFO, "table_unchanged");
	log_uint(&l, "version", version);
	log_end(&l);
}

/* ---- the start and the end ---- */

static int start_from_database(struct reload *r, uint64_t now_ms, char error[STORE_ERROR_MAX])
{
	struct route_rows rows;
	size_t quarantined;
	int rc;

	store_set_patience(r->store, RELOAD_PATIENCE_MS);
	rc = read_store(r, true, &rows, &quarantined, error);
	store_set_patience(r->store, STORE_BUSY_TIMEOUT_MS);
	r->pending = rc == -EBUSY;
	if (rc != 0)
		return rc;
	rc = publisher_adopt(&r->publisher, &rows, now_ms);
	route_rows_done(&rows);
	if (rc != 0)
		return db_error(error, rc, "cannot make a table: %s", strerror(-rc));
	r->publisher.quarantined = quarantined;
	publisher_log(&r->publisher, LOG_INFO, "database");
	last_good_keeper_save(&r->keeper, &r->publisher.rows, now_ms);
	return 0;
}

static int start(struct reload *r, uint64_t now_ms, char error[STORE_ERROR_MAX])
{
	struct route_rows rows;
	const char *source;
	int rc;

	CHECK(r->publisher.table == NULL);
	r->check_at_ms = now_ms + r->options.config->db_reload_secs * 1000;
	rc = services_open_own(&r->publisher.services, error);
	if (rc != 0)
		return rc;
	rc = start_from_database(r, now_ms, error);
	if (rc == 0)
		return 0;
	fail(r, error, now_ms);
	source = last_good_keeper_recall(&r->keeper, r->options.config->app, &rows);
	rc = publisher_adopt(&r->publisher, &rows, now_ms);
	route_rows_done(&rows);
	if (rc != 0)
		return db_error(error, rc, "cannot make a table: %s", strerror(-rc));
	publisher_log(&r->publisher, strcmp(source, "none") == 0 ? LOG_ERROR : LOG_WARN, source);
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
	return &r->publisher.services.listeners;
}

void reload_leave_files(struct reload *r, bool leave)
{
	r->keeper.paused = leave;
}

void reload_retire(struct reload *r)
{
	reload_leave_files(r, true);
	listeners_let_go(&r->publisher.services.listeners);
	r->retired = true;
}

const struct reload_counters *reload_counters(const struct reload *r)
{
	return &r->counters;
}

struct table *reload_table(const struct reload *r)
{
	return r->publisher.table;
}

int reload_new(const struct reload_options *options, struct reload **ret_reload)
{
	const struct config *config = options->config;
	struct reload *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->options = *options;
	publisher_init(&r->publisher, &(struct publisher_options){
					      .config = config,
					      .live = options->live,
					      .publish = options->publish,
					      .arg = options->arg,
					      .published = &r->counters.published,
					      .published_at = &r->counters.published_at,
				      });
	shrink_guard_init(&r->guard, config->shrink_hold_secs, &r->counters.held);
	reload_failure_init(&r->failure, &r->counters.failed);
	last_good_keeper_init(&r->keeper, config->state_dir);
	if (quarantine_log_init(&r->quarantine_log) != 0 ||
	    store_new(config->db_path, &r->store) != 0) {
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
	if (r->keeper.behind)
		last_good_keeper_save(&r->keeper, &r->publisher.rows, r->keeper.save_at_ms);
	store_free(r->store);
	publisher_done(&r->publisher);
	quarantine_log_done(&r->quarantine_log);
	free(r);
}
