/* Writes to the routing database what registrations and operators of the API ask for, in short
 * transactions of its own connection, so that whoever reads the file sees all of a change or none.
 * The proxy itself learns of it like of any other change: control/reload.c sees the commit.
 *
 * Rows are updated or inserted, never replaced, because a REPLACE would lose columns that this
 * program does not know; they are deleted softly, because replicas merge columns. Which rows came
 * from a registration stands in a table of its own, `registrations`, so that the columns of
 * backends stay the operator's: an INSERT with the ten values of the seed goes on working. The
 * optional columns country and state are added when they are first needed.
 *
 * Where the database is replicated to several POPs, each has a name, and `registrations` a column
 * of it: a registration belongs to the POP that made it last. Without that column every one is
 * ours; with it those that name us, or nobody where we have no name. Whoever adds the column had
 * the database to himself until then, so all that is there becomes his.
 *
 * Every call may fail (database.h) and leaves nothing half done. */
#include "registry/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows that one purge removes. */
#define PURGE_ROWS 1000
#define SQL_MAX 4096

static const char registrations_sql[] =
	"CREATE TABLE IF NOT EXISTS registrations (\n"
	"    id TEXT PRIMARY KEY NOT NULL,  -- of backends\n"
	"    registered_at INTEGER,         -- UNIX seconds\n"
	"    late INTEGER DEFAULT 0,        -- 1: unhealthy because no heartbeat came\n"
	"    deleted_at INTEGER             -- UNIX seconds; NULL: not\n"
	");\n";

struct writer {
	struct database *database;
	struct backend_rows rows;
};

int writer_new(const char *path, const char *pop, struct writer **ret_writer)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	if (database_new(path, &w->database) != 0) {
		free(w);
		return -ENOMEM;
	}
	w->rows.database = w->database;
	snprintf(w->rows.pop, sizeof(w->rows.pop), "%s", pop);
	*ret_writer = w;
	return 0;
}

void writer_free(struct writer *w)
{
	if (w == NULL)
		return;
	database_free(w->database);
	free(w);
}

const char *writer_error(const struct writer *w)
{
	return database_error(w->database);
}

/* ---- transactions ---- */

/* What registrations need in the database. */
static int make_registrations(struct writer *w)
{
	int err = w->rows.has_registrations ? 0 : database_run(w->database, registrations_sql, "");

	w->rows.has_registrations |= err == 0;
	if (err != 0 || w->rows.has_pop || w->rows.pop[0] == '\0')
		return err;
	err = database_run(w->database, "ALTER TABLE registrations ADD COLUMN pop TEXT", "");
	if (err == 0)
		err = database_run(w->database, "UPDATE registrations SET pop = ?", "t",
		                   w->rows.pop);
	w->rows.has_pop = err == 0;
	return err;
}

int writer_begin(struct writer *w, enum writer_intent intent)
{
	int err = database_begin(w->database, intent == WRITER_WRITE);

	if (err != 0)
		return err;
	err = backend_rows_look(&w->rows);
	if (err == 0 && intent == WRITER_WRITE)
		err = make_registrations(w);
	if (err != 0)
		writer_rollback(w);
	return err;
}

int writer_commit(struct writer *w)
{
	return database_commit(w->database);
}

void writer_rollback(struct writer *w)
{
	database_rollback(w->database);
}

bool writer_changed(struct writer *w)
{
	return database_changed(w->database);
}

void writer_seen(struct writer *w)
{
	database_seen(w->database);
}

/* ---- reading ---- */

int writer_find(struct writer *w, const char *id, struct backend_record *ret)
{
	return backend_rows_find(&w->rows, id, ret);
}

int writer_list(struct writer *w, const struct backend_filter *filter,
                void (*row)(void *arg, const struct backend_record *record), void *arg,
                int64_t *ret_total)
{
	return backend_rows_list(&w->rows, filter, row, arg, ret_total);
}

int writer_registrations(struct writer *w,
                         int (*row)(void *arg, const char *id, const char *app, bool late),
                         void *arg)
{
	return backend_rows_registered(&w->rows, row, arg);
}

/* ---- changes ---- */

static int add_column(struct writer *w, bool *has, const char *sql)
{
	int err = *has ? 0 : database_run(w->database, sql, "");

	*has = *has || err == 0;
	return err;
}

static bool says_the_same(const struct backend_record *old, const struct registration_request *q)
{
	return strcmp(old->app, q->app) == 0 && strcmp(old->region, q->region) == 0 &&
	       strcmp(old->ip, q->ip) == 0 && strcmp(old->country, q->country) == 0 &&
	       old->port == q->port && old->weight == q->weight &&
	       old->soft_limit == q->soft_limit && old->hard_limit == q->hard_limit &&
	       old->healthy && !old->deleted && old->own && !old->late;
}

