/* Backends over the API: who may change what, in which order, and what is told of it.
 *
 * The database is asked within the transaction that changes it, so no decision rests on what
 * somebody else has changed since. Three rules: a row that an operator wrote is never rewritten or
 * removed here, only its admin state is set; a token touches only the apps that it covers; and the
 * registry follows what was committed, never the other way round. A heartbeat of a backend that is
 * alive touches memory only. */
#include "api/core.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Silences that one transaction writes. */
#define DUE_BATCH 256
/* What a client should wait for when the database is busy. */
#define RETRY_SECS 1

static void log_backend(const struct request *q, const char *event, const char *id, const char *app)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, event);
	log_str(&l, "backend", id);
	log_str(&l, "app", app);
	log_str(&l, "by", q != NULL && q->token != NULL ? q->token->name : NULL);
	log_end(&l);
}

/* ---- errors ---- */

/* Said once, until the database can be used again. */
static void database_said(struct core *c, int err)
{
	struct log_line l;

	if (c->database_failed == (err != 0))
		return;
	c->database_failed = err != 0;
	log_begin(&l, err != 0 ? LOG_WARN : LOG_INFO,
	          err != 0 ? "api_database_failed" : "api_database_back");
	if (err != 0)
		log_str(&l, "error", writer_error(c->writer));
	log_end(&l);
}

static void reply_database(struct core *c, struct reply *r, int err)
{
	database_said(c, err);
	reply_problem(r, 503, NULL, "%s",
	              err == -EBUSY ? "the routing database is locked by another process"
	                            : "the routing database cannot be used; the proxy's log "
	                              "says why");
	r->retry_after_secs = RETRY_SECS;
}

static void reply_scope(struct reply *r, const char *field)
{
	reply_problem(r, 403, field, "the token does not cover this app");
}

static void reply_unknown(struct reply *r)
{
	reply_problem(r, 404, NULL, "no such backend");
}

static void reply_operators(struct reply *r)
{
	reply_problem(r, 409, "id",
	              "a row of this id was written by an operator; it can only be drained, "
	              "put into maint or made ready here");
}

/* ---- what a backend looks like ---- */

static int compare_id(const void *id, const void *backend)
{
	return strcmp(id, ((const struct backend *)backend)->id);
}

/* Connections that this POP has with it, or null while the table does not have it. */
static json_t *connections_of(const struct core *c, const char *id)
{
	const struct table *t = c->table;
	const struct backend *b = t == NULL ? NULL
	                                    : bsearch(id, t->backends, t->backend_count,
	                                              sizeof(t->backends[0]), compare_id);

	if (b == NULL)
		return json_null();
	return json_integer(live_connections(t->live, b->slot));
}

static json_t *text_or_null(const char *text)
{
	json_t *j = text[0] != '\0' ? json_string(text) : NULL;

	return j != NULL ? j : json_null();
}

static json_t *secs_or_null(bool known, int64_t secs)
{
	return known ? json_integer(secs > 0 ? secs : 0) : json_null();
}

static json_t *backend_json(const struct core *c, const struct backend_record *b)
{
	const struct registration *e = registry_find(c->registry, b->id);
	bool heard = b->registered && e != NULL && e->heard;

	return json_pack(
		"{s:o, s:o, s:o, s:o, s:I, s:o, s:I, s:I, s:I, s:b, s:s, s:b, s:o, s:o, s:o}", "id",
		text_or_null(b->id), "app", text_or_null(b->app), "region", text_or_null(b->region),
		"ip", text_or_null(b->ip), "port", (json_int_t)b->port, "country",
		text_or_null(b->country), "weight", (json_int_t)b->weight, "soft_limit",
		(json_int_t)b->soft_limit, "hard_limit", (json_int_t)b->hard_limit, "healthy",
		(int)b->healthy, "state",
		strcmp(b->state, "drain") == 0 || strcmp(b->state, "maint") == 0 ? b->state
										 : "ready",
		"registered", (int)b->registered, "last_heartbeat_secs",
		secs_or_null(heard, heard ? (int64_t)((clock_now_ms() - e->last_ms) / 1000) : 0),
		"registered_secs",
		secs_or_null(b->registered, (int64_t)time(NULL) - b->registered_at), "connections",
		connections_of(c, b->id));
}

