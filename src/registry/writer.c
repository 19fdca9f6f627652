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
 * The file may be replaced, missing, locked or broken at any time: every call may fail, waits for a
 * bounded time and leaves nothing half done. A file that was renamed over the path is noticed
 * before and after a transaction. */
#include "registry/writer.h"

#include "base/clock.h"
#include "control/db_error.h"
#include "control/fingerprint.h"

#include <errno.h>
#include <stdarg.h>
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
	char *path;
	char *open_path; /* for SQLite: never looks like ":memory:" or a URI */
	sqlite3 *db;     /* NULL: not open */
	dev_t dev;       /* what db has open */
	ino_t ino;
	bool has_country; /* columns and tables that may be missing, as of this transaction */
	bool has_state;
	bool has_registrations;
	bool has_pop;
	char pop[POP_NAME_MAX + 1]; /* ours; "": none */
	bool seen_valid;
	int64_t seen_version;
	uint64_t hurry_until_ms;
	char error[STORE_ERROR_MAX];
};

int writer_new(const char *path, const char *pop, struct writer **ret_writer)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->path = strdup(path);
	if (w->path == NULL ||
	    asprintf(&w->open_path, "%s%s", path[0] == '/' ? "" : "./", path) < 0) {
		free(w->path);
		free(w);
		return -ENOMEM;
	}
	snprintf(w->pop, sizeof(w->pop), "%s", pop);
	*ret_writer = w;
	return 0;
}

static void disconnect(struct writer *w)
{
	sqlite3_close(w->db);
	w->db = NULL;
	w->seen_valid = false;
}

void writer_free(struct writer *w)
{
	if (w == NULL)
		return;
	disconnect(w);
	free(w->path);
	free(w->open_path);
	free(w);
}

const char *writer_error(const struct writer *w)
{
	return w->error;
}

/* ---- statements ---- */

static int failed(struct writer *w, int rc)
{
	int err = db_error_sqlite(w->error, w->db, w->path, rc);

	if (err == -EBUSY)
		w->hurry_until_ms = clock_now_ms() + WRITER_BUSY_MS;
	return err;
}

/* Prepares sql and binds one value for each letter of kinds: t a text or NULL, i an int64_t. */
static int prepare(struct writer *w, sqlite3_stmt **ret, const char *sql, const char *kinds,
                   va_list args)
{
	int rc = sqlite3_prepare_v2(w->db, sql, -1, ret, NULL);

	for (int i = 1; rc == SQLITE_OK && kinds[i - 1] != '\0'; i++) {
		if (kinds[i - 1] == 't')
			rc = sqlite3_bind_text(*ret, i, va_arg(args, const char *), -1,
			                       SQLITE_STATIC);
		else
			rc = sqlite3_bind_int64(*ret, i, va_arg(args, int64_t));
	}
	if (rc == SQLITE_OK)
		return 0;
	rc = failed(w, rc);
	sqlite3_finalize(*ret);
	return rc;
}

static int query(struct writer *w, sqlite3_stmt **ret, const char *sql, const char *kinds, ...)
{
	va_list args;
	int err;

	va_start(args, kinds);
	err = prepare(w, ret, sql, kinds, args);
	va_end(args);
	return err;
}

/* One that has no rows to give. */
static int run(struct writer *w, const char *sql, const char *kinds, ...)
{
	sqlite3_stmt *stmt;
	va_list args;
	int err, rc;

	va_start(args, kinds);
	err = prepare(w, &stmt, sql, kinds, args);
	va_end(args);
	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	err = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : failed(w, rc);
	sqlite3_finalize(stmt);
	return err;
}

/* The first column of the first row; -ENOENT where there is none. */
static int ask(struct writer *w, int64_t *ret, const char *sql)
{
	sqlite3_stmt *stmt;
	int err = query(w, &stmt, sql, "");
	int rc;

	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	else
		err = rc == SQLITE_DONE ? -ENOENT : failed(w, rc);
	sqlite3_finalize(stmt);
	return err;
}

