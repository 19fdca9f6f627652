/* SQL that somebody wants tried: run on a copy of the routing database in memory, where it can harm
 * nobody. One thread. */
#ifndef PLAN_PLAN_SQL_H
#define PLAN_PLAN_SQL_H

#include "base/check.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

/* Longest SQL, time and memory of all of it, longest text or blob in it. */
#define PLAN_SQL_MAX (16 * 1024 * 1024)
#define PLAN_SQL_MS 10000
#define PLAN_SQL_MEMORY (256 * 1024 * 1024)
#define PLAN_SQL_VALUE_MAX (4 * 1024 * 1024)

#define PLAN_SQL_ERROR_MAX 512

/* An empty database in memory that can reach no file. 0 or -ENOMEM. */
MUST_CHECK int plan_sql_open(sqlite3 **ret_db);

struct plan_sql_done {
	size_t statements;
	int64_t rows; /* inserted, changed or removed */
};

/* Runs sql (a text with its end). 0; -EINVAL with one line in error that names the line of the SQL;
 * -ENOMEM. now_ms tells the time (the monotonic clock, but for tests). */
MUST_CHECK int plan_sql_apply(sqlite3 *db, const char *sql, uint64_t (*now_ms)(void),
                              struct plan_sql_done *ret_done, char error[PLAN_SQL_ERROR_MAX]);

/* Reading what the SQL has left is bounded by the same time, because a view may stand where a table
 * was. Holds until plan_sql_close(). */
struct plan_sql_clock;
MUST_CHECK int plan_sql_limit_reading(sqlite3 *db, uint64_t (*now_ms)(void),
                                      struct plan_sql_clock **ret_clock);
void plan_sql_close(sqlite3 *db, struct plan_sql_clock *clock); /* NULL-safe */

#endif
