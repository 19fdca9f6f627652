/* The flight recorder over HTTP: what has happened, from a number on, as far as it is asked for.
 * Whoever follows asks again from `next`, a few times a second; nothing waits here.
 *
 * Client addresses are for those who could read the log: the control socket's users, and whoever
 * has a token. At an API without tokens they are left out. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "http/query.h"
#include "net/prefix.h"
#include "proxy/flight.h"
#include "proxy/session.h"
#include "recorder/event_log.h"
#include "recorder/log_line.h"
#include "route/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LIMIT_DEFAULT 200
#define SINCE_MAX_SECS 31536000
#define TIME_TEXT_MAX 32

/* As words and as bits. */
static const char *const kinds[] = {
	[FLIGHT_ROUTED] = "routed",
	[FLIGHT_FAILED] = "failed",
	[FLIGHT_ENDED] = "ended",
};
#define KIND_LOG (FLIGHT_ENDED + 1)
#define KIND_ALL ((1u << (KIND_LOG + 1)) - 1)

struct events_query {
	char after_text[24], limit_text[8], since_text[12], kind_text[40];
	char backend[BACKEND_ID_MAX + 1];
	char country[3];
	char client_text[PREFIX_TEXT_MAX];
	unsigned long after, limit, since_secs;
	unsigned kinds;
	struct prefix client;
	bool shows_clients;
};

struct listing {
	struct core *core;
	const struct events_query *query;
	uint64_t wall_offset_ns; /* of the monotonic clock */
	uint64_t oldest_ns;
	json_t *events;
};

/* ---- the question ---- */

static bool read_kinds(const char *text, unsigned *ret_kinds)
{
	unsigned bits = 0;

	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		unsigned bit = len == 3 && strncmp(text, "log", 3) == 0 ? 1u << KIND_LOG : 0;

		for (unsigned i = 0; i < KIND_LOG; i++)
			if (strlen(kinds[i]) == len && strncmp(text, kinds[i], len) == 0)
				bit = 1u << i;
		if (bit == 0)
			return false;
		bits |= bit;
		text += len + (text[len] == ',');
	}
	*ret_kinds = bits != 0 ? bits : KIND_ALL;
	return true;
}

static bool read_events_query(const struct request *q, struct events_query *e, struct reply *r)
{
	const struct query_field known[] = {
		{"after", e->after_text, sizeof(e->after_text)},
		{"limit", e->limit_text, sizeof(e->limit_text)},
		{"since_secs", e->since_text, sizeof(e->since_text)},
		{"kind", e->kind_text, sizeof(e->kind_text)},
		{"backend", e->backend, sizeof(e->backend)},
		{"country", e->country, sizeof(e->country)},
		{"client", e->client_text, sizeof(e->client_text)},
	};

	e->limit = LIMIT_DEFAULT;
	e->since_secs = SINCE_MAX_SECS;
	e->shows_clients = q->door == DOOR_CONTROL || q->token != NULL;
	if (!query_read(q, known, sizeof(known) / sizeof(known[0]), r) ||
	    !query_number("after", e->after_text, 0, INT64_MAX, &e->after, r) ||
	    !query_number("limit", e->limit_text, 1, QUERY_PAGE_MAX, &e->limit, r) ||
	    !query_number("since_secs", e->since_text, 1, SINCE_MAX_SECS, &e->since_secs, r))
		return false;
	if (!read_kinds(e->kind_text, &e->kinds)) {
		reply_problem(r, 400, "kind", "kind must be of routed, failed, ended, log");
		return false;
	}
	if (e->client_text[0] != '\0' && !e->shows_clients) {
		reply_problem(r, 403, "client",
		              "client addresses are shown to whoever has a token");
		return false;
	}
	if (e->client_text[0] != '\0' && prefix_parse(e->client_text, &e->client) != 0) {
		reply_problem(r, 400, "client",
		              "client must be an address or a prefix in CIDR form");
		return false;
	}
	return true;
}

/* ---- what an event looks like ---- */

