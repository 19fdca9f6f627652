/* Takes the tables of the routing database apart, row by row. A table is read as it is found: which
 * columns it has is asked of the statement, optional ones may be missing, others may be there, and
 * it may be a view or have no rowid.
 *
 * No row is trusted: each passes control/columns.h, and one that fails, or that cannot stand beside
 * those before it, is reported and left out while the others count. What is refused as a whole is a
 * database without the table or a column that routing cannot do without. */
#include "control/row_reader.h"

#include "geo/country.h"
#include "route/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum table_kind {
	TABLE_BACKENDS,
	TABLE_SERVICES,
	TABLE_GEO_OVERRIDES,
	TABLE_COUNTRY_REGIONS,
	TABLE_HEALTH_CHECKS,
	TABLE_ACCESS_RULES,
};

static const struct source {
	const char *name;
	const struct column *columns;
	int column_count;
	bool needed;
	size_t rows_max;
} sources[] = {
	[TABLE_BACKENDS] = {"backends", backend_columns, BACKEND_COLUMNS, true, BACKENDS_MAX},
	[TABLE_SERVICES] = {"services", service_columns, SERVICE_COLUMNS, false, SERVICES_MAX},
	[TABLE_GEO_OVERRIDES] = {"geo_overrides", geo_override_columns, GEO_OVERRIDE_COLUMNS, false,
                                 GEO_OVERRIDES_MAX},
	[TABLE_COUNTRY_REGIONS] = {"country_regions", country_region_columns,
                                   COUNTRY_REGION_COLUMNS, false, COUNTRY_INDEX_MAX},
	[TABLE_HEALTH_CHECKS] = {"health_checks", health_check_columns, HEALTH_CHECK_COLUMNS, false,
                                 HEALTH_CHECKS_MAX},
	[TABLE_ACCESS_RULES] = {"access_rules", access_rule_columns, ACCESS_RULE_COLUMNS, false,
                                ACCESS_RULES_MAX},
};

/* The longest key that is good: the others are shorter. */
#define KEY_MAX CHECK_TARGET_MAX

/* One read of one table. */
struct reading {
	const struct row_reader *reader;
	sqlite3 *db;
	enum table_kind kind;
	const struct source *source;
	int index_of[COLUMNS_MAX]; /* in the statement; -1: the table has no such column */
	struct route_rows *rows;
	size_t kept;
	size_t *quarantined;
	char last_key[KEY_MAX + 1]; /* of the last good row; rows come ordered by key */
	char *error;
};

static void quarantine(struct reading *r, sqlite3_stmt *stmt, const struct column_value *key,
                       const struct row_error *why)
{
	struct bad_row bad = {.table = r->source->name, .error = *why};
	char name[KEY_MAX + 1];

	(*r->quarantined)++;
	if (r->reader->bad_row == NULL)
		return;
	if (key->type == VALUE_TEXT && key->len > 0)
		snprintf(name, sizeof(name), "%.*s", (int)(sizeof(name) - 1), key->text);
	else if (sqlite3_column_type(stmt, 0) == SQLITE_INTEGER)
		snprintf(name, sizeof(name), "rowid %lld", sqlite3_column_int64(stmt, 0));
	else
		snprintf(name, sizeof(name), "?");
	bad.row = name;
	r->reader->bad_row(r->reader->arg, &bad);
}

/* False when there is no memory. */
static bool read_value(sqlite3_stmt *stmt, int index, struct column_value *ret)
{
	*ret = (struct column_value){.type = VALUE_NULL, .text = ""};
	if (index < 0)
		return true;
	switch (sqlite3_column_type(stmt, index)) {
	case SQLITE_INTEGER:
		ret->type = VALUE_INT;
		ret->integer = sqlite3_column_int64(stmt, index);
		return true;
	case SQLITE_FLOAT:
		ret->type = VALUE_REAL;
		ret->real = sqlite3_column_double(stmt, index);
		return true;
	case SQLITE_TEXT:
		ret->type = VALUE_TEXT;
		ret->text = (const char *)sqlite3_column_text(stmt, index);
		ret->len = (size_t)sqlite3_column_bytes(stmt, index);
		return ret->text != NULL;
	case SQLITE_BLOB:
		ret->type = VALUE_BLOB;
		ret->text = sqlite3_column_blob(stmt, index);
		ret->len = (size_t)sqlite3_column_bytes(stmt, index);
		return ret->text != NULL || ret->len == 0;
	default:
		return true;
	}
}

