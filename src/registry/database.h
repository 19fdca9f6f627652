/* A read-write connection to the routing database, and statements on it: of backends and
 * registrations it knows nothing. Errors are -errno of control/db_error.h; the text is in
 * database_error(). One thread. */
#ifndef REGISTRY_DATABASE_H
#define REGISTRY_DATABASE_H

#include "base/check.h"

#include <sqlite3.h>
#include <stdbool.h>

/* How long a transaction waits for another process that writes, and how long after it waited in
 * vain further ones wait only DATABASE_HURRY_MS: a queue of requests must not become minutes. */
#define DATABASE_BUSY_MS 1000
#define DATABASE_HURRY_MS 20

struct database;

/* Opens nothing yet. 0 or -ENOMEM. */
MUST_CHECK int database_new(const char *path, struct database **ret_database);
void database_free(struct database *d); /* NULL-safe */
/* Of the last call that failed. */
const char *database_error(const struct database *d);

MUST_CHECK int database_begin(struct database *d, bool writes);
/* On failure everything is as before database_begin(). */
MUST_CHECK int database_commit(struct database *d);
/* Nothing happens where there is no transaction. */
void database_rollback(struct database *d);

/* Has anybody else changed the database since database_seen()? Also true when that is not known. */
bool database_changed(struct database *d);
void database_seen(struct database *d);

/* Within a transaction. kinds has a letter for each value: t a text, which outlives the statement,
 * or NULL; i an int64_t. The statement is the caller's to sqlite3_finalize(). */
MUST_CHECK int database_query(struct database *d, sqlite3_stmt **ret, const char *sql,
                              const char *kinds, ...);
/* The same, of one that has no rows to give. */
MUST_CHECK int database_run(struct database *d, const char *sql, const char *kinds, ...);
/* Does a query without values have a row? */
MUST_CHECK int database_exists(struct database *d, bool *ret, const char *sql);
/* What became of a statement of database_query() that has failed with rc: an error, never 0. */
MUST_CHECK int database_failed(struct database *d, int rc);

#endif