static json_t *time_json(uint64_t unix_ns)
{
	time_t secs = (time_t)(unix_ns / 1000000000u);
	char text[TIME_TEXT_MAX];
	struct tm tm;
	size_t n;

	gmtime_r(&secs, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06uZ", (unsigned)(unix_ns % 1000000000u / 1000));
	return json_string(text);
}

static json_t *service_json(const struct core *c, uint32_t key)
{
	for (uint32_t i = 0; c->table != NULL && i < c->table->service_count; i++)
		if (c->table->services[i]->key == key)
			return json_string(c->table->services[i]->name);
	return json_null();
}

static void add_routed(json_t *j, const struct flight_record *r)
{
	json_object_set_new(j, "region_score", json_integer(r->region_score));
	json_object_set_new(j, "from_affinity", json_boolean(r->from_affinity));
	json_object_set_new(j, "place",
	                    json_string(place_source_word((enum place_source)r->place_source)));
	json_object_set_new(j, "connect_us", json_integer(r->connect_us));
	json_object_set_new(j, "queue_us", json_integer(r->queue_us));
}

static json_t *decision_json(const struct listing *l, const struct flight_record *r)
{
	const struct core *c = l->core;
	const char country[3] = {r->country[0], r->country[1], '\0'};
	char ip[IP_TEXT_MAX];
	json_t *j = json_pack(
		"{s:s, s:o, s:o, s:o, s:o, s:i}", "kind", kinds[r->kind], "backend",
		json_text(backend_names_get(c->recorder.names, c->table, r->slot, r->generation)),
		"country", json_text(country), "region", json_text(region_name(r->region)),
		"service", service_json(c, r->service), "retries", (int)r->retries);

	if (j == NULL)
		return NULL;
	if (l->query->shows_clients)
		json_object_set_new(j, "client", json_string(ip_format(&r->client, ip)));
	if (r->kind == FLIGHT_ROUTED)
		add_routed(j, r);
	else if (r->kind == FLIGHT_FAILED)
		json_object_set_new(j, "error", json_string(strerror(r->detail)));
	else
		json_object_set_new(j, "reason",
		                    json_string(close_reason_word((enum close_reason)r->detail)));
	return j;
}

/* What the log says of a client stays in the log where addresses are not shown. */
static json_t *line_json(const struct listing *l, const char *line)
{
	json_t *fields = log_line_json(line);
	json_t *j;

	if (fields == NULL)
		return NULL;
	if (!l->query->shows_clients) {
		json_object_del(fields, "client");
		json_object_del(fields, "peer");
	}
	j = json_pack("{s:s, s:O?, s:O?}", "kind", "log", "level", json_object_get(fields, "level"),
	              "event", json_object_get(fields, "event"));
	json_object_del(fields, "time");
	json_object_del(fields, "level");
	json_object_del(fields, "event");
	if (j == NULL)
		json_decref(fields);
	else
		json_object_set_new(j, "fields", fields);
	return j;
}

/* ---- which ones ---- */

static bool decision_wanted(const struct listing *l, const struct flight_record *r)
{
	const struct events_query *q = l->query;
	const char *id;

	if ((q->kinds >> r->kind & 1u) == 0)
		return false;
	if (q->country[0] != '\0' && memcmp(q->country, r->country, sizeof(r->country)) != 0)
		return false;
	if (q->client_text[0] != '\0' && !prefix_contains(&q->client, &r->client))
		return false;
	if (q->backend[0] == '\0')
		return true;
	id = backend_names_get(l->core->recorder.names, l->core->table, r->slot, r->generation);
	return id != NULL && strcmp(id, q->backend) == 0;
}

static bool line_wanted(const struct listing *l, const json_t *line)
{
	const json_t *fields = json_object_get(line, "fields");
	const char *id = json_string_value(json_object_get(fields, "backend"));

	return l->query->backend[0] == '\0' || (id != NULL && strcmp(id, l->query->backend) == 0);
}

/* Adds an event, if it is asked for. */
static void list_event(struct listing *l, const struct event *e)
{
	const struct events_query *q = l->query;
	json_t *j = NULL;

	if (e->at_ns < l->oldest_ns)
		return;
	if (e->record != NULL && decision_wanted(l, e->record))
		j = decision_json(l, e->record);
	else if (e->line != NULL && (q->kinds >> KIND_LOG & 1u) != 0 && q->country[0] == '\0' &&
	         q->client_text[0] == '\0')
		j = line_json(l, e->line);
	if (j != NULL && e->line != NULL && !line_wanted(l, j)) {
		json_decref(j);
		j = NULL;
	}
	if (j == NULL)
		return;
	json_object_set_new(j, "number", json_integer((json_int_t)e->number));
	json_object_set_new(j, "at", time_json(e->at_ns + l->wall_offset_ns));
	json_array_append_new(l->events, j);
}

void route_events(struct core *c, const struct request *q, struct reply *r)
{
	struct events_query query = {0};
	uint64_t now_ns = clock_now_ns();
	uint64_t next, lost;
	struct event e;
	struct timespec wall;
	bool more = false;

	if (!query_may_see(q, "", r) || !read_events_query(q, &query, r))
		return;
	clock_gettime(CLOCK_REALTIME, &wall);

	struct listing l = {
		.core = c,
		.query = &query,
		.wall_offset_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec -
	                          now_ns,
		.events = json_array(),
	};

	if (query.since_secs < now_ns / 1000000000u)
		l.oldest_ns = now_ns - query.since_secs * 1000000000u;
	next = query.after;
	while (event_log_find(c->recorder.event_log, c->recorder.history, next, &e)) {
		more = json_array_size(l.events) >= query.limit;
		if (more)
			break;
		next = e.number;
		list_event(&l, &e);
	}
	/* Numbers begin anew with the process: who asks with an old one is told the present one. */
	if (next > event_log_latest(c->recorder.event_log))
		next = event_log_latest(c->recorder.event_log);
	lost = history_lost(c->recorder.history) + log_ring_lost();
	reply_json(r, 200,
	           json_pack("{s:o, s:I, s:b, s:I, s:I}", "events", l.events, "next",
	                     (json_int_t)next, "more", (int)more, "lost", (json_int_t)lost,
	                     "started_ms", (json_int_t)c->started_ms));
}