static int exists(struct writer *w, bool *ret, const char *sql)
{
	int64_t ignored;
	int err = ask(w, &ignored, sql);

	if (err != 0 && err != -ENOENT)
		return err;
	*ret = err == 0;
	return 0;
}

/* ---- connection and transactions ---- */

static int look(struct writer *w, struct fingerprint *ret)
{
	int err = fingerprint_take(w->path, ret);

	/* -ENOENT is for rows. */
	if (err == -ENOENT)
		return db_error(w->error, -EACCES, "%s: %s", w->path, strerror(ENOENT));
	if (err == 0 && ret->size == 0)
		return db_error(w->error, -EBADMSG, "%s: the file is empty", w->path);
	if (err != 0)
		return db_error(w->error, err, "%s: %s", w->path,
		                err == -EINVAL ? "not a regular file" : strerror(-err));
	return 0;
}

static int connect_to(struct writer *w, const struct fingerprint *file)
{
	int rc;

	disconnect(w);
	rc = sqlite3_open_v2(w->open_path, &w->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
	                     NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(w->db, 1);
		rc = sqlite3_exec(w->db,
		                  "PRAGMA mmap_size=0; PRAGMA trusted_schema=0;"
		                  "PRAGMA cell_size_check=1;",
		                  NULL, NULL, NULL);
	}
	if (rc != SQLITE_OK) {
		rc = failed(w, rc);
		disconnect(w);
		return rc;
	}
	w->dev = file->dev;
	w->ino = file->ino;
	return 0;
}

static int connected(struct writer *w)
{
	struct fingerprint now;
	int err = look(w, &now);

	if (err != 0) {
		disconnect(w);
		return err;
	}
	if (w->db != NULL && (w->dev != now.dev || w->ino != now.ino))
		disconnect(w);
	return w->db != NULL ? 0 : connect_to(w, &now);
}

static int look_at_schema(struct writer *w)
{
	int err = exists(w, &w->has_country,
	                 "SELECT 1 FROM pragma_table_info('backends') WHERE name = 'country'");

	if (err == 0)
		err = exists(w, &w->has_state,
		             "SELECT 1 FROM pragma_table_info('backends') WHERE name = 'state'");
	if (err == 0)
		err = exists(w, &w->has_registrations,
		             "SELECT 1 FROM sqlite_master WHERE type = 'table' AND "
		             "name = 'registrations'");
	if (err == 0)
		err = exists(w, &w->has_pop,
		             "SELECT 1 FROM pragma_table_info('registrations') WHERE name = 'pop'");
	return err;
}

/* What registrations need in the database. */
static int make_registrations(struct writer *w)
{
	int err = w->has_registrations ? 0 : run(w, registrations_sql, "");

	w->has_registrations |= err == 0;
	if (err != 0 || w->has_pop || w->pop[0] == '\0')
		return err;
	err = run(w, "ALTER TABLE registrations ADD COLUMN pop TEXT", "");
	if (err == 0)
		err = run(w, "UPDATE registrations SET pop = ?", "t", w->pop);
	w->has_pop = err == 0;
	return err;
}

int writer_begin(struct writer *w, enum writer_intent intent)
{
	int err = connected(w);

	if (err != 0)
		return err;
	sqlite3_busy_timeout(w->db,
	                     clock_now_ms() < w->hurry_until_ms ? WRITER_HURRY_MS : WRITER_BUSY_MS);
	err = run(w, intent == WRITER_WRITE ? "BEGIN IMMEDIATE" : "BEGIN", "");
	if (err == 0) {
		w->hurry_until_ms = 0;
		err = look_at_schema(w);
	}
	if (err == 0 && intent == WRITER_WRITE)
		err = make_registrations(w);
	if (err != 0)
		writer_rollback(w);
	return err;
}

