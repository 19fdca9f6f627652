/* Watches the file of EDGEPROXY_GEOIP_PATH with one stat() a tick. Lookups never see a file: a
 * database is a copy in memory (geo/geo_db.h), swapped as a whole after it has been validated.
 *
 * A file that failed is not tried again until it changes: the same bytes would fail the same way.
 */
#include "control/geo_watch.h"

#include "base/log.h"
#include "control/fingerprint.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct geo_watch {
	struct geo_watch_options options;
	struct geo_db *db;
	struct fingerprint tried; /* the file that was opened last, well or not */
	struct fingerprint last;  /* at the last tick */
	uint64_t last_ms;         /* since when it looks like that */
	int missing;              /* errno for which it was called missing; 0: it is not */
	struct geo_watch_counters counters;
};

static void log_loaded(const struct geo_watch *w)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "geo_loaded");
	log_str(&l, "source", w->options.path[0] != '\0' ? w->options.path : "embedded");
	log_str(&l, "type", geo_db_type(w->db));
	log_uint(&l, "build", geo_db_build_epoch(w->db));
	log_uint(&l, "bytes", geo_db_bytes(w->db));
	log_end(&l);
}

static void note_failed(struct geo_watch *w, const char *error)
{
	struct log_line l;

	counter_add(&w->counters.failed, 1);
	log_begin(&l, LOG_ERROR, "geo_failed");
	log_str(&l, "path", w->options.path);
	log_str(&l, "error", error);
	log_uint(&l, "kept_build", geo_db_build_epoch(w->db));
	log_end(&l);
}

static void adopt(struct geo_watch *w, struct geo_db *db)
{
	geo_db_unref(w->db);
	w->db = db;
	counter_add(&w->counters.loaded, 1);
	w->options.publish(w->options.arg, db);
	log_loaded(w);
}

int geo_watch_start(const struct geo_watch_options *options, struct geo_watch **ret_watch,
                    char error[GEO_ERROR_MAX])
{
	struct geo_watch *w = calloc(1, sizeof(*w));
	char why[GEO_ERROR_MAX];
	struct geo_db *db;
	int rc;

	if (w == NULL) {
		snprintf(error, GEO_ERROR_MAX, "out of memory");
		return -ENOMEM;
	}
	w->options = *options;
	if (options->path[0] == '\0') {
		rc = geo_db_open_embedded(&db, error);
	} else {
		/* Before the file is opened: a change in between is then noticed. */
		if (fingerprint_take(options->path, &w->tried) != 0)
			w->tried.valid = false;
		w->last = w->tried;
		rc = geo_db_open(options->path, &db, why);
		if (rc != 0)
			snprintf(error, GEO_ERROR_MAX, "EDGEPROXY_GEOIP_PATH=%.96s: %.128s",
			         options->path, why);
	}
	if (rc != 0) {
		free(w);
		return rc;
	}
	adopt(w, db);
	*ret_watch = w;
	return 0;
}

void geo_watch_free(struct geo_watch *w)
{
	if (w == NULL)
		return;
	geo_db_unref(w->db);
	free(w);
}

static void note_missing(struct geo_watch *w, int err)
{
	if (w->missing != err)
		note_failed(w, strerror(-err));
	w->missing = err;
	w->last.valid = false;
}

static void reopen(struct geo_watch *w, const struct fingerprint *file)
{
	char error[GEO_ERROR_MAX];
	struct geo_db *db;

	w->tried = *file;
	if (geo_db_open(w->options.path, &db, error) == 0)
		adopt(w, db);
	else
		note_failed(w, error);
}

void geo_watch_tick(struct geo_watch *w, uint64_t now_ms)
{
	struct fingerprint now;
	int rc;

	if (w->options.path[0] == '\0')
		return;
	rc = fingerprint_take(w->options.path, &now);
	if (rc != 0) {
		note_missing(w, rc);
		return;
	}
	w->missing = 0;
	if (!fingerprint_equal(&now, &w->last)) {
		w->last = now;
		w->last_ms = now_ms;
		return;
	}
	if (now_ms - w->last_ms >= GEO_WATCH_SETTLE_MS && !fingerprint_equal(&now, &w->tried))
		reopen(w, &now);
}

void geo_watch_now(struct geo_watch *w, uint64_t now_ms)
{
	struct fingerprint now;
	int rc;

	if (w->options.path[0] == '\0')
		return;
	w->missing = 0; /* whatever is wrong is news to whoever asks */
	rc = fingerprint_take(w->options.path, &now);
	if (rc != 0) {
		note_missing(w, rc);
		return;
	}
	w->last = now;
	w->last_ms = now_ms;
	reopen(w, &now);
}

const struct geo_watch_counters *geo_watch_counters(const struct geo_watch *w)
{
	return &w->counters;
}

struct geo_db *geo_watch_db(const struct geo_watch *w)
{
	return w->db;
}
