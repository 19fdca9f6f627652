/* The API: a thread of its own that speaks HTTP at several doors (doors.def). It knows who has
 * registered and writes the routing database; what it writes reaches the workers as any change of
 * the database does. It shows what they do by their counters and flight recorders, which they do
 * not wait for. */
#ifndef API_API_H
#define API_API_H

#include "base/check.h"
#include "config/config.h"
#include "control/fault_watch.h"
#include "control/geo_watch.h"
#include "control/reload.h"
#include "geo/geo_db.h"
#include "observe/access_sink.h"
#include "proxy/crew.h"
#include "route/affinity.h"
#include "route/live.h"
#include "route/queue.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

#define API_ERROR_MAX 400

struct api;

struct api_options {
	const struct config *config; /* outlives the API */
	struct table *table;         /* a reference is taken, as of geo */
	struct geo_db *geo;          /* may be NULL */
	struct live *live;           /* outlives it, as do the rest */
	struct affinity *affinity;
	struct client_limits *client_limits; /* may be NULL */
	struct queue *queue;
	struct crew *crew;
	const struct reload_counters *reload;
	const struct fault_watch_counters *faults;
	const struct geo_watch_counters *geo_watch;
	uint32_t max_conn;
	struct access_sink *access_log; /* may be NULL */
	uint64_t seed;
	bool takeover; /* a predecessor may still listen there: it is waited for */
};

/* Are the options of the API such that it may be started? 0, or -EINVAL or another -errno with one
 * line in error. Nothing is opened but the file of the tokens. */
MUST_CHECK int api_check(const struct config *config, char error[API_ERROR_MAX]);

/* Is there a door to be opened? */
bool api_wanted(const struct config *config);
/* Listens and starts the thread. Control thread, as all below. 0; -errno with one line in error. */
MUST_CHECK int api_new(const struct api_options *options, struct api **ret_api,
                       char error[API_ERROR_MAX]);
/* Ends the thread, its connections and its sockets. NULL-safe. */
void api_free(struct api *a);
/* A new table, a new database; a reference is taken. */
void api_post_table(struct api *a, struct table *table);
void api_post_geo(struct api *a, struct geo_db *geo);
/* SIGHUP: the tokens are read anew; when that fails the old ones go on counting. */
void api_reload_tokens(struct api *a);
/* This process accepts no more clients. */
void api_stopping(struct api *a);

#endif
