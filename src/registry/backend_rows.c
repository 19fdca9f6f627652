/* One statement for one row, a page of them and all registrations: its columns are put together for
 * the tables that this database has, its values are always bound. */
#include "registry/backend_rows.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SQL_MAX 4096

int backend_rows_look(struct backend_rows *t)
{
	int err = database_exists(
		t->database, &t->has_country,
		"SELECT 1 FROM pragma_table_info('backends') WHERE name = 'country'");

	if (err == 0)
		err = database_exists(
			t->database, &t->has_state,
			"SELECT 1 FROM pragma_table_info('backends') WHERE name = 'state'");
	if (err == 0)
		err = database_exists(t->database, &t->has_registrations,
		                      "SELECT 1 FROM sqlite_master WHERE type = 'table' AND "
		                      "name = 'registrations'");
	if (err == 0)
		err = database_exists(
			t->database, &t->has_pop,
			"SELECT 1 FROM pragma_table_info('registrations') WHERE name = 'pop'");
	return err;
}

/* ---- one row ---- */

/* The columns in the order of record_read(), as this database has them. */
static void select_sql(const struct backend_rows *t, char sql[SQL_MAX], const char *condition)
{
	snprintf(sql, SQL_MAX,
	         "SELECT b.id, b.app, b.region, b.wg_ip, %s, %s, b.port, b.weight, b.soft_limit,"
	         " b.hard_limit, b.healthy, b.deleted, %s, %s FROM backends b %s WHERE %s",
	         t->has_country ? "b.country" : "NULL", t->has_state ? "b.state" : "NULL",
	         t->has_registrations ? "r.id, r.late, r.registered_at" : "NULL, NULL, NULL",
	         t->has_pop ? "r.pop" : "NULL",
	         t->has_registrations ? "LEFT JOIN registrations r ON r.id = b.id" : "", condition);
}

static void copy_text(sqlite3_stmt *stmt, int column, char *to, size_t room)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	snprintf(to, room, "%s", text != NULL ? (const char *)text : "");
}

static void record_read(const struct backend_rows *t, sqlite3_stmt *stmt,
                        struct backend_record *ret)
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
	ret->own = ret->registered && (!t->has_pop || strcmp(ret->pop, t->pop) == 0);
}

int backend_rows_find(struct backend_rows *t, const char *id, struct backend_record *ret)
{
	char sql[SQL_MAX];
	sqlite3_stmt *stmt;
	int err, rc;

	select_sql(t, sql, "b.id = ?");
	err = database_query(t->database, &stmt, sql, "t", id);
	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		record_read(t, stmt, ret);
	else
		err = rc == SQLITE_DONE ? -ENOENT : database_failed(t->database, rc);
	sqlite3_finalize(stmt);
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
static void filter_sql(const struct backend_rows *t, const struct backend_filter *f,
                       char sql[SQL_MAX])
{
	sql[0] = '\0';
	add(sql, "b.deleted = 0 AND (?1 IS NULL OR b.app = ?1)"
	         " AND (?2 IS NULL OR b.region = ?2) AND (?3 < 0 OR b.healthy = ?3)");
	add(sql, " AND (?4 IS NULL OR %s = ?4)",
	    t->has_state ? "coalesce(b.state, 'ready')" : "'ready'");
	for (size_t i = 0; i < f->app_count; i++)
		add(sql, "%s?%zu%s", i == 0 ? " AND b.app IN (" : ", ", 7 + i,
		    i + 1 == f->app_count ? ")" : "");
}

static int open_list(struct backend_rows *t, const struct backend_filter *f, const char *sql,
                     sqlite3_stmt **ret)
{
	int err = database_query(t->database, ret, sql, "ttit", f->app, f->region,
	                         (int64_t)f->healthy, f->state);
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
	err = database_failed(t->database, rc);
	sqlite3_finalize(*ret);
	return err;
}

static int count_rows(struct backend_rows *t, const struct backend_filter *f, const char *condition,
                      int64_t *ret_total)
{
	char sql[SQL_MAX];
	sqlite3_stmt *stmt;
	int err, rc;

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM backends b WHERE %s", condition);
	err = open_list(t, f, sql, &stmt);
	if (err != 0)
		return err;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret_total = sqlite3_column_int64(stmt, 0);
	else
		err = database_failed(t->database, rc);
	sqlite3_finalize(stmt);
	return err;
}

int backend_rows_list(struct backend_rows *t, const struct backend_filter *f,
                      void (*row)(void *arg, const struct backend_record *record), void *arg,
                      int64_t *ret_total)
{
	char condition[SQL_MAX], sql[SQL_MAX];
	struct backend_record record;
	sqlite3_stmt *stmt;
	int err, rc;

	filter_sql(t, f, condition);
	err = count_rows(t, f, condition, ret_total);
	if (err != 0)
		return err;
	add(condition, " AND (?5 IS NULL OR b.id > ?5) ORDER BY b.id LIMIT ?6");
	select_sql(t, sql, condition);
	err = open_list(t, f, sql, &stmt);
	if (err != 0)
		return err;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		record_read(t, stmt, &record);
		row(arg, &record);
	}
	if (rc != SQLITE_DONE)
		err = database_failed(t->database, rc);
	sqlite3_finalize(stmt);
	return err;
}

int backend_rows_registered(struct backend_rows *t,
                            int (*row)(void *arg, const char *id, const char *app, bool late),
                            void *arg)
{
	struct backend_record record;
	char sql[SQL_MAX];
	sqlite3_stmt *stmt;
	int err, rc;

	if (!t->has_registrations)
		return 0;
	select_sql(t, sql, "b.deleted = 0 AND r.id IS NOT NULL");
	err = database_query(t->database, &stmt, sql, "");
	if (err != 0)
		return err;
	while (err == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		record_read(t, stmt, &record);
		err = record.own ? row(arg, record.id, record.app, record.late) : 0;
	}
	if (err == 0 && rc != SQLITE_DONE)
		err = database_failed(t->database, rc);
	sqlite3_finalize(stmt);
	return err;
}
