/* What the handlers of the API work on. All of it is the API thread's, but for `stopping`. */
#ifndef API_CORE_H
#define API_CORE_H

#include "api/auth.h"
#include "api/backend_names.h"
#include "api/client_sketch.h"
#include "api/door.h"
#include "api/event_log.h"
#include "api/history.h"
#include "api/metrics.h"
#include "api/pending.h"
#include "api/registry.h"
#include "api/reply.h"
#include "api/router.h"
#include "api/traffic.h"
#include "api/transitions.h"
#include "api/viewers.h"
#include "api/writer.h"
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

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest body of a request. */
#define API_BODY_MAX 16384
/* Rows of one page of a list. */
#define API_PAGE_DEFAULT 100
#define API_PAGE_MAX 1000
/* Different parameters in a query; more are refused. */
#define API_QUERY_MAX 8

struct core {
	const struct config *config;
	struct viewers *viewers;
	struct registry *registry;
	struct writer *writer;
	struct tokens *tokens; /* NULL: whoever can connect may do everything */
	struct table *table;   /* with a reference; the latest that was published */
	struct geo_db *geo;    /* the same; may be NULL */
	struct live *live;
	struct affinity *affinity;
	struct queue *queue;
	struct crew *crew;      /* its functions for any thread */
	unsigned pending_count; /* requests that wait now */
	int wake_fd;            /* an eventfd that ends the thread's sleep */
	/* What others count, to be read by any thread. */
	const struct reload_counters *reload;
	const struct fault_watch_counters *faults;
	const struct geo_watch_counters *geo_watch;
	uint32_t max_conn;
	struct access_sink *access_log; /* NULL: there is none beside the main log */
	struct metrics *metrics;
	/* Filled by recorder.c. */
	struct history *history;
	struct traffic *traffic;
	struct transitions *transitions;
	uint64_t look_ms; /* when backends are looked over next */
	struct event_log *event_log;
	struct client_sketch *clients;
	struct backend_names *names; /* of what history and sketch speak of */
	uint64_t started_ms;
	uint64_t table_ms; /* when the table came */
	atomic_bool *stopping;
	bool database_failed; /* has been said in the log */
};

struct query_parameter {
	const char *key;
	const char *value; /* still percent-encoded */
};

struct request {
	struct route_match match;
	enum door_kind door;
	const struct token *token; /* NULL: there are none, or the route needs none */
	const char *if_match;      /* headers; NULL: not sent */
	const char *if_none_match;
	const char *body;
	size_t body_len;
	struct query_parameter query[API_QUERY_MAX];
	size_t query_count;
	struct pending *pending; /* the handler is called again: what it has waited for */
};

/* One function a row of routes.def. */
#define ROUTE(handler, method, pattern, access, doors) \
	void route_##handler(struct core *c, const struct request *q, struct reply *r);
#include "api/routes.def"
#undef ROUTE

/* What is due by the clock: silences, and what others have changed in the database. */
void backends_tick(struct core *c, uint64_t now_ms);
/* Takes over what the database has of registrations. 0 or -errno, which is logged once. */
int backends_sync(struct core *c, uint64_t now_ms);

#endif
