/* Backends as operators see them: the list with its filters and pages, one of them, and the admin
 * states drain, ready and maint, which every row may be given, whoever wrote it. */
#include "registry/backends.h"

#include "base/hash.h"
#include "base/log.h"
#include "http/etag.h"
#include "registry/answer.h"
#include "registry/change.h"
#include "registry/list_query.h"

#include <string.h>

/* ---- reading ---- */

void backends_show(struct registrar *g, const struct request *q, struct reply *r)
{
	struct backend_record b;

	if (!answer_find(g, q, q->match.id, &b, r))
		return;
	etag_format(backend_record_hash(BACKEND_RECORD_HASH_BEGIN, &b), false, r->etag);
	if (answer_condition(q, r->etag, true, r))
		reply_json(r, 200, answer_row(g, &b));
}

struct listing {
	const struct registrar *g;
	json_t *rows;
	char last[BACKEND_ID_MAX + 1];
	uint64_t hash;
};

static void list_row(void *arg, const struct backend_record *b)
{
	struct listing *l = arg;

	memcpy(l->last, b->id, sizeof(l->last));
	l->hash = backend_record_hash(l->hash, b);
	(void)json_array_append_new(l->rows, answer_row(l->g, b));
}

void backends_list(struct registrar *g, const struct request *q, struct reply *r)
{
	struct list_query l;
	struct backend_filter f = {0};
	struct listing listing = {.g = g, .hash = BACKEND_RECORD_HASH_BEGIN};
	const char *apps[TOKEN_APPS_MAX];
	int64_t total = 0;
	bool full;
	int err;

	if (!list_query_parse(q, &l, &f, r))
		return;
	if (f.app != NULL && !token_covers(q->token, f.app)) {
		answer_scope(r, "app");
		return;
	}
	f.app_count = q->token != NULL ? q->token->app_count : 0;
	for (size_t i = 0; i < f.app_count; i++)
		apps[i] = q->token->apps[i];
	f.apps = apps;
	err = writer_begin(g->writer, WRITER_READ);
	if (err != 0) {
		answer_database(g, r, err);
		return;
	}
	listing.rows = json_array();
	err = writer_list(g->writer, &f, list_row, &listing, &total);
	writer_rollback(g->writer);
	if (err != 0) {
		json_decref(listing.rows);
		answer_database(g, r, err);
		return;
	}
	/* Of the page, and of how many there are in all. */
	etag_format(hash_mix(listing.hash + (uint64_t)total), true, r->etag);
	if (!answer_condition(q, r->etag, true, r)) {
		json_decref(listing.rows);
		return;
	}
	full = json_array_size(listing.rows) == (size_t)f.limit;
	reply_json(r, 200,
	           json_pack("{s:o, s:I, s:o}", "backends", listing.rows, "total",
	                     (json_int_t)total, "next",
	                     full ? answer_text(listing.last) : json_null()));
}

/* ---- admin states ---- */

void backends_set_state(struct registrar *g, const struct request *q, enum admin_state state,
                        struct reply *r)
{
	struct backend_record b;
	struct log_line l;

	if (!change_begin(g, q, &b, r) ||
	    !change_end(g, writer_set_state(g->writer, b.id, state), r))
		return;
	log_begin(&l, LOG_INFO, "backend_state");
	log_str(&l, "backend", b.id);
	log_str(&l, "app", b.app);
	log_str(&l, "state", admin_state_word(state));
	log_str(&l, "by", q->token != NULL ? q->token->name : NULL);
	log_end(&l);
	answer_backend(g, q, b.id, 200, r);
}
