/* A worker: one thread, one epoll loop, its own sessions. Nothing it does blocks, and it touches no
 * files. Each turn of the loop serves in this order: sockets (interactive traffic), messages, due
 * timers, then one quantum each way of one session with bulk, and a turn of a sweep and of a
 * census. */
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
#include "proxy/census.h"
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

/* Events taken from the kernel at once. */
#define WORKER_EVENTS 256

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
	/* Read by the control thread: accepts no more; after worker_post_stop() it has accepted all
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
	struct list dead; /* sessions closed in this turn */
	struct list bulk; /* sessions that wait for their turn, first come first served */
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

/* References to table and geo are taken. paused: accepts nobody until worker_post_resume(). 0, or
 * -errno and nothing is held. */
MUST_CHECK int worker_init(struct worker *w, const struct worker_shared *shared, uint64_t seed,
                           struct table *table, struct geo_db *geo, bool paused);
/* Starts the thread; every worker of shared has been made. 0 or -errno. */
MUST_CHECK int worker_start(struct worker *w);

/* Any thread. 0 or -ENOMEM. References are taken. */
MUST_CHECK int worker_post_table(struct worker *w, struct table *table);
MUST_CHECK int worker_post_geo(struct worker *w, struct geo_db *geo);
/* Look over the sessions: backends are gone or down. */
MUST_CHECK int worker_post_sweep(struct worker *w);
/* A part of a census, finished in any case. */
MUST_CHECK int worker_post_census(struct worker *w, struct census_part *part);
/* Accept what is queued and then no more; sessions go on. */
MUST_CHECK int worker_post_stop(struct worker *w);
/* Accept no more, at once; what is queued is left to others. Accept again. */
MUST_CHECK int worker_post_pause(struct worker *w);
MUST_CHECK int worker_post_resume(struct worker *w);
/* Close what is left and end the thread. */
MUST_CHECK int worker_post_leave(struct worker *w);
/* Another worker hands over a client, with its reference to the service. */
MUST_CHECK int worker_post_client(struct worker *w, int fd, const struct endpoint *peer,
                                  struct service *service);
/* Sessions of this worker have been given places in the queue. */
MUST_CHECK int worker_post_places(struct worker *w);
/* Waits for the thread, if it was started. */
void worker_join(struct worker *w);
/* After all threads have ended: closes clients that were still on their way, frees everything. */
void worker_done(struct worker *w);

/* For listener.c and session.c: 0 or -errno. Events are edge-triggered unless exclusive. */
MUST_CHECK int worker_watch(struct worker *w, int fd, void *owner, enum event_tag tag);

#endif
