/* Each record goes to everybody who sums up (traffic of the live page, clients of the plan), and
 * then into the history, from which events are told. Nobody here asks a worker for anything. */
#include "recorder/recorder.h"

#include "base/clock.h"

#include <errno.h>
#include <time.h>

int recorder_init(struct recorder *rec, struct crew *crew, uint64_t seed)
{
	rec->crew = crew;
	rec->history = history_new();
	rec->event_log = event_log_new();
	rec->names = backend_names_new();
	rec->clients = client_sketch_new(CLIENT_SKETCH_ENTRIES, CLIENT_SKETCH_HALF_LIFE_MS, seed);
	rec->traffic = traffic_new(clock_now_ms());
	rec->transitions = transitions_new();
	return rec->history != NULL && rec->event_log != NULL && rec->names != NULL &&
	                       rec->clients != NULL && rec->traffic != NULL &&
	                       rec->transitions != NULL
	               ? 0
	               : -ENOMEM;
}

void recorder_done(struct recorder *rec)
{
	transitions_free(rec->transitions);
	traffic_free(rec->traffic);
	client_sketch_free(rec->clients);
	backend_names_free(rec->names);
	event_log_free(rec->event_log);
	history_free(rec->history);
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

/* One drain. */
struct draining {
	struct recorder *recorder;
	const struct table *table;
};

static void seen(void *arg, const struct flight_record *record)
{
	const struct draining *d = arg;
	struct recorder *rec = d->recorder;
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

	traffic_note(rec->traffic, record);
	backend_names_note(rec->names, d->table, record->slot, record->generation);
	if (routed || is_unserved(record))
		client_sketch_note(rec->clients, &client, clock_now_ms());
}

/* Read anew each time: it may have been set. */
static uint64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void recorder_tick(struct recorder *rec, struct table *table, uint64_t now_ms)
{
	struct draining d = {.recorder = rec, .table = table};

	history_drain(rec->history, rec->crew, seen, &d);
	event_log_update(rec->event_log, rec->history, clock_now_ns(), wall_ns());
	if (now_ms < rec->look_ms)
		return;
	rec->look_ms = now_ms + RECORDER_LOOK_MS;
	traffic_tick(rec->traffic, now_ms);
	transitions_look(rec->transitions, table, wall_ns() / 1000000);
}
