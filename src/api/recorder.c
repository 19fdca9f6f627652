/* Each record goes to everybody who sums up (traffic of the live page, clients of the plan), and
 * then into the history, from which events are told. Nobody here asks a worker for anything. */
#include "api/recorder.h"

#include "api/core.h"
#include "base/clock.h"

#include <errno.h>
#include <time.h>

int recorder_init(struct core *c, uint64_t seed)
{
	c->history = history_new();
	c->event_log = event_log_new();
	c->names = backend_names_new();
	c->clients = client_sketch_new(CLIENT_SKETCH_ENTRIES, CLIENT_SKETCH_HALF_LIFE_MS, seed);
	c->traffic = traffic_new(clock_now_ms());
	c->transitions = transitions_new();
	return c->history != NULL && c->event_log != NULL && c->names != NULL &&
	                       c->clients != NULL && c->traffic != NULL && c->transitions != NULL
	               ? 0
	               : -ENOMEM;
}

void recorder_done(struct core *c)
{
	transitions_free(c->transitions);
	traffic_free(c->traffic);
	client_sketch_free(c->clients);
	backend_names_free(c->names);
	event_log_free(c->event_log);
	history_free(c->history);
}

/* Ends of clients that the routing rules, not the network or the client, sent away. */
static bool is_unserved(const struct flight_record *r)
{
	return r->kind == FLIGHT_ENDED &&
	       (r->detail == CLOSE_DENIED || r->detail == CLOSE_NO_BACKEND ||
	        r->detail == CLOSE_BACKENDS_FULL || r->detail == CLOSE_QUEUE_FULL ||
	        r->detail == CLOSE_QUEUE_TIMEOUT || r->detail == CLOSE_CONNECT_FAILED ||
	        r->detail == CLOSE_CONNECT_BUDGET);
}

static void seen(void *arg, const struct flight_record *record)
{
	struct core *c = arg;
	bool routed = record->kind == FLIGHT_ROUTED;
	const struct client_seen client = {
		.client = record->client,
		.service = record->service,
		.slot = routed ? record->slot : LIVE_NO_SLOT,
		.generation = record->generation,
		.region = record->region,
		.country = {record->country[0], record->country[1]},
		.region_score = record->region_score,
	};

	traffic_note(c->traffic, record);
	backend_names_note(c->names, c->table, record->slot, record->generation);
	if (routed || is_unserved(record))
		client_sketch_note(c->clients, &client, clock_now_ms());
}

/* Read anew each time: it may have been set. */
static uint64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void recorder_tick(struct core *c, uint64_t now_ms)
{
	history_drain(c->history, c->crew, seen, c);
	event_log_update(c->event_log, c->history, clock_now_ns(), wall_ns());
	if (now_ms < c->look_ms)
		return;
	c->look_ms = now_ms + RECORDER_LOOK_MS;
	traffic_tick(c->traffic, now_ms);
	transitions_look(c->transitions, c->table, wall_ns() / 1000000);
}