int writer_commit(struct writer *w)
{
	struct fingerprint now;
	int err = run(w, "COMMIT", "");

	if (err != 0) {
		writer_rollback(w);
		return err;
	}
	err = look(w, &now);
	if (err == 0 && (now.dev != w->dev || now.ino != w->ino))
		err = db_error(w->error, -EBUSY, "%s: was replaced while it was written", w->path);
	return err;
}

/* A connection of which the state is in doubt is not kept. */
void writer_rollback(struct writer *w)
{
	if (w->db == NULL || sqlite3_get_autocommit(w->db))
		return;
	if (sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
		disconnect(w);
}

bool writer_changed(struct writer *w)
{
	int64_t version = 0;

	return !w->seen_valid || connected(w) != 0 || !w->seen_valid ||
	       ask(w, &version, "PRAGMA data_version") != 0 || version != w->seen_version;
}

void writer_seen(struct writer *w)
{
	w->seen_valid = w->db != NULL && ask(w, &w->seen_version, "PRAGMA data_version") == 0;
}

/* ---- rows ---- */

/* The columns in the order of record_read(), as this database has them. */
static void select_sql(const struct writer *w, char sql[SQL_MAX], const char *condition)
{
	snprintf(sql, SQL_MAX,
	         "SELECT b.id, b.app, b.region, b.wg_ip, %s, %s, b.port, b.weight, b.soft_limit,"
	         " b.hard_limit, b.healthy, b.deleted, %s, %s FROM backends b %s WHERE %s",
	         w->has_country ? "b.country" : "NULL", w->has_state ? "b.state" : "NULL",
	         w->has_registrations ? "r.id, r.late, r.registered_at" : "NULL, NULL, NULL",
	         w->has_pop ? "r.pop" : "NULL",
	         w->has_registrations ? "LEFT JOIN registrations r ON r.id = b.id" : "", condition);
}

static void copy_text(sqlite3_stmt *stmt, int column, char *to, size_t room)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	snprintf(to, room, "%s", text != NULL ? (const char *)text : "");
}

static void record_read(const struct writer *w, sqlite3_stmt *stmt, struct backend_record *ret)
{
	copy_text(stmt, 0, ret->id, sizeof(ret->id));
	copy_text(stmt, 1, ret->app, sizeof(ret->app));
	copy_text(stmt, 2, ret->region, sizeof(ret->region));
	copy_text(stmt, 3, ret->ip, sizeof(ret->ip));
	copy_text(stmt, 4, ret->country, sizeof(ret->country));
	copy_text(stmt, 5, ret->state, sizeof(ret->state));
	ret->port = sqlite3_column_int64(stmt, 6);
	ret->weight = sqlite3_column_int64(stmt, 7);
	ret->soft_limit = sqlite3_column_int64(stmt, 8);
	ret->hard_limit = sqlite3_column_int64(stmt, 9);
	ret->healthy = sqlite3_column_int64(stmt, 10) == 1;
	ret->deleted = sqlite3_column_int64(stmt, 11) == 1;
	ret->registered = sqlite3_column_type(stmt, 12) != SQLITE_NULL;
	ret->late = sqlite3_column_int64(stmt, 13) == 1;
	ret->registered_at = sqlite3_column_int64(stmt, 14);
	copy_text(stmt, 15, ret->pop, sizeof(ret->pop));
	ret->own = ret->registered && (!w->has_pop || strcmp(ret->pop, w->pop) == 0);
}

int writer_find(struct writer *w, const char *id, struct backend_record *ret)
{
	char sql[SQL_MAX];
	sqlite3_stmt *stmt;
	int err, rc;

	select_sql(w, sql, "b.id = ?");
	err = query(w, &stmt, sql, "t", id);
	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		record_read(w, stmt, ret);
	else
		err = rc == SQLITE_DONE ? -ENOENT : failed(w, rc);
	sqlite3_finalize(stmt);
	return err;
}