/* ---- registration ---- */

/* May this request have the id? False after it has answered. */
static bool may_register(const struct request *q, const struct registration_request *wanted,
                         const struct backend_record *old, struct reply *r)
{
	if (!old->registered) {
		reply_operators(r);
		return false;
	}
	if (old->deleted || strcmp(old->app, wanted->app) == 0)
		return true;
	if (token_covers(q->token, old->app))
		reply_problem(r, 409, "app",
		              "this id is registered for another app; remove it "
		              "there first");
	else
		reply_problem(r, 409, "id", "this id is taken");
	return false;
}

/* Within a transaction, which it ends. Answers only what went wrong: returns false then. */
static bool write_registration(struct core *c, const struct request *q,
                               const struct registration_request *wanted, bool *ret_created,
                               bool *ret_changed, struct reply *r)
{
	struct backend_record old = {0};
	int err = writer_find(c->writer, wanted->id, &old);

	if (err != 0 && err != -ENOENT) {
		writer_rollback(c->writer);
		reply_database(c, r, err);
		return false;
	}
	*ret_created = err == -ENOENT || old.deleted;
	if (err == 0 && !may_register(q, wanted, &old, r)) {
		writer_rollback(c->writer);
		return false;
	}
	err = writer_register(c->writer, wanted, (int64_t)time(NULL), ret_changed);
	if (err == 0)
		err = writer_commit(c->writer);
	else
		writer_rollback(c->writer);
	if (err != 0)
		reply_database(c, r, err);
	return err == 0;
}

/* 0; an answer has been given otherwise. */
static int read_registration(struct core *c, const struct request *q, const char *path_id,
                             struct registration_request *ret, struct reply *r)
{
	const struct registration_rules rules = {
		.app = c->config->app,
		.path_id = path_id,
		.allow = c->config->api_allow_addrs,
	};
	struct field_error bad;
	int err = registration_request_parse(q->body, q->body_len, &rules, ret, &bad);

	if (err != 0)
		reply_problem(r, 400, bad.field[0] != '\0' ? bad.field : NULL, "%s%s%s", bad.field,
		              bad.field[0] != '\0' ? " " : "", bad.why);
	else if (!token_covers(q->token, ret->app)) {
		err = -EACCES;
		reply_scope(r, "app");
	}
	return err;
}

static bool register_backend(struct core *c, const struct request *q, const char *path_id,
                             struct registration_request *wanted, bool *ret_created,
                             struct reply *r)
{
	bool changed = false;
	int err;

	if (read_registration(c, q, path_id, wanted, r) != 0)
		return false;
	if (registry_find(c->registry, wanted->id) == NULL &&
	    registry_count(c->registry) == REGISTRATIONS_MAX) {
		reply_problem(r, 503, NULL, "there are as many registrations as can be");
		return false;
	}
	err = writer_begin(c->writer, WRITER_WRITE);
	if (err != 0) {
		reply_database(c, r, err);
		return false;
	}
	if (!write_registration(c, q, wanted, ret_created, &changed, r))
		return false;
	database_said(c, 0);
	if (registry_add(c->registry, wanted->id, wanted->app, clock_now_ms()) != 0) {
		/* It is in the database, so the next synchronisation brings it here. */
		reply_problem(r, 503, NULL, "out of memory");
		return false;
	}
	if (changed)
		log_backend(q, "backend_registered", wanted->id, wanted->app);
	return true;
}

void route_register(struct core *c, const struct request *q, struct reply *r)
{
	struct registration_request wanted;
	bool created = false;

	if (register_backend(c, q, NULL, &wanted, &created, r))
		reply_json(r, created ? 201 : 200,
		           json_pack("{s:s, s:b, s:s, s:I}", "id", wanted.id, "registered", 1,
		                     "message", created ? "registered" : "renewed", "ttl_secs",
		                     (json_int_t)c->config->heartbeat_ttl_secs));
}

