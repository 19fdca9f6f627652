/* From the values of one database row to a validated row, or to the reason why not. Pure: knows
 * nothing of SQLite, allocates nothing; any thread.
 *
 * Every row is hostile, and a replicated database may show a row before all of its columns have
 * arrived: the missing ones are NULL. So every needed column of a backend must have a value, and
 * nothing is guessed from what is absent. */
#ifndef CONTROL_COLUMNS_H
#define CONTROL_COLUMNS_H

#include "base/check.h"
#include "control/column_reader.h"
#include "route/rows.h"

/* Indices into the values of a row: BACKEND_ID …, BACKEND_COLUMNS is how many. */
enum backend_column {
#define BACKEND_COLUMN(column, name, needed) BACKEND_##column,
#include "control/columns.def"
	BACKEND_COLUMNS
};
enum service_column {
#define SERVICE_COLUMN(column, name, needed) SERVICE_##column,
#include "control/columns.def"
	SERVICE_COLUMNS
};
enum geo_override_column {
#define GEO_OVERRIDE_COLUMN(column, name, needed) GEO_OVERRIDE_##column,
#include "control/columns.def"
	GEO_OVERRIDE_COLUMNS
};
enum country_region_column {
#define COUNTRY_REGION_COLUMN(column, name, needed) COUNTRY_REGION_##column,
#include "control/columns.def"
	COUNTRY_REGION_COLUMNS
};
enum access_rule_column {
#define ACCESS_RULE_COLUMN(column, name, needed) ACCESS_RULE_##column,
#include "control/columns.def"
	ACCESS_RULE_COLUMNS
};

enum health_check_column {
#define HEALTH_CHECK_COLUMN(column, name, needed) HEALTH_CHECK_##column,
#include "control/columns.def"
	HEALTH_CHECK_COLUMNS
};

/* Of any table. */
#define COLUMNS_MAX HEALTH_CHECK_COLUMNS

extern const struct column backend_columns[BACKEND_COLUMNS];
extern const struct column service_columns[SERVICE_COLUMNS];
extern const struct column geo_override_columns[GEO_OVERRIDE_COLUMNS];
extern const struct column country_region_columns[COUNTRY_REGION_COLUMNS];
extern const struct column health_check_columns[HEALTH_CHECK_COLUMNS];
extern const struct column access_rule_columns[ACCESS_RULE_COLUMNS];

enum row_verdict {
	ROW_GOOD,    /* *ret_row is written; its texts are those of the values */
	ROW_BAD,     /* *ret_error is written */
	ROW_DROPPED, /* marked deleted and bad besides: it routes nowhere, so nobody needs to know
	              */
};

MUST_CHECK enum row_verdict columns_backend(const struct column_value values[BACKEND_COLUMNS],
                                            struct backend_row *ret_row,
                                            struct row_error *ret_error);
/* app: NULL or '' for every app. accept_proxy: NULL or 1, or 0. send_proxy: NULL or 0, 1 or 2.
 * congestion: NULL or '' for that of the environment. */
MUST_CHECK enum row_verdict columns_service(const struct column_value values[SERVICE_COLUMNS],
                                            struct service_row *ret_row,
                                            struct row_error *ret_error);
/* region NULL: the country's. Both NULL: these addresses have no country and no region. */
MUST_CHECK enum row_verdict
columns_geo_override(const struct column_value values[GEO_OVERRIDE_COLUMNS],
                     struct geo_override_row *ret_row, struct row_error *ret_error);
MUST_CHECK enum row_verdict
columns_country_region(const struct column_value values[COUNTRY_REGION_COLUMNS],
                       struct country_region_row *ret_row, struct row_error *ret_error);
/* app and country: '*' for every one. A cidr or a country, not both and not neither: a row of which
 * only half has arrived must not be about everybody. */
MUST_CHECK enum row_verdict
columns_access_rule(const struct column_value values[ACCESS_RULE_COLUMNS],
                    struct access_rule_row *ret_row, struct row_error *ret_error);

/* NULL is the environment's in every column but target and type. */
MUST_CHECK enum row_verdict
columns_health_check(const struct column_value values[HEALTH_CHECK_COLUMNS],
                     struct health_check_row *ret_row, struct row_error *ret_error);

#endif
