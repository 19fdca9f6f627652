/* A world under virtual time: backends that live, die, hang and come back, rows that change, health
 * checks, workers that learn of it one after the other, and clients who want to be served. It is
 * all made from a seed. What decides is the proxy's own code (route/, health/check, fault_watch);
 * what the world adds is the network and the clock.
 *
 * One thread. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "agenda.h"
#include "base/rng.h"
#include "config/config.h"
#include "control/fault_watch.h"
#include "health/check.h"
#include "route/affinity.h"
#include "route/live.h"
#include "route/policy.h"
#include "route/queue.h"
#include "route/rows.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	BACKENDS_MOST = 12,
	APPS_MOST = 3,
	REGIONS_MOST = 3,
	CLIENTS_MOST = 40,
	SESSIONS_MOST = 512,
	WORKERS_MOST = 3,
};

/* How a backend answers a connect. */
enum condition { ANSWERS, REFUSES, HANGS };

struct sim_backend {
	struct backend_row row;
	char id[16];
	bool listed; /* has a row */
	enum condition condition;
	uint64_t answers_since_ms;
	struct check_state check;

	/* What the model knows of it. */
	uint32_t connections;
	uint32_t taken;   /* places in live, when it was last looked at */
	uint64_t full_ms; /* when it last was not free for everybody */
	uint64_t chosen;
	double expected; /* how often it should have been chosen where several were equally good */
};

struct sim_client {
	struct ip ip;
	struct place place;
	unsigned app;

	/* What the model knows of its binding. */
	uint32_t bound; /* a backend, or NOBODY */
	struct binding binding;
	uint64_t bound_used_ms;
};

enum sim_state { FREE, DIALLING, WAITING, SERVED };

struct sim_session {
	enum sim_state state;
	uint32_t client;
	uint32_t worker;
	uint32_t backend; /* where it has a place, or NOBODY */
	uint64_t token;   /* names the present state, for the agenda */
	uint64_t began_ms;
	uint64_t dial_deadline_ms;
	uint64_t queue_deadline_ms;
	struct tried tried;
	struct waiter waiter;
};

#define NOBODY UINT32_MAX

struct sim_worker {
	struct table *table;
	struct rng rng;
	uint32_t waiting;
};

struct world_counts {
	uint64_t clients, served, refused, retries, waited, tables, decisions;
	/* Of choices among equals: how far the chosen ones' shares are from what chance gives, and
	 * the variance of that. */
	double share_excess, share_variance;
};

struct world {
	uint64_t seed;
	bool trace;
	struct rng rng; /* of the world; the workers have their own */
	uint64_t now_ms;
	uint64_t end_ms;
	struct agenda agenda;
	struct config config;
	struct check_timing timing;
	bool checked; /* there are health checks */

	struct live *live;
	struct affinity *affinity;
	struct queue *queue;
	struct fault_watch *faults;
	struct service *services[APPS_MOST];
	struct table *table; /* the newest */

	struct sim_backend backends[BACKENDS_MOST];
	uint32_t backend_count;
	struct sim_client clients[CLIENTS_MOST];
	uint32_t client_count;
	struct sim_session sessions[SESSIONS_MOST];
	struct sim_worker workers[WORKERS_MOST];
	uint32_t worker_count;
	unsigned app_count;

	struct world_counts counts;
	char violation[256]; /* the first; "": none */
};

/* Makes and runs a world; what came of it is in counts and violation. */
void world_run(struct world *w, uint64_t seed, bool trace);

/* For invariants.c. */
__attribute__((format(printf, 2, 3))) void world_violated(struct world *w, const char *format, ...);
/* The backend with this id. */
uint32_t world_backend(const struct world *w, const struct backend *b);

#endif
