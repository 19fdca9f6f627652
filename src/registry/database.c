/* The connection: opened when it is first needed, and anew whenever the path has another file.
 * Every call may fail, since the file may be replaced, missing, locked or broken at any time; each
 * waits for a bounded time. A file that was renamed over the path is noticed before and after a
 * transaction, so that nothing is written to one that nobody reads and called done. */
#include "registry/database.h"

#include "base/clock.h"
#include "control/db_error.h"
#include "control/db_path.h"
#include "control/fingerprint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct database {
	char *path;
	char *open_path; /* for SQLite (control/db_path.h) */
	sqlite3 *db;     /* NULL: not open */
	dev_t dev;       /* what db has open */
	ino_t ino;
	bool seen_valid;
	int64_t seen_version;
	uint64_t hurry_until_ms;
	char error[STORE_ERROR_MAX];
};

int database_new(const char *path, struct database **ret_database)
{
	struct database *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return -ENOMEM;
	d->path = strdup(path);
	d->open_path = db_path_new(path);
	if (d->path == NULL || d->open_path == NULL) {
		database_free(d);
		return -ENOMEM;
	}
	*ret_database = d;
	return 0;
}

static void disconnect(struct database *d)
{
	sqlite3_close(d->db);
	d->db = NULL;
	d->seen_valid = false;
}

void database_free(struct database *d)
{
	if (d == NULL)
		return;
	disconnect(d);
	free(d->path);
	free(d->open_path);
	free(d);
}

const char *database_error(const struct database *d)
{
	return d->error;
}

/* ---- statements ---- */

int database_failed(struct database *d, int rc)
{
	int err = db_error_sqlite(d->error, d->db, d->path, rc);

	if (err == -EBUSY)
		d->hurry_until_ms = clock_now_ms() + DATABASE_BUSY_MS;
	return err;
}

/* Prepares sql and binds one value for each letter of kinds: t a text or NULL, i an int64_t. */
static int prepare(struct database *d, sqlite3_stmt **ret, const char *sql, const char *kinds,
                   va_list args)
{
	int rc = sqlite3_prepare_v2(d->db, sql, -1, ret, NULL);

	for (int i = 1; rc == SQLITE_OK && kinds[i - 1] != '\0'; i++) {
		if (kinds[i - 1] == 't')
			rc = sqlite3_bind_text(*ret, i, va_arg(args, const char *), -1,
			                       SQLITE_STATIC);
		else
			rc = sqlite3_bind_int64(*ret, i, va_arg(args, int64_t));
	}
	if (rc == SQLITE_OK)
		return 0;
	rc = database_failed(d, rc);
	sqlite3_finalize(*ret);
	return rc;
}

int database_query(struct database *d, sqlite3_stmt **ret, const char *sql, const char *kinds, ...)
{
	va_list args;
	int err;

	va_start(args, kinds);
	err = prepare(d, ret, sql, kinds, args);
	va_end(args);
	return err;
}

int database_run(struct database *d, const char *sql, const char *kinds, ...)
{
	sqlite3_stmt *stmt;
	va_list args;
	int err, rc;

	va_start(args, kinds);
	err = prepare(d, &stmt, sql, kinds, args);
	va_end(args);
	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	err = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : database_failed(d, rc);
	sqlite3_finalize(stmt);
	return err;
}

/* The first column of the first row; -ENOENT where there is none. */
static int ask(struct database *d, int64_t *ret, const char *sql)
{
	sqlite3_stmt *stmt;
	int err = database_query(d, &stmt, sql, "");
	int rc;

	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	else
		err = rc == SQLITE_DONE ? -ENOENT : database_failed(d, rc);
	sqlite3_finalize(stmt);
	return err;
}

int database_exists(struct database *d, bool *ret, const char *sql)
{
	int64_t ignored;
	int err = ask(d, &ignored, sql);

	if (err != 0 && err != -ENOENT)
		return err;
	*ret = err == 0;
	return 0;
}

/* ---- connection and transactions ---- */

static int look(struct database *d, struct fingerprint *ret)
{
	int err = fingerprint_take(d->path, ret);

	/* -ENOENT is for rows. */
	if (err == -ENOENT)
		return db_error(d->error, -EACCES, "%s: %s", d->path, strerror(ENOENT));
	if (err == 0 && ret->size == 0)
		return db_error(d->error, -EBADMSG, "%s: the file is empty", d->path);
	if (err != 0)
		return db_error(d->error, err, "%s: %s", d->path,
		                err == -EINVAL ? "not a regular file" : strerror(-err));
	return 0;
}

static int connect_to(struct database *d, const struct fingerprint *file)
{
	int rc;

	disconnect(d);
	rc = sqlite3_open_v2(d->open_path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
	                     NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(d->db, 1);
		rc = sqlite3_exec(d->db,
		                  "PRAGMA mmap_size=0; PRAGMA trusted_schema=0;"
		                  "PRAGMA cell_size_check=1;",
		                  NULL, NULL, NULL);
	}
	if (rc != SQLITE_OK) {
		rc = database_failed(d, rc);
		disconnect(d);
		return rc;
	}
	d->dev = file->dev;
	d->ino = file->ino;
	return 0;
}

static int connected(struct database *d)
{
	struct fingerprint now;
	int err = look(d, &now);

	if (err != 0) {
		disconnect(d);
		return err;
	}
	if (d->db != NULL && (d->dev != now.dev || d->ino != now.ino))
		disconnect(d);
	return d->db != NULL ? 0 : connect_to(d, &now);
}

int database_begin(struct database *d, bool writes)
{
	int err = connected(d);

	if (err != 0)
		return err;
	sqlite3_busy_timeout(d->db, clock_now_ms() < d->hurry_until_ms ? DATABASE_HURRY_MS
	                                                               : DATABASE_BUSY_MS);
	err = database_run(d, writes ? "BEGIN IMMEDIATE" : "BEGIN", "");
	if (err == 0)
		d->hurry_until_ms = 0;
	else
		database_rollback(d);
	return err;
}

int database_commit(struct database *d)
{
	struct fingerprint now;
	int err = database_run(d, "COMMIT", "");

	if (err != 0) {
		database_rollback(d);
		return err;
	}
	err = look(d, &now);
	if (err == 0 && (now.dev != d->dev || now.ino != d->ino))
		err = db_error(d->error, -EBUSY, "%s: was replaced while it was written", d->path);
	return err;
}

/* A connection of which the state is in doubt is not kept. */
void database_rollback(struct database *d)
{
	if (d->db == NULL || sqlite3_get_autocommit(d->db))
		return;
	if (sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
		disconnect(d);
}

bool database_changed(struct database *d)
{
	int64_t version = 0;

	return !d->seen_valid || connected(d) != 0 || !d->seen_valid ||
	       ask(d, &version, "PRAGMA data_version") != 0 || version != d->seen_version;
}

void database_seen(struct database *d)
{
	d->seen_valid = d->db != NULL && ask(d, &d->seen_version, "PRAGMA data_version") == 0;
}