static void remember_key(struct reading *r, const struct column_value *key)
{
	size_t len = key->len < KEY_MAX ? key->len : KEY_MAX;

	memcpy(r->last_key, key->text, len);
	r->last_key[len] = '\0';
}

/* A validated row of any table. */
union any_row {
	struct backend_row backend;
	struct service_row service;
	struct geo_override_row override;
	struct country_region_row country_region;
	struct health_check_row check;
	struct access_rule_row access_rule;
};

static enum row_verdict check_row(enum table_kind kind, const struct column_value *values,
                                  union any_row *ret_row, struct row_error *ret_error)
{
	switch (kind) {
	case TABLE_BACKENDS:
		return columns_backend(values, &ret_row->backend, ret_error);
	case TABLE_SERVICES:
		return columns_service(values, &ret_row->service, ret_error);
	case TABLE_GEO_OVERRIDES:
		return columns_geo_override(values, &ret_row->override, ret_error);
	case TABLE_COUNTRY_REGIONS:
		return columns_country_region(values, &ret_row->country_region, ret_error);
	case TABLE_HEALTH_CHECKS:
		return columns_health_check(values, &ret_row->check, ret_error);
	case TABLE_ACCESS_RULES:
		return columns_access_rule(values, &ret_row->access_rule, ret_error);
	}
	CHECK(false);
}

/* Is it a row of the app that this process serves? */
static bool is_ours(const struct reading *r, const union any_row *row)
{
	const char *wanted = r->reader->app;
	const char *app = NULL;

	if (r->kind == TABLE_BACKENDS)
		app = row->backend.app;
	else if (r->kind == TABLE_SERVICES)
		app = row->service.app;
	else if (r->kind == TABLE_HEALTH_CHECKS)
		app = row->check.app;
	else if (r->kind == TABLE_ACCESS_RULES)
		app = row->access_rule.app;
	return wanted == NULL || wanted[0] == '\0' || app == NULL || strcmp(app, wanted) == 0;
}

/* Two spellings of one address would be two listeners in one place. */
static bool listens_already(const struct route_rows *rows, const struct endpoint *listen)
{
	for (size_t i = 0; i < rows->service_count; i++) {
		if (endpoint_equal(&rows->services[i].listen, listen))
			return true;
	}
	return false;
}

/* Why a row that is good by itself cannot stand beside those that were kept; NULL: it can. */
static const char *misfit(const struct reading *r, const union any_row *row)
{
	if (r->kind == TABLE_SERVICES && listens_already(r->rows, &row->service.listen))
		return "an earlier row listens there";
	if (r->kept == r->source->rows_max)
		return "is beyond the number of rows that are read";
	return NULL;
}

static int keep_row(struct reading *r, const union any_row *row)
{
	switch (r->kind) {
	case TABLE_BACKENDS:
		return route_rows_add_backend(r->rows, &row->backend);
	case TABLE_SERVICES:
		return route_rows_add_service(r->rows, &row->service);
	case TABLE_GEO_OVERRIDES:
		return route_rows_add_override(r->rows, &row->override);
	case TABLE_COUNTRY_REGIONS:
		return route_rows_add_country_region(r->rows, &row->country_region);
	case TABLE_HEALTH_CHECKS:
		return route_rows_add_check(r->rows, &row->check);
	case TABLE_ACCESS_RULES:
		return route_rows_add_access_rule(r->rows, &row->access_rule);
	}
	CHECK(false);
}

/* 0 or -ENOMEM. */
static int read_row(struct reading *r, sqlite3_stmt *stmt)
{
	struct column_value values[COLUMNS_MAX];
	const struct column_value *key = &values[0];
	const char *why = NULL;
	struct row_error error;
	union any_row row;

	for (int i = 0; i < r->source->column_count; i++) {
		if (!read_value(stmt, r->index_of[i], &values[i]))
			return -ENOMEM;
	}
	switch (check_row(r->kind, values, &row, &error)) {
	case ROW_DROPPED:
		return 0;
	case ROW_BAD:
		quarantine(r, stmt, key, &error);
		return 0;
	case ROW_GOOD:
		break;
	}
	if (strcmp(r->last_key, key->text) == 0)
		why = "an earlier row has the same key";
	remember_key(r, key);
	if (why == NULL && !is_ours(r, &row))
		return 0;
	if (why == NULL)
		why = misfit(r, &row);
	if (why != NULL) {
		row_error_set(&error, r->source->columns[0].name, key, why);
		quarantine(r, stmt, key, &error);
		return 0;
	}
	r->kept++;
	return keep_row(r, &row);
}

