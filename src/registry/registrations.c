/* Backends that register and leave.
 *
 * Two rules: a row that an operator wrote is never rewritten or removed here; and the registry
 * follows what was committed, never the other way round. A registration belongs to the POP that was
 * asked for it last, since that is where the backend will be heard. */
#include "registry/registrations.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/etag.h"
#include "registry/answer.h"
#include "registry/change.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* What came of one. */
struct registered {
	bool created;
	bool changed;
	bool moved;                  /* from another POP, */
	char from[POP_NAME_MAX + 1]; /* which is this one */
};

static void log_move(const struct registrar *g, const struct request *q,
                     const struct registration_request *wanted, const struct registered *d)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "registration_moved");
	log_str(&l, "backend", wanted->id);
	log_str(&l, "app", wanted->app);
	log_str(&l, "from", d->from);
	log_str(&l, "to", g->config->pop);
	log_str(&l, "by", q->token != NULL ? q->token->name : NULL);
	log_end(&l);
}

/* The conditions of a request that changes the row old; is_there false: there is none. */
static bool may_change(const struct request *q, const struct backend_record *old, bool is_there,
                       struct reply *r)
{
	char tag[REPLY_ETAG_MAX];

	if (is_there)
		etag_format(backend_record_hash(BACKEND_RECORD_HASH_BEGIN, old), false, tag);
	return answer_condition(q, is_there ? tag : NULL, false, r);
}

/* May this request have the id? False after it has answered. */
static bool may_register(const struct request *q, const struct registration_request *wanted,
                         const struct backend_record *old, struct reply *r)
{
	if (!old->registered) {
		answer_operators_row(r);
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
static bool write_registration(struct registrar *g, const struct request *q, const char *path_id,
                               const struct registration_request *wanted, struct registered *ret,
                               struct reply *r)
{
	struct backend_record old = {0};
	int err = writer_find(g->writer, wanted->id, &old);

	if (err != 0 && err != -ENOENT) {
		writer_rollback(g->writer);
		answer_database(g, r, err);
		return false;
	}
	ret->created = err == -ENOENT || old.deleted;
	ret->moved = !ret->created && !old.own;
	memcpy(ret->from, old.pop, sizeof(ret->from));
	if ((err == 0 && !may_register(q, wanted, &old, r)) ||
	    (path_id != NULL && !may_change(q, &old, !ret->created, r))) {
		writer_rollback(g->writer);
		return false;
	}
	err = writer_register(g->writer, wanted, (int64_t)time(NULL), &ret->changed);
	return change_end(g, err, r);
}

/* 0; an answer has been given otherwise. */
static int read_registration(struct registrar *g, const struct request *q, const char *path_id,
                             struct registration_request *ret, struct reply *r)
{
	const struct registration_rules rules = {
		.app = g->config->app,
		.path_id = path_id,
		.allow = g->config->api_allow_addrs,
	};
	struct field_error bad;
	int err = registration_request_parse(q->body, q->body_len, &rules, ret, &bad);

	if (err != 0)
		reply_problem(r, 400, bad.field[0] != '\0' ? bad.field : NULL, "%s%s%s", bad.field,
		              bad.field[0] != '\0' ? " " : "", bad.why);
	else if (!token_covers(q->token, ret->app)) {
		err = -EACCES;
		answer_scope(r, "app");
	}
	return err;
}

static bool register_backend(struct registrar *g, const struct request *q, const char *path_id,
                             struct registration_request *wanted, struct registered *ret,
                             struct reply *r)
{
	int err;

	if (read_registration(g, q, path_id, wanted, r) != 0)
		return false;
	if (registry_find(g->registry, wanted->id) == NULL &&
	    registry_count(g->registry) == REGISTRATIONS_MAX) {
		reply_problem(r, 503, NULL, "there are as many registrations as can be");
		return false;
	}
	err = writer_begin(g->writer, WRITER_WRITE);
	if (err != 0) {
		answer_database(g, r, err);
		return false;
	}
	if (!write_registration(g, q, path_id, wanted, ret, r))
		return false;
	if (registry_add(g->registry, wanted->id, wanted->app, clock_now_ms()) != 0) {
		/* It is in the database, so the next synchronisation brings it here. */
		reply_problem(r, 503, NULL, "out of memory");
		return false;
	}
	if (ret->moved)
		log_move(g, q, wanted, ret);
	else if (ret->changed)
		change_log(q, "backend_registered", wanted->id, wanted->app);
	return true;
}

void registrations_register(struct registrar *g, const struct request *q, struct reply *r)
{
	struct registration_request wanted;
	struct registered done = {0};

	if (register_backend(g, q, NULL, &wanted, &done, r))
		reply_json(r, done.created ? 201 : 200,
		           json_pack("{s:s, s:b, s:s, s:I}", "id", wanted.id, "registered", 1,
		                     "message", done.created ? "registered" : "renewed", "ttl_secs",
		                     (json_int_t)g->config->heartbeat_ttl_secs));
}

void registrations_put(struct registrar *g, const struct request *q, struct reply *r)
{
	struct registration_request wanted;
	struct registered done = {0};

	if (register_backend(g, q, q->match.id, &wanted, &done, r))
		answer_backend(g, q, wanted.id, done.created ? 201 : 200, r);
}

void registrations_remove(struct registrar *g, const struct request *q, struct reply *r)
{
	struct registration *e;
	struct backend_record b;

	if (!change_begin(g, q, &b, r))
		return;
	if (!b.registered) {
		writer_rollback(g->writer);
		answer_operators_row(r);
		return;
	}
	if (!may_change(q, &b, true, r)) {
		writer_rollback(g->writer);
		return;
	}
	if (!change_end(g, writer_delete(g->writer, b.id, (int64_t)time(NULL)), r))
		return;
	e = registry_find(g->registry, b.id);
	if (e != NULL)
		registry_remove(g->registry, e);
	change_log(q, "backend_deregistered", b.id, b.app);
	reply_json(r, 200, json_pack("{s:s, s:b}", "id", b.id, "deregistered", 1));
}
