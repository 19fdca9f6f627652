/* A worker: one thread, one epoll loop (loop.h), its own sessions. Nothing it does blocks, and it
 * touches no files. Here is what it has, for all that it does. Its thread only, where nothing else
 * is said. */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "base/check.h"
#include "base/list.h"
#include "base/log_writer.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/sampler.h"
#include "base/watchdog.h"
#include "config/config.h"
#include "geo/geo_db.h"
#include "net/mailbox.h"
#include "net/timer.h"
#include "proxy/batch.h"
#include "proxy/counters.h"
#include "proxy/flight.h"
#include "proxy/relay.h"
#include "proxy/walk.h"
#include "route/affinity.h"
#include "route/client_limits.h"
#include "route/drain.h"
#include "route/live.h"
#include "route/queue.h"
#include "route/table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What an epoll event belongs to: the low bits of its pointer. */
enum event_tag { TAG_END_0, TAG_END_1, TAG_LISTENER, TAG_MAILBOX };
#define TAG_BITS UINT64_C(3)

/* Kinds of timers in a worker's wheel. */
enum worker_timer { WORKER_TIMER_SESSION, WORKER_TIMER_LISTENER, WORKER_TIMER_OFFER };

/* What all workers use; outlives them. */
struct worker_shared {
	const struct config *config;
	struct live *live;
	struct affinity *affinity;
	struct client_limits *client_limits; /* NULL: there are none */
	struct queue *queue;                 /* a worker's sessions have its number as owner */
	struct log_writer *access_log;       /* for lines about sessions; NULL: the main log */
	uint32_t max_conn;
	atomic_uint *starved; /* dials without a descriptor: while there are any, nobody accepts */
	struct worker *workers;
	unsigned worker_count;
};

struct worker {
	/* Read by other workers, to find one with less to do; includes clients on their way here.
	 */
	_Alignas(64) atomic_uint load;
	/* Read by the control thread: accepts no more; after mail_stop() it has accepted all
	 * that was queued. */
	atomic_bool stopped;

	/* Written by the worker once a turn, read by the watchdog. */
	_Alignas(64) struct heartbeat beat;

	_Alignas(64) const struct worker_shared *shared;
	struct mailbox mailbox;
	pthread_t thread;
	int epoll_fd;

	struct table *table; /* a reference; never NULL while the thread runs */
	struct geo_db *geo;  /* a reference */
	struct list listeners;
	struct list sessions;
	struct list closing; /* sessions that were closed a moment ago: see closing.h */
	struct list dead;    /* sessions closed in this turn */
	struct list bulk;    /* sessions that wait for their turn, first come first served */
	struct object_pool session_pool;
	struct walks walks;
	struct list censuses; /* parts; the first one is walked for */
	struct relay_shared relay;
	struct batch batch;
	struct timer_wheel timers;
	struct timer offer_all; /* while sessions wait: see waiting.h */
	uint32_t waiting;       /* own sessions in state QUEUE */
	struct rng rng;
	struct rng sample_rng; /* its own: a log changes no decision */
	struct sampler sampler;
	uint64_t complain_ms; /* not before: of admission.c */
	uint64_t spin_ns;
	struct tcp_options tcp; /* of sockets to backends */
	struct drain_rules drain;
	uint64_t now_ns;    /* monotonic, of this turn */
	uint64_t accept_ns; /* of the latest session */
	uint64_t now_ms;
	bool mail_waits;
	bool started; /* has a thread */
	bool leaving; /* ends at the end of this turn */

	struct counters counters;
	struct flight flight;
};

/* Below worker_count; as the owner of waiters in the queue. */
uint32_t worker_number(const struct worker *w);
/* now_ns and now_ms are what the clock says. */
void worker_set_clock(struct worker *w);
/* 0 or -errno. Events are edge-triggered unless exclusive. */
MUST_CHECK int worker_watch(struct worker *w, int fd, void *owner, enum event_tag tag);

#endif