static int add_column(struct writer *w, bool *has, const char *sql)
{
	int err = *has ? 0 : run(w, sql, "");

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
	err = run(
		w,
		is_new ? "INSERT INTO backends (app, region, wg_ip, port, weight, soft_limit,"
			 " hard_limit, healthy, deleted, id) VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, ?)"
		       : "UPDATE backends SET app = ?, region = ?, wg_ip = ?, port = ?, weight = ?,"
			 " soft_limit = ?, hard_limit = ?, healthy = 1, deleted = 0 WHERE id = ?",
		"tttiiiit", q->app, q->region, q->ip, (int64_t)q->port, (int64_t)q->weight,
		(int64_t)q->soft_limit, (int64_t)q->hard_limit, q->id);
	if (err == 0 && strcmp(old.country, q->country) != 0) {
		err = add_column(w, &w->has_country,
		                 "ALTER TABLE backends ADD COLUMN country TEXT");
		if (err == 0)
			err = run(w, "UPDATE backends SET country = ? WHERE id = ?", "tt",
			          q->country[0] != '\0' ? q->country : NULL, q->id);
	}
	/* A row that was deleted begins anew. */
	if (err == 0)
		err = run(w,
		          "INSERT INTO registrations (id, registered_at, late, deleted_at)"
		          " VALUES (?1, ?2, 0, NULL) ON CONFLICT (id) DO UPDATE SET late = 0,"
		          " registered_at = CASE WHEN ?3 THEN ?2 ELSE registered_at END,"
		          " deleted_at = NULL",
		          "tii", q->id, now_unix, (int64_t)(is_new || old.deleted));
	if (err == 0 && w->has_pop)
		err = run(w, "UPDATE registrations SET pop = ?1 WHERE id = ?2 AND pop IS NOT ?1",
		          "tt", w->pop[0] != '\0' ? w->pop : NULL, q->id);
	return err;
}

int writer_set_late(struct writer *w, const char *id, bool late)
{
	int err = run(w, "UPDATE registrations SET late = ? WHERE id = ?", "it", (int64_t)late, id);

	if (err == 0)
		err = run(w, "UPDATE backends SET healthy = ? WHERE id = ?", "it", (int64_t)!late,
		          id);
	return err;
}

int writer_set_state(struct writer *w, const char *id, const char *state)
{
	bool ready = strcmp(state, "ready") == 0;
	int err = 0;

	if (!ready)
		err = add_column(w, &w->has_state, "ALTER TABLE backends ADD COLUMN state TEXT");
	if (err == 0 && w->has_state)
		err = run(w, "UPDATE backends SET state = ?1 WHERE id = ?2 AND state IS NOT ?1",
		          "tt", state, id);
	return err;
}

int writer_delete(struct writer *w, const char *id, int64_t now_unix)
{
	int err = run(w, "UPDATE backends SET deleted = 1, healthy = 0 WHERE id = ?", "t", id);

	if (err == 0)
		err = run(w, "UPDATE registrations SET deleted_at = ?, late = 0 WHERE id = ?", "it",
		          now_unix, id);
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
	         w->has_pop ? "coalesce(r.pop, '')" : "NULL");
	snprintf(sql, sizeof(sql), "DELETE FROM backends WHERE id IN (%s)", old);
	err = run(w, sql, "iit", before, (int64_t)PURGE_ROWS, w->pop);
	snprintf(sql, sizeof(sql), "DELETE FROM registrations WHERE id IN (%s)", old);
	if (err == 0)
		err = run(w, sql, "iit", before, (int64_t)PURGE_ROWS, w->pop);
	return err;
}

/* ---- many rows ---- */

/* Appends to sql. It is this file's own texts that are put together, never a value. */
__attribute__((format(printf, 2, 3))) static void add(char sql[SQL_MAX], const char *format, ...)
{
	size_t len = strlen(sql);
	va_list args;

	va_start(args, format);
	vsnprintf(sql + len, SQL_MAX - len, format, args);
	va_end(args);
}

