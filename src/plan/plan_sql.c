/* A sandbox of what SQLite itself offers: the database is in memory, its temporary files too; an
 * authorizer refuses whatever could reach beyond it (ATTACH, VACUUM INTO, virtual tables, most
 * PRAGMAs, functions that load code); limits and a hard ceiling of the heap bound what it takes,
 * and a progress handler how long. So the worst that a file can do is to be refused, with the
 * number of its line. */
#include "plan/plan_sql.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Instructions between two looks at the clock. */
#define PROGRESS_STEPS 10000

struct plan_sql_clock {
	uint64_t (*now_ms)(void);
	uint64_t end_ms;
};

struct run {
	struct plan_sql_clock clock;
	char refused[128]; /* what the authorizer has refused */
};

int plan_sql_open(sqlite3 **ret_db)
{
	static const struct {
		int limit;
		int value;
	} limits[] = {
		{SQLITE_LIMIT_LENGTH, PLAN_SQL_VALUE_MAX},
		{SQLITE_LIMIT_SQL_LENGTH, PLAN_SQL_MAX},
		{SQLITE_LIMIT_ATTACHED, 0},
		{SQLITE_LIMIT_TRIGGER_DEPTH, 100},
		{SQLITE_LIMIT_WORKER_THREADS, 0},
	};
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(":memory:", &db,
	                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY |
	                                 SQLITE_OPEN_NOMUTEX,
	                         NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "PRAGMA temp_store=2; PRAGMA trusted_schema=0;", NULL, NULL,
		                  NULL);
	if (rc != SQLITE_OK) {
		sqlite3_close(db);
		return -ENOMEM;
	}
	sqlite3_extended_result_codes(db, 1);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		(void)sqlite3_limit(db, limits[i].limit, limits[i].value);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	*ret_db = db;
	return 0;
}

/* ---- what is allowed ---- */

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcasecmp(word, *words) == 0)
			return true;
	return false;
}

static int refuse(struct run *r, const char *what, const char *name)
{
	snprintf(r->refused, sizeof(r->refused), "%s%s%.80s is not allowed in a plan", what,
	         name != NULL ? " " : "", name != NULL ? name : "");
	return SQLITE_DENY;
}

static int authorize(void *arg, int action, const char *a, const char *b, const char *schema,
                     const char *trigger)
{
	static const char *const pragmas[] = {
		"foreign_keys", "defer_foreign_keys", "table_info", "table_xinfo",
		"index_list",   "user_version",       NULL};
	static const char *const functions[] = {"load_extension", "fts3_tokenizer", "readfile",
	                                        "writefile",      "edit",           NULL};
	struct run *r = arg;

	(void)schema;
	(void)trigger;
	switch (action) {
	case SQLITE_ATTACH:
	case SQLITE_DETACH:
		return refuse(r, "ATTACH, DETACH or VACUUM", NULL);
	case SQLITE_CREATE_VTABLE:
	case SQLITE_DROP_VTABLE:
		return refuse(r, "a virtual table,", b);
	case SQLITE_PRAGMA:
		return is_one_of(a, pragmas) ? SQLITE_OK : refuse(r, "PRAGMA", a);
	case SQLITE_FUNCTION:
		return is_one_of(b, functions) ? refuse(r, "the function", b) : SQLITE_OK;
	default:
		return SQLITE_OK;
	}
}

static int on_progress(void *arg)
{
	const struct plan_sql_clock *c = arg;

	return c->now_ms() >= c->end_ms;
}

/* ---- running ---- */

static unsigned line_of(const char *sql, const char *at)
{
	unsigned line = 1;

	for (; sql < at; sql++)
		line += *sql == '\n';
	return line;
}

/* The beginning of the next statement. */
static const char *skip_blank(const char *sql)
{
	for (;;) {
		sql += strspn(sql, " \t\r\n\f;");
		if (strncmp(sql, "--", 2) == 0) {
			sql += strcspn(sql, "\n");
		} else if (strncmp(sql, "/*", 2) == 0) {
			const char *end = strstr(sql + 2, "*/");

			sql = end != NULL ? end + 2 : sql + strlen(sql);
		} else {
			return sql;
		}
	}
}