/* One backend as it stands in the database now. */
static void reply_backend(struct core *c, const struct request *q, const char *id, unsigned status,
                          struct reply *r)
{
	struct backend_record b;
	int err = writer_begin(c->writer, WRITER_READ);

	if (err == 0) {
		err = writer_find(c->writer, id, &b);
		writer_rollback(c->writer);
	}
	if (err == -ENOENT || (err == 0 && b.deleted))
		reply_unknown(r);
	else if (err != 0)
		reply_database(c, r, err);
	else if (!token_covers(q->token, b.app))
		reply_scope(r, NULL);
	else
		reply_json(r, status, backend_json(c, &b));
}

void route_put(struct core *c, const struct request *q, struct reply *r)
{
	struct registration_request wanted;
	bool created = false;

	if (register_backend(c, q, q->match.id, &wanted, &created, r))
		reply_backend(c, q, wanted.id, created ? 201 : 200, r);
}

/* ---- heartbeats ---- */

/* One that had fallen silent is heard again: the database must say so before clients come. */
static int revive(struct core *c, struct registration *e)
{
	int err = writer_begin(c->writer, WRITER_WRITE);

	if (err != 0)
		return err;
	err = writer_set_late(c->writer, e->id, false);
	if (err == 0)
		err = writer_commit(c->writer);
	else
		writer_rollback(c->writer);
	if (err == 0)
		registry_set_late(c->registry, e, false);
	return err;
}

void route_heartbeat(struct core *c, const struct request *q, struct reply *r)
{
	struct registration *e = registry_find(c->registry, q->match.id);
	int err = 0;

	if (e == NULL) {
		reply_problem(r, 404, NULL, "this backend is not registered: register it");
		return;
	}
	if (!token_covers(q->token, e->app)) {
		reply_scope(r, NULL);
		return;
	}
	registry_beat(c->registry, e, clock_now_ms());
	if (e->late) {
		err = revive(c, e);
		if (err == 0)
			log_backend(q, "heartbeat_resumed", e->id, e->app);
	}
	if (err != 0)
		reply_database(c, r, err);
	else
		reply_json(r, 200,
		           json_pack("{s:s, s:s, s:I}", "id", e->id, "status", "ok", "ttl_secs",
		                     (json_int_t)c->config->heartbeat_ttl_secs));
}

/* ---- reading ---- */

void route_show(struct core *c, const struct request *q, struct reply *r)
{
	reply_backend(c, q, q->match.id, 200, r);
}

struct list_query {
	char app[APP_NAME_MAX + 1];
	char region[REGION_NAME_MAX + 1];
	char state[8];
	char after[BACKEND_ID_MAX + 1];
	char healthy[8];
	char limit[8];
};

/* Where a parameter of this name goes; NULL: there is none. */
static char *list_parameter(struct list_query *l, const char *key, size_t *ret_room)
{
	const struct {
		const char *key;
		char *to;
		size_t room;
	} all[] = {
		{"app", l->app, sizeof(l->app)},       {"region", l->region, sizeof(l->region)},
		{"state", l->state, sizeof(l->state)}, {"after", l->after, sizeof(l->after)},
		{"limit", l->limit, sizeof(l->limit)}, {"healthy", l->healthy, sizeof(l->healthy)},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(all[i].key, key) == 0) {
			*ret_room = all[i].room - 1;
			return all[i].to;
		}
	}
	return NULL;
}

static bool read_limit(const char *text, int *ret)
{
	int limit = 0;

	if (text[0] == '\0') {
		*ret = API_PAGE_DEFAULT;
		return true;
	}
	for (const char *p = text; *p != '\0'; p++) {
		if (*p < '0' || *p > '9' || limit > API_PAGE_MAX)
			return false;
		limit = limit * 10 + (*p - '0');
	}
	*ret = limit;
	return limit >= 1 && limit <= API_PAGE_MAX;
}

