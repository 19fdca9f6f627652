/* What the commands that look without serving (explain, check) look at: configuration, country
 * database, routing database, each read by the code that the proxy itself uses. One thread. */
#ifndef CLI_INPUTS_H
#define CLI_INPUTS_H

#include "base/arena.h"
#include "base/check.h"
#include "config/config.h"
#include "control/store.h"
#include "geo/geo_db.h"
#include "route/rows.h"

#include <stddef.h>

/* A row that the database could not make good: copies of what control/store.h reported. */
struct quarantined {
	const char *table;
	const char *row;
	const char *column;
	const char *value;
	const char *why;
};

struct inputs {
	struct config config; /* zeroed until it is read */
	struct geo_db *geo;   /* NULL until it is open */
	struct route_rows rows;
	struct arena arena; /* of quarantined */
	struct quarantined *quarantined;
	size_t quarantined_count;
};

/* How long a writer may keep the database from being read. */
#define INPUTS_PATIENCE_MS 2000

void inputs_init(struct inputs *in);
void inputs_done(struct inputs *in);

/* Each needs a configuration in in->config. 0, or -errno with one line in error. */
MUST_CHECK int inputs_open_geo(struct inputs *in, char error[GEO_ERROR_MAX]);
/* The rows of every app. */
MUST_CHECK int inputs_read_routes(struct inputs *in, char error[STORE_ERROR_MAX]);

#define QUARANTINED_TEXT_MAX 512

/* One line for people: "backends us-9: port = 70000: must be …", safe for a terminal. Returns buf.
 */
char *quarantined_format(const struct quarantined *q, char buf[QUARANTINED_TEXT_MAX]);

#endif
