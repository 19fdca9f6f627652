/* Sessions over the API: a list of those that match, and an end for them. Both are a census
 * (proxy/census.h): the workers look, a few sessions a turn, and this thread does other things
 * until they have.
 *
 * Ending everybody by a request without a filter is refused: it must say so (all=true). */
#include "api/core.h"
#include "api/routes.h"
#include "base/json_text.h"
#include "base/log.h"
#include "geo/country.h"
#include "http/query.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Records in an answer. */
#define SESSIONS_DEFAULT 100
#define SESSIONS_MAX CENSUS_RECORDS_MAX
/* Of those that were ended. */
#define ENDED_SHOWN 1000

struct counting {
	struct pending pending;
	struct census *census;
};

static bool counting_ready(struct pending *p)
{
	return census_is_done(((struct counting *)(void *)p)->census);
}

static void counting_drop(struct pending *p)
{
	struct counting *n = (struct counting *)(void *)p;

	census_unref(n->census);
	free(n);
}

/* ---- words ---- */

static json_t *state_json(uint8_t state)
{
	static const char *const names[] = {
#define STATE(name, help, next) #name,
#include "proxy/session_state.def"
#undef STATE
	};
	char word[16] = "";

	for (size_t i = 0; names[state][i] != '\0' && i + 1 < sizeof(word); i++)
		word[i] = (char)tolower((unsigned char)names[state][i]);
	return json_string(word);
}

static json_t *endpoint_json(const struct endpoint *e, bool known)
{
	char text[ENDPOINT_TEXT_MAX];

	return known ? json_string(endpoint_format(e, text)) : json_null();
}

static json_t *us_json(bool known, uint64_t us)
{
	return known ? json_integer((json_int_t)us) : json_null();
}

static json_t *record_json(const struct census_record *s)
{
	char id[SESSION_ID_TEXT_MAX];
	bool chosen = s->backend[0] != '\0';

	return json_pack(
		"{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:I, "
		"s:o, s:o, s:b}",
		"id", session_id_format(&s->id, id), "client", endpoint_json(&s->client, true),
		"service", json_text(s->service), "app", json_text(s->app), "country",
		json_text(s->country), "region", json_text(region_name(s->region)), "state",
		state_json(s->state), "backend", json_text(s->backend), "backend_addr",
		endpoint_json(&s->backend_addr, chosen), "age_ms", (json_int_t)s->age_ms, "idle_ms",
		(json_int_t)s->idle_ms, "bytes_in", (json_int_t)s->bytes[CLIENT], "bytes_out",
		(json_int_t)s->bytes[BACKEND], "connect_us", us_json(s->connected, s->connect_us),
		"queue_us", us_json(s->queue_us != 0, s->queue_us), "retries",
		(json_int_t)s->retries, "region_score", us_json(s->connected, s->region_score),
		"affinity",
		s->connected ? json_string(s->from_affinity ? "hit" : "miss") : json_null(),
		"ending", (int)s->ending);
}

static json_t *records_json(const struct census *c, size_t most)
{
	json_t *list = json_array();
	size_t count;
	const struct census_record *records = census_records(c, &count);

	for (size_t i = 0; i < count && i < most; i++)
		(void)json_array_append_new(list, record_json(&records[i]));
	return list;
}

/* ---- asking ---- */

/* Which sessions, and how many of them are shown; false after it has answered. */
static bool read_filter(const struct request *q, struct census_filter *f, unsigned long *limit,
                        bool *all, struct reply *r)
{
	char client[PREFIX_TEXT_MAX], country[8], number[8], every[8];
	const struct query_field fields[] = {
		{"client", client, sizeof(client)}, {"backend", f->backend, sizeof(f->backend)},
		{"app", f->app, sizeof(f->app)},    {"country", country, sizeof(country)},
		{"limit", number, sizeof(number)},  {"all", every, sizeof(every)},
	};

	*f = (struct census_filter){0};
	*limit = SESSIONS_DEFAULT;
	if (!query_read(q, fields, sizeof(fields) / sizeof(fields[0]), r) ||
	    !query_number("limit", number, 0, SESSIONS_MAX, limit, r) ||
	    !query_prefix("client", client, &f->client, &f->by_client, r) ||
	    !query_may_see(q, f->app, r) || !query_true("all", every, all, r))
		return false;
	if (country[0] != '\0' && (strlen(country) != 2 || country_index(country) < 0)) {
		reply_problem(r, 400, "country", "country must be two letters (ISO 3166-1)");
		return false;
	}
	for (int i = 0; country[0] != '\0' && i < 2; i++)
		f->country[i] = (char)toupper((unsigned char)country[i]);
	return true;
}

