/* What the API says of backends: one of them as it stands in the database, and each way in which
 * that may fail, in one wording for all handlers. That the database fails is logged here, once, and
 * so is that it is back. */
#include "registry/answer.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/etag.h"
#include "http/tokens.h"
#include "route/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a client should wait for when the database is busy. */
#define RETRY_SECS 1

/* ---- errors ---- */

void answer_database_state(struct registrar *g, int err)
{
	struct log_line l;

	if (g->database_failed == (err != 0))
		return;
	g->database_failed = err != 0;
	log_begin(&l, err != 0 ? LOG_WARN : LOG_INFO,
	          err != 0 ? "api_database_failed" : "api_database_back");
	if (err != 0)
		log_str(&l, "error", writer_error(g->writer));
	log_end(&l);
}

void answer_database(struct registrar *g, struct reply *r, int err)
{
	answer_database_state(g, err);
	reply_problem(r, 503, NULL, "%s",
	              err == -EBUSY ? "the routing database is locked by another process"
	                            : "the routing database cannot be used; the proxy's log "
	                              "says why");
	r->retry_after_secs = RETRY_SECS;
}

void answer_scope(struct reply *r, const char *field)
{
	reply_problem(r, 403, field, "the token does not cover this app");
}

void answer_unknown(struct reply *r)
{
	reply_problem(r, 404, NULL, "no such backend");
}

void answer_operators_row(struct reply *r)
{
	reply_problem(r, 409, "id",
	              "a row of this id was written by an operator; it can only be drained, "
	              "put into maint or made ready here");
}

/* ---- one backend ---- */

static int compare_id(const void *id, const void *backend)
{
	return strcmp(id, ((const struct backend *)backend)->id);
}

/* Connections that this POP has with it, or null while the table does not have it. */
static json_t *connections_of(const struct registrar *g, const char *id)
{
	const struct table *t = g->table;
	const struct backend *b = t == NULL ? NULL
	                                    : bsearch(id, t->backends, t->backend_count,
	                                              sizeof(t->backends[0]), compare_id);

	if (b == NULL)
		return json_null();
	return json_integer(live_connections(t->live, b->slot));
}

json_t *answer_text(const char *text)
{
	json_t *j = text[0] != '\0' ? json_string(text) : NULL;

	return j != NULL ? j : json_null();
}

static json_t *secs_or_null(bool known, int64_t secs)
{
	return known ? json_integer(secs > 0 ? secs : 0) : json_null();
}

/* A row with a word that is none is not routed by: what it shows is what it would be without. */
static const char *state_word(const char *text)
{
	enum admin_state state;

	return admin_state_word(admin_state_parse(text, &state) == 0 ? state : STATE_READY);
}

json_t *answer_row(const struct registrar *g, const struct backend_record *b)
{
	const struct registration *e = registry_find(g->registry, b->id);
	bool heard = b->registered && e != NULL && e->heard;

	return json_pack(
		"{s:o, s:o, s:o, s:o, s:I, s:o, s:I, s:I, s:I, s:b, s:s, s:b, s:o, s:o, s:o, s:o}",
		"id", answer_text(b->id), "app", answer_text(b->app), "region",
		answer_text(b->region), "ip", answer_text(b->ip), "port", (json_int_t)b->port,
		"country", answer_text(b->country), "weight", (json_int_t)b->weight, "soft_limit",
		(json_int_t)b->soft_limit, "hard_limit", (json_int_t)b->hard_limit, "healthy",
		(int)b->healthy, "state", state_word(b->state), "registered", (int)b->registered,
		"last_heartbeat_secs",
		secs_or_null(heard, heard ? (int64_t)((clock_now_ms() - e->last_ms) / 1000) : 0),
		"registered_secs",
		secs_or_null(b->registered, (int64_t)time(NULL) - b->registered_at), "connections",
		connections_of(g, b->id), "pop", answer_text(b->pop));
}

bool answer_find(struct registrar *g, const struct request *q, const char *id,
                 struct backend_record *ret, struct reply *r)
{
	int err = writer_begin(g->writer, WRITER_READ);

	if (err == 0) {
		err = writer_find(g->writer, id, ret);
		writer_rollback(g->writer);
	}
	if (err == -ENOENT || (err == 0 && ret->deleted))
		answer_unknown(r);
	else if (err != 0)
		answer_database(g, r, err);
	else if (!token_covers(q->token, ret->app))
		answer_scope(r, NULL);
	else
		return true;
	return false;
}

void answer_backend(struct registrar *g, const struct request *q, const char *id, unsigned status,
                    struct reply *r)
{
	struct backend_record b;

	if (answer_find(g, q, id, &b, r))
		reply_json(r, status, answer_row(g, &b));
}

/* ---- conditions ---- */

static bool bad_condition(struct reply *r, const char *header)
{
	reply_problem(r, 400, header, "%s must be * or a list of entity tags in quotes", header);
	return false;
}

static bool failed_condition(struct reply *r, const char *header, const char *why)
{
	reply_problem(r, 412, header, "%s", why);
	return false;
}

/* The order is that of RFC 9110, 13.2.2. */
bool answer_condition(const struct request *q, const char *tag, bool reads, struct reply *r)
{
	bool named = false;

	if (q->if_match != NULL) {
		if (etag_named(q->if_match, tag, true, &named) != 0)
			return bad_condition(r, "If-Match");
		if (!named)
			return failed_condition(r, "If-Match",
			                        tag == NULL ? "there is no such backend"
			                                    : "it has changed since");
	}
	if (q->if_none_match == NULL)
		return true;
	if (etag_named(q->if_none_match, tag, false, &named) != 0)
		return bad_condition(r, "If-None-Match");
	if (!named)
		return true;
	if (!reads)
		return failed_condition(r, "If-None-Match", "it is there already");
	reply_not_modified(r);
	return false;
}