/* Placeholders: 1 app, 2 region, 3 healthy, 4 state, 5 after, 6 limit, from 7 on apps. */
static void filter_sql(const struct writer *w, const struct writer_filter *f, char sql[SQL_MAX])
{
	sql[0] = '\0';
	add(sql, "b.deleted = 0 AND (?1 IS NULL OR b.app = ?1)"
	         " AND (?2 IS NULL OR b.region = ?2) AND (?3 < 0 OR b.healthy = ?3)");
	add(sql, " AND (?4 IS NULL OR %s = ?4)",
	    w->has_state ? "coalesce(b.state, 'ready')" : "'ready'");
	for (size_t i = 0; i < f->app_count; i++)
		add(sql, "%s?%zu%s", i == 0 ? " AND b.app IN (" : ", ", 7 + i,
		    i + 1 == f->app_count ? ")" : "");
}

static int open_list(struct writer *w, const struct writer_filter *f, const char *sql,
                     sqlite3_stmt **ret)
{
	int err = query(w, ret, sql, "ttit", f->app, f->region, (int64_t)f->healthy, f->state);
	int rc = SQLITE_OK;

	if (err != 0)
		return err;
	/* A count has neither of these two. */
	if (sqlite3_bind_parameter_count(*ret) >= 6) {
		rc = sqlite3_bind_text(*ret, 5, f->after, -1, SQLITE_STATIC);
		if (rc == SQLITE_OK)
			rc = sqlite3_bind_int64(*ret, 6, f->limit);
	}
	for (size_t i = 0; rc == SQLITE_OK && i < f->app_count; i++)
		rc = sqlite3_bind_text(*ret, 7 + (int)i, f->apps[i], -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		return 0;
	err = failed(w, rc);
	sqlite3_finalize(*ret);
	return err;
}

static int count_rows(struct writer *w, const struct writer_filter *f, const char *condition,
                      int64_t *ret_total)
{
	char sql[SQL_MAX];
	sqlite3_stmt *stmt;
	int err, rc;

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM backends b WHERE %s", condition);
	err = open_list(w, f, sql, &stmt);
	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret_total = sqlite3_column_int64(stmt, 0);
	else
		err = failed(w, rc);
	sqlite3_finalize(stmt);
	return err;
}

int writer_list(struct writer *w, const struct writer_filter *f,
                void (*row)(void *arg, const struct backend_record *record), void *arg,
                int64_t *ret_total)
{
	char condition[SQL_MAX], sql[SQL_MAX];
	struct backend_record record;
	sqlite3_stmt *stmt;
	int err, rc;

	filter_sql(w, f, condition);
	err = count_rows(w, f, condition, ret_total);
	if (err != 0)
		return err;
	add(condition, " AND (?5 IS NULL OR b.id > ?5) ORDER BY b.id LIMIT ?6");
	select_sql(w, sql, condition);
	err = open_list(w, f, sql, &stmt);
	if (err != 0)
		return err;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		record_read(w, stmt, &record);
		row(arg, &record);
	}
	if (rc != SQLITE_DONE)
		err = failed(w, rc);
	sqlite3_finalize(stmt);
	return err;
}

int writer_registrations(struct writer *w,
                         int (*row)(void *arg, const char *id, const char *app, bool late),
                         void *arg)
{
	struct backend_record record;
	char sql[SQL_MAX];
	sqlite3_stmt *stmt;
	int err, rc;

	if (!w->has_registrations)
		return 0;
	select_sql(w, sql, "b.deleted = 0 AND r.id IS NOT NULL");
	err = query(w, &stmt, sql, "");
	if (err != 0)
		return err;
	while (err == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		record_read(w, stmt, &record);
		err = record.own ? row(arg, record.id, record.app, record.late) : 0;
	}
	if (err == 0 && rc != SQLITE_DONE)
		err = failed(w, rc);
	sqlite3_finalize(stmt);
	return err;
}