/* Which column of the statement is which; the first is the rowid. */
static int find_columns(struct reading *r, sqlite3_stmt *stmt)
{
	for (int i = 0; i < r->source->column_count; i++) {
		const struct column *column = &r->source->columns[i];

		r->index_of[i] = -1;
		for (int at = sqlite3_column_count(stmt) - 1; at > 0; at--) {
			const char *name = sqlite3_column_name(stmt, at);

			if (name != NULL && sqlite3_stricmp(name, column->name) == 0)
				r->index_of[i] = at;
		}
		if (r->index_of[i] < 0 && column->needed)
			return db_error(r->error, -EINVAL, "%s: table %s has no column %s",
			                r->reader->path, r->source->name, column->name);
	}
	return 0;
}

static int sqlite_failed(const struct reading *r, int rc)
{
	return db_error_sqlite(r->error, r->db, r->reader->path, rc);
}

static int table_exists(const struct reading *r, bool *ret_exists)
{
	static const char sql[] = "SELECT 1 FROM main.sqlite_master WHERE type IN ('table', 'view')"
				  " AND name = ?1 COLLATE NOCASE";
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(r->db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, 1, r->source->name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(stmt);
		*ret_exists = rc == SQLITE_ROW;
	}
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		rc = SQLITE_OK;
	rc = rc == SQLITE_OK ? 0 : sqlite_failed(r, rc);
	sqlite3_finalize(stmt);
	return rc;
}

static int prepare_select(const struct reading *r, sqlite3_stmt **ret_stmt)
{
	const char *name = r->source->name;
	const char *key = r->source->columns[0].name;
	char sql[256];
	int rc;

	snprintf(sql, sizeof(sql), "SELECT rowid, * FROM main.%s ORDER BY %s COLLATE BINARY, rowid",
	         name, key);
	rc = sqlite3_prepare_v2(r->db, sql, -1, ret_stmt, NULL);
	if (rc == SQLITE_ERROR) {
		/* A table WITHOUT ROWID; or without its key, which find_columns() tells. */
		snprintf(sql, sizeof(sql),
		         "SELECT NULL, * FROM main.%s ORDER BY \"%s\" COLLATE BINARY", name, key);
		rc = sqlite3_prepare_v2(r->db, sql, -1, ret_stmt, NULL);
	}
	return rc == SQLITE_OK ? 0 : sqlite_failed(r, rc);
}

static int read_table(struct reading *r)
{
	sqlite3_stmt *stmt = NULL;
	bool exists = false;
	int rc = table_exists(r, &exists);

	if (rc != 0)
		return rc;
	if (!exists && r->source->needed)
		return db_error(r->error, -EINVAL, "%s: there is no table %s", r->reader->path,
		                r->source->name);
	if (!exists)
		return 0;
	rc = prepare_select(r, &stmt);
	if (rc == 0)
		rc = find_columns(r, stmt);
	while (rc == 0) {
		int step = sqlite3_step(stmt);

		if (step == SQLITE_DONE)
			break;
		rc = step == SQLITE_ROW ? read_row(r, stmt) : sqlite_failed(r, step);
		if (rc == -ENOMEM)
			(void)db_error(r->error, rc, "%s: out of memory", r->reader->path);
	}
	sqlite3_finalize(stmt);
	return rc;
}

int row_reader_run(const struct row_reader *reader, sqlite3 *db, struct route_rows *rows,
                   size_t *quarantined, char error[STORE_ERROR_MAX])
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(sources) / sizeof(sources[0]); i++) {
		struct reading r = {
			.reader = reader,
			.db = db,
			.kind = (enum table_kind)i,
			.source = &sources[i],
			.rows = rows,
			.quarantined = quarantined,
			.error = error,
		};

		rc = read_table(&r);
	}
	return rc;
}