/* False after it has answered. */
static bool read_list_query(const struct request *q, struct list_query *l, struct writer_filter *f,
                            struct reply *r)
{
	for (size_t i = 0; i < q->query_count; i++) {
		const char *key = q->query[i].key;
		size_t room = 0;
		char *to = list_parameter(l, key, &room);

		if (to == NULL || to[0] != '\0') {
			reply_problem(r, 400, key, "%.40s %s", key,
			              to == NULL ? "is no parameter of this list" : "comes twice");
			return false;
		}
		if (percent_decode(q->query[i].value, strlen(q->query[i].value), to, room) != 0 ||
		    to[0] == '\0') {
			reply_problem(r, 400, key, "%s must be 1..%zu bytes, percent-encoded", key,
			              room);
			return false;
		}
	}
	f->healthy = strcmp(l->healthy, "true") == 0    ? 1
	             : strcmp(l->healthy, "false") == 0 ? 0
	                                                : -1;
	if (l->healthy[0] != '\0' && f->healthy < 0) {
		reply_problem(r, 400, "healthy", "healthy must be true or false");
		return false;
	}
	if (!read_limit(l->limit, &f->limit)) {
		reply_problem(r, 400, "limit", "limit must be 1..%d", API_PAGE_MAX);
		return false;
	}
	f->app = l->app[0] != '\0' ? l->app : NULL;
	f->region = l->region[0] != '\0' ? l->region : NULL;
	f->state = l->state[0] != '\0' ? l->state : NULL;
	f->after = l->after[0] != '\0' ? l->after : NULL;
	return true;
}

struct listing {
	struct core *c;
	json_t *rows;
	char last[BACKEND_ID_MAX + 1];
};

static void list_row(void *arg, const struct backend_record *b)
{
	struct listing *l = arg;

	memcpy(l->last, b->id, sizeof(l->last));
	(void)json_array_append_new(l->rows, backend_json(l->c, b));
}

void route_list(struct core *c, const struct request *q, struct reply *r)
{
	struct list_query l = {0};
	struct writer_filter f = {0};
	struct listing listing = {.c = c};
	const char *apps[TOKEN_APPS_MAX];
	int64_t total = 0;
	bool full;
	int err;

	if (!read_list_query(q, &l, &f, r))
		return;
	if (f.app != NULL && !token_covers(q->token, f.app)) {
		reply_scope(r, "app");
		return;
	}
	f.app_count = q->token != NULL ? q->token->app_count : 0;
	for (size_t i = 0; i < f.app_count; i++)
		apps[i] = q->token->apps[i];
	f.apps = apps;
	err = writer_begin(c->writer, WRITER_READ);
	if (err != 0) {
		reply_database(c, r, err);
		return;
	}
	listing.rows = json_array();
	err = writer_list(c->writer, &f, list_row, &listing, &total);
	writer_rollback(c->writer);
	if (err != 0) {
		json_decref(listing.rows);
		reply_database(c, r, err);
		return;
	}
	full = json_array_size(listing.rows) == (size_t)f.limit;
	reply_json(r, 200,
	           json_pack("{s:o, s:I, s:o}", "backends", listing.rows, "total",
	                     (json_int_t)total, "next",
	                     full ? text_or_null(listing.last) : json_null()));
}

/* ---- changes by operators ---- */

/* Begins a transaction and finds the backend of the request. False after it has answered, and then
 * there is no transaction. */
static bool begin_change(struct core *c, const struct request *q, struct backend_record *ret,
                         struct reply *r)
{
	int err = writer_begin(c->writer, WRITER_WRITE);

	if (err == 0) {
		err = writer_find(c->writer, q->match.id, ret);
		if (err == 0 && !ret->deleted && token_covers(q->token, ret->app))
			return true;
		writer_rollback(c->writer);
	}
	if (err == -ENOENT || (err == 0 && ret->deleted))
		reply_unknown(r);
	else if (err == 0)
		reply_scope(r, NULL);
	else
		reply_database(c, r, err);
	return false;
}