int writer_register(struct writer *w, const struct registration_request *q, int64_t now_unix,
                    bool *ret_changed)
{
	struct backend_record old = {0};
	int err = writer_find(w, q->id, &old);
	bool is_new = err == -ENOENT;

	if (err != 0 && !is_new)
		return err;
	*ret_changed = is_new || !says_the_same(&old, q);
	if (!*ret_changed)
		return 0;
	err = database_run(
		w->database,
		is_new ? "INSERT INTO backends (app, region, wg_ip, port, weight, soft_limit,"
			 " hard_limit, healthy, deleted, id) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, ?)"
		       : "UPDATE backends SET app = ?, region = ?, wg_ip = ?, port = ?, weight = ?,"
			 " soft_limit = ?, hard_limit = ?, healthy = 1, deleted = 0 WHERE id = ?",
		"tttiiiit", q->app, q->region, q->ip, (int64_t)q->port, (int64_t)q->weight,
		(int64_t)q->soft_limit, (int64_t)q->hard_limit, q->id);
	if (err == 0 && strcmp(old.country, q->country) != 0) {
		err = add_column(w, &w->rows.has_country,
		                 "ALTER TABLE backends ADD COLUMN country TEXT");
		if (err == 0)
			err = database_run(w->database,
			                   "UPDATE backends SET country = ? WHERE id = ?", "tt",
			                   q->country[0] != '\0' ? q->country : NULL, q->id);
	}
	/* A row that was deleted begins anew. */
	if (err == 0)
		err = database_run(
			w->database,
			"INSERT INTO registrations (id, registered_at, late, deleted_at)"
			" VALUES (?1, ?2, 0, NULL) ON CONFLICT (id) DO UPDATE SET late = 0,"
			" registered_at = CASE WHEN ?3 THEN ?2 ELSE registered_at END,"
			" deleted_at = NULL",
			"tii", q->id, now_unix, (int64_t)(is_new || old.deleted));
	if (err == 0 && w->rows.has_pop)
		err = database_run(
			w->database,
			"UPDATE registrations SET pop = ?1 WHERE id = ?2 AND pop IS NOT ?1", "tt",
			w->rows.pop[0] != '\0' ? w->rows.pop : NULL, q->id);
	return err;
}

int writer_set_late(struct writer *w, const char *id, bool late)
{
	int err = database_run(w->database, "UPDATE registrations SET late = ? WHERE id = ?", "it",
	                       (int64_t)late, id);

	if (err == 0)
		err = database_run(w->database, "UPDATE backends SET healthy = ? WHERE id = ?",
		                   "it", (int64_t)!late, id);
	return err;
}

int writer_set_state(struct writer *w, const char *id, enum admin_state state)
{
	int err = 0;

	if (state != STATE_READY)
		err = add_column(w, &w->rows.has_state,
		                 "ALTER TABLE backends ADD COLUMN state TEXT");
	if (err == 0 && w->rows.has_state)
		err = database_run(
			w->database,
			"UPDATE backends SET state = ?1 WHERE id = ?2 AND state IS NOT ?1", "tt",
			admin_state_word(state), id);
	return err;
}

int writer_delete(struct writer *w, const char *id, int64_t now_unix)
{
	int err = database_run(
		w->database, "UPDATE backends SET deleted = 1, healthy = 0 WHERE id = ?", "t", id);

	if (err == 0)
		err = database_run(w->database,
		                   "UPDATE registrations SET deleted_at = ?, late = 0 WHERE id = ?",
		                   "it", now_unix, id);
	return err;
}

int writer_purge(struct writer *w, int64_t now_unix)
{
	int64_t before = now_unix - WRITER_PURGE_SECS;
	char old[SQL_MAX / 2], sql[SQL_MAX];
	int err;

	snprintf(old, sizeof(old),
	         "SELECT r.id FROM registrations r LEFT JOIN backends b ON b.id = r.id"
	         " WHERE r.deleted_at <= ?1 AND (b.deleted = 1 OR b.id IS NULL)"
	         " AND coalesce(%s, ?3) = ?3 LIMIT ?2",
	         w->rows.has_pop ? "coalesce(r.pop, '')" : "NULL");
	snprintf(sql, sizeof(sql), "DELETE FROM backends WHERE id IN (%s)", old);
	err = database_run(w->database, sql, "iit", before, (int64_t)PURGE_ROWS, w->rows.pop);
	snprintf(sql, sizeof(sql), "DELETE FROM registrations WHERE id IN (%s)", old);
	if (err == 0)
		err = database_run(w->database, sql, "iit", before, (int64_t)PURGE_ROWS,
		                   w->rows.pop);
	return err;
}