/* The one session of the path. */
static bool read_id(const struct request *q, struct census_filter *f, struct reply *r)
{
	*f = (struct census_filter){.by_id = true};
	if (!query_read(q, NULL, 0, r) || !query_may_see(q, "", r))
		return false;
	if (session_id_parse(q->match.id, &f->id) == 0 && f->id.worker < UINT16_MAX)
		return true;
	reply_problem(r, 404, "id", "no such session");
	return false;
}

static void ask(struct core *c, const struct request *q, const struct census_filter *f, bool end,
                size_t most, struct reply *r)
{
	struct counting *n;
	int err = -ENOMEM;

	if (!query_may_wait(q, r))
		return;
	n = calloc(1, sizeof(*n));
	if (n != NULL)
		err = census_new(f, end, most, c->wake_fd, crew_size(c->crew), &n->census);
	if (err != 0) {
		free(n);
		reply_problem(r, 503, NULL, "%s", strerror(-err));
		return;
	}
	n->pending = (struct pending){.ready = counting_ready, .drop = counting_drop};
	crew_census(c->crew, n->census);
	r->pending = &n->pending;
}

/* The census of a request that has waited; NULL after it has answered. */
static const struct census *answered(const struct request *q, struct reply *r)
{
	const struct census *census = ((const struct counting *)(const void *)q->pending)->census;

	if (census_is_done(census))
		return census;
	reply_problem(r, 503, NULL, "not every worker has answered in time");
	r->retry_after_secs = 1;
	return NULL;
}

static void log_ended(const struct request *q, const struct census *census)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "sessions_ended");
	log_uint(&l, "count", census_matched(census));
	if (q->match.id[0] != '\0')
		log_str(&l, "session", q->match.id);
	query_log_end(&l, q);
}

/* ---- routes ---- */

void route_sessions(struct core *c, const struct request *q, struct reply *r)
{
	const struct census *census;
	struct census_filter f;
	unsigned long limit;
	bool all;

	if (q->pending == NULL) {
		if (read_filter(q, &f, &limit, &all, r))
			ask(c, q, &f, false, limit, r);
		return;
	}
	census = answered(q, r);
	if (census != NULL)
		reply_json(r, 200,
		           json_pack("{s:o, s:I, s:I}", "sessions",
		                     records_json(census, SESSIONS_MAX), "matched",
		                     (json_int_t)census_matched(census), "seen",
		                     (json_int_t)census_seen(census)));
}

void route_end_sessions(struct core *c, const struct request *q, struct reply *r)
{
	const struct census *census;
	struct census_filter f;
	unsigned long limit;
	bool all;

	if (q->pending == NULL) {
		if (!read_filter(q, &f, &limit, &all, r))
			return;
		if (!all && !f.by_client && f.backend[0] == '\0' && f.app[0] == '\0' &&
		    f.country[0] == '\0')
			reply_problem(r, 400, NULL,
			              "which? client, backend, app, country, or all=true");
		else
			ask(c, q, &f, true, limit < ENDED_SHOWN ? limit : ENDED_SHOWN, r);
		return;
	}
	census = answered(q, r);
	if (census == NULL)
		return;
	log_ended(q, census);
	reply_json(r, 200,
	           json_pack("{s:I, s:o}", "ended", (json_int_t)census_matched(census), "sessions",
	                     records_json(census, ENDED_SHOWN)));
}

static void one_session(struct core *c, const struct request *q, bool end, struct reply *r)
{
	const struct census *census;
	struct census_filter f;
	size_t count;

	if (q->pending == NULL) {
		if (read_id(q, &f, r))
			ask(c, q, &f, end, 1, r);
		return;
	}
	census = answered(q, r);
	if (census == NULL)
		return;
	if (census_matched(census) == 0) {
		reply_problem(r, 404, "id", "no such session: it may have ended");
		return;
	}
	if (end)
		log_ended(q, census);
	reply_json(r, 200, record_json(census_records(census, &count)));
}

void route_session(struct core *c, const struct request *q, struct reply *r)
{
	one_session(c, q, false, r);
}

void route_end_session(struct core *c, const struct request *q, struct reply *r)
{
	one_session(c, q, true, r);
}