static bool end_change(struct core *c, int err, struct reply *r)
{
	if (err == 0)
		err = writer_commit(c->writer);
	else
		writer_rollback(c->writer);
	if (err != 0)
		reply_database(c, r, err);
	else
		database_said(c, 0);
	return err == 0;
}

void route_remove(struct core *c, const struct request *q, struct reply *r)
{
	struct registration *e;
	struct backend_record b;

	if (!begin_change(c, q, &b, r))
		return;
	if (!b.registered) {
		writer_rollback(c->writer);
		reply_operators(r);
		return;
	}
	if (!end_change(c, writer_delete(c->writer, b.id, (int64_t)time(NULL)), r))
		return;
	e = registry_find(c->registry, b.id);
	if (e != NULL)
		registry_remove(c->registry, e);
	log_backend(q, "backend_deregistered", b.id, b.app);
	reply_json(r, 200, json_pack("{s:s, s:b}", "id", b.id, "deregistered", 1));
}

static void change_state(struct core *c, const struct request *q, const char *state,
                         struct reply *r)
{
	struct backend_record b;
	struct log_line l;

	if (!begin_change(c, q, &b, r) ||
	    !end_change(c, writer_set_state(c->writer, b.id, state), r))
		return;
	log_begin(&l, LOG_INFO, "backend_state");
	log_str(&l, "backend", b.id);
	log_str(&l, "app", b.app);
	log_str(&l, "state", state);
	log_str(&l, "by", q->token != NULL ? q->token->name : NULL);
	log_end(&l);
	reply_backend(c, q, b.id, 200, r);
}

void route_drain(struct core *c, const struct request *q, struct reply *r)
{
	change_state(c, q, "drain", r);
}

void route_ready(struct core *c, const struct request *q, struct reply *r)
{
	change_state(c, q, "ready", r);
}

void route_maint(struct core *c, const struct request *q, struct reply *r)
{
	change_state(c, q, "maint", r);
}

/* ---- the clock ---- */

struct sync {
	struct core *c;
	uint64_t now_ms;
};

static int sync_row(void *arg, const char *id, const char *app, bool late)
{
	struct sync *s = arg;

	return registry_sync(s->c->registry, id, app, late, s->now_ms);
}

int backends_sync(struct core *c, uint64_t now_ms)
{
	struct sync s = {.c = c, .now_ms = now_ms};
	int err = writer_begin(c->writer, WRITER_READ);

	if (err == 0) {
		registry_sync_begin(c->registry);
		err = writer_registrations(c->writer, sync_row, &s);
		if (err == 0) {
			registry_sync_end(c->registry);
			writer_seen(c->writer);
		}
		writer_rollback(c->writer);
	}
	database_said(c, err);
	return err;
}

/* Writes down all that is due in one transaction, and only then believes it. */
static int write_due(struct core *c, struct registration **due, size_t count)
{
	int err = writer_begin(c->writer, WRITER_WRITE);

	if (err != 0)
		return err;
	for (size_t i = 0; err == 0 && i < count; i++)
		err = due[i]->late ? writer_delete(c->writer, due[i]->id, (int64_t)time(NULL))
		                   : writer_set_late(c->writer, due[i]->id, true);
	if (err == 0)
		err = writer_purge(c->writer, (int64_t)time(NULL));
	if (err == 0)
		return writer_commit(c->writer);
	writer_rollback(c->writer);
	return err;
}

void backends_tick(struct core *c, uint64_t now_ms)
{
	struct registration *due[DUE_BATCH];
	size_t count;
	int err;

	if (writer_changed(c->writer) && backends_sync(c, now_ms) != 0)
		return;
	count = registry_due(c->registry, now_ms, due, DUE_BATCH);
	if (count == 0)
		return;
	err = write_due(c, due, count);
	database_said(c, err);
	if (err != 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct registration *e = due[i];

		log_backend(NULL, e->late ? "registration_forgotten" : "heartbeat_missed", e->id,
		            e->app);
		if (e->late)
			registry_remove(c->registry, e);
		else
			registry_set_late(c->registry, e, true);
	}
}
