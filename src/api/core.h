/* What the handlers of the API work on. All of it is the API thread's, but for `stopping`. */
#ifndef API_CORE_H
#define API_CORE_H

#include "config/config.h"
#include "control/fault_watch.h"
#include "control/geo_watch.h"
#include "control/reload.h"
#include "geo/geo_db.h"
#include "observe/access_sink.h"
#include "proxy/crew.h"
#include "recorder/recorder.h"
#include "registry/registrar.h"
#include "route/affinity.h"
#include "route/client_limits.h"
#include "route/live.h"
#include "route/queue.h"
#include "route/table.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metrics;
struct viewers;

struct core {
	const struct config *config;
	struct table *table; /* with a reference; the latest that was published */
	struct geo_db *geo;  /* the same; may be NULL */
	struct live *live;
	struct affinity *affinity;
	struct client_limits *client_limits; /* NULL: there are none */
	struct queue *queue;
	struct crew *crew; /* its functions for any thread */
	int wake_fd;       /* an eventfd that ends the thread's sleep */
	/* What others count, to be read by any thread. */
	const struct reload_counters *reload;
	const struct fault_watch_counters *faults;
	const struct geo_watch_counters *geo_watch;
	uint32_t max_conn;
	struct access_sink *access_log; /* NULL: there is none beside the main log */
	struct registrar registrar;
	struct recorder recorder;
	struct metrics *metrics;
	struct viewers *viewers;
	bool has_tokens; /* at the API's door only whoever has one may do everything */
	uint64_t started_ms;
	uint64_t table_ms; /* when the table came */
	atomic_bool *stopping;
};

#endif
