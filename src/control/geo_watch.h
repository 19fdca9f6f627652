/* The country database in use, and what becomes of it when its file is replaced. The control thread
 * only. */
#ifndef CONTROL_GEO_WATCH_H
#define CONTROL_GEO_WATCH_H

#include "base/check.h"
#include "base/counter.h"
#include "geo/geo_db.h"

#include <stdint.h>

/* A file that is being copied into place looks different after so long. */
#define GEO_WATCH_SETTLE_MS 50

struct geo_watch_options {
	const char
		*path; /* EDGEPROXY_GEOIP_PATH; "": the database inside the binary. Outlives it */
	/* A new database, for those who want it: they take references of their own. */
	void (*publish)(void *arg, struct geo_db *db);
	void *arg;
};

struct geo_watch;

/* What the control thread has counted; any thread may read. */
struct geo_watch_counters {
	struct counter loaded; /* databases, the first one included */
	struct counter failed; /* files that could not be used */
};

/* Opens the database and publishes it. A path that cannot be used is an error and not a reason to
 * take the embedded database: that would route wrongly and nobody would know. 0, or -errno with one
 * line in error. */
MUST_CHECK int geo_watch_start(const struct geo_watch_options *options,
                               struct geo_watch **ret_watch, char error[GEO_ERROR_MAX]);
void geo_watch_free(struct geo_watch *w); /* NULL-safe */

/* Looks whether the file has changed. A changed file is opened when it has looked the same at two
 * ticks in a row, GEO_WATCH_SETTLE_MS apart (somebody may be copying it into place); if it is good
 * it is published, else the old one stays and one line says why. */
void geo_watch_tick(struct geo_watch *w, uint64_t now_ms);
/* SIGHUP: opens the file now, whatever it looks like. */
void geo_watch_now(struct geo_watch *w, uint64_t now_ms);

/* Valid as long as w is. */
const struct geo_watch_counters *geo_watch_counters(const struct geo_watch *w);
/* The database published last; borrowed. */
struct geo_db *geo_watch_db(const struct geo_watch *w);

#endif