static int explain_error(sqlite3 *db, const struct run *r, int rc, unsigned line,
                         char error[PLAN_SQL_ERROR_MAX])
{
	char why[PLAN_SQL_ERROR_MAX / 2];

	switch (rc & 0xff) {
	case SQLITE_AUTH:
		snprintf(why, sizeof(why), "%s",
		         r->refused[0] != '\0' ? r->refused : "not allowed in a plan");
		break;
	case SQLITE_INTERRUPT:
		snprintf(why, sizeof(why), "it takes more than %d s", PLAN_SQL_MS / 1000);
		break;
	case SQLITE_NOMEM:
		snprintf(why, sizeof(why), "it takes more than %d MiB of memory",
		         PLAN_SQL_MEMORY / 1024 / 1024);
		break;
	default:
		snprintf(why, sizeof(why), "%s",
		         r->refused[0] != '\0' ? r->refused : sqlite3_errmsg(db));
	}
	snprintf(error, PLAN_SQL_ERROR_MAX, "line %u: %s", line, why);
	return -EINVAL;
}

/* One statement. An SQLite code. */
static int step(sqlite3 *db, const char *sql, const char **ret_tail, bool *ret_ran)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, ret_tail);

	*ret_ran = statement != NULL;
	if (rc != SQLITE_OK || statement == NULL)
		return rc;
	do
		rc = sqlite3_step(statement);
	while (rc == SQLITE_ROW);
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int run_all(sqlite3 *db, struct run *r, const char *sql, struct plan_sql_done *done,
                   char error[PLAN_SQL_ERROR_MAX])
{
	const char *at = skip_blank(sql);
	int64_t before = sqlite3_total_changes64(db);

	while (*at != '\0') {
		const char *tail = at;
		bool ran;
		int rc = step(db, at, &tail, &ran);

		if (rc != SQLITE_OK)
			return explain_error(db, r, rc, line_of(sql, at), error);
		done->statements += ran;
		if (!ran && tail == at)
			break;
		at = skip_blank(tail);
	}
	done->rows = sqlite3_total_changes64(db) - before;
	if (sqlite3_get_autocommit(db))
		return 0;
	snprintf(error, PLAN_SQL_ERROR_MAX,
	         "line %u: it ends within a transaction: without COMMIT nothing would change",
	         line_of(sql, at));
	return -EINVAL;
}

int plan_sql_apply(sqlite3 *db, const char *sql, uint64_t (*now_ms)(void),
                   struct plan_sql_done *ret_done, char error[PLAN_SQL_ERROR_MAX])
{
	struct run r = {.clock = {.now_ms = now_ms, .end_ms = now_ms() + PLAN_SQL_MS}};
	struct plan_sql_done done = {0};
	int err;

	if (strlen(sql) > PLAN_SQL_MAX) {
		snprintf(error, PLAN_SQL_ERROR_MAX, "more than %d MiB of SQL",
		         PLAN_SQL_MAX / 1024 / 1024);
		return -EINVAL;
	}
	(void)sqlite3_hard_heap_limit64(sqlite3_memory_used() + PLAN_SQL_MEMORY);
	(void)sqlite3_set_authorizer(db, authorize, &r);
	sqlite3_progress_handler(db, PROGRESS_STEPS, on_progress, &r.clock);
	err = run_all(db, &r, sql, &done, error);
	sqlite3_progress_handler(db, 0, NULL, NULL);
	(void)sqlite3_set_authorizer(db, NULL, NULL);
	if (err == 0)
		*ret_done = done;
	return err;
}

int plan_sql_limit_reading(sqlite3 *db, uint64_t (*now_ms)(void), struct plan_sql_clock **ret_clock)
{
	struct plan_sql_clock *c = malloc(sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	*c = (struct plan_sql_clock){.now_ms = now_ms, .end_ms = now_ms() + PLAN_SQL_MS};
	sqlite3_progress_handler(db, PROGRESS_STEPS, on_progress, c);
	*ret_clock = c;
	return 0;
}

void plan_sql_close(sqlite3 *db, struct plan_sql_clock *clock)
{
	sqlite3_close(db);
	free(clock);
}
