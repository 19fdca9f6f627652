/* The gate through which every row passes. What comes out can be routed to without another look:
 * numbers are in range, texts are short, printable and not empty, addresses are addresses.
 *
 * It trusts nothing; what a single value may be is control/column_reader.c. It never repairs: a row
 * is good as it stands or it is refused with the first column at fault, because half a row, or a
 * row that two writers have merged, would send clients to a place that nobody chose.
 *
 * Each field has one small reader that returns false after it has said why; the row functions are
 * chains of them. */
#include "control/columns.h"

#include "route/limits.h"

#include <stdio.h>
#include <string.h>

const struct column backend_columns[BACKEND_COLUMNS] = {
#define BACKEND_COLUMN(column, name, needed) {name, needed},
#include "control/columns.def"
};
const struct column service_columns[SERVICE_COLUMNS] = {
#define SERVICE_COLUMN(column, name, needed) {name, needed},
#include "control/columns.def"
};
const struct column geo_override_columns[GEO_OVERRIDE_COLUMNS] = {
#define GEO_OVERRIDE_COLUMN(column, name, needed) {name, needed},
#include "control/columns.def"
};
const struct column country_region_columns[COUNTRY_REGION_COLUMNS] = {
#define COUNTRY_REGION_COLUMN(column, name, needed) {name, needed},
#include "control/columns.def"
};
const struct column health_check_columns[HEALTH_CHECK_COLUMNS] = {
#define HEALTH_CHECK_COLUMN(column, name, needed) {name, needed},
#include "control/columns.def"
};

const struct column access_rule_columns[ACCESS_RULE_COLUMNS] = {
#define ACCESS_RULE_COLUMN(column, name, needed) {name, needed},
#include "control/columns.def"
};

/* A name such as "bbr". Whether this kernel has it is not a property of the row. */
static bool read_congestion(const struct column_reader *r, int column,
                            char ret[CONGESTION_NAME_MAX + 1])
{
	const char *text;

	if (column_is_empty(r, column)) {
		ret[0] = '\0';
		return true;
	}
	if (!column_read_text(r, column, CONGESTION_NAME_MAX, &text))
		return false;
	snprintf(ret, CONGESTION_NAME_MAX + 1, "%s", text);
	return true;
}

/* ---- backends ---- */

static bool read_backend_ip(const struct column_reader *r, int column, struct ip *ret)
{
	const char *text;
	struct ip ip;

	if (!column_read_text(r, column, IP_TEXT_MAX - 1, &text))
		return false;
	if (ip_parse(text, &ip) != 0)
		return column_refuse(r, column, "must be an IPv4 or IPv6 address");
	if (ip_is_unspecified(&ip))
		return column_refuse(r, column, "the unspecified address is nobody's");
	if (ip_is_multicast(&ip))
		return column_refuse(r, column, "a multicast address cannot be connected to");
	*ret = ip;
	return true;
}

static bool read_state(const struct column_reader *r, int column, enum admin_state *ret)
{
	if (column_is_null(r, column)) {
		*ret = STATE_READY;
		return true;
	}
	for (int i = 0; i < ADMIN_STATES; i++) {
		if (column_is_word(r, column, admin_state_word((enum admin_state)i))) {
			*ret = (enum admin_state)i;
			return true;
		}
	}
	return column_refuse(r, column, "must be ready, drain or maint");
}

static bool read_backend(const struct column_reader *r, struct backend_row *row)
{
	return column_read_text(r, BACKEND_ID, BACKEND_ID_MAX, &row->id) &&
	       column_read_text(r, BACKEND_APP, APP_NAME_MAX, &row->app) &&
	       column_read_region(r, BACKEND_REGION, &row->region) &&
	       read_backend_ip(r, BACKEND_WG_IP, &row->addr.ip) &&
	       column_read_port(r, BACKEND_PORT, &row->addr.port) &&
	       column_read_bool(r, BACKEND_HEALTHY, &row->healthy) &&
	       column_read_u32(r, BACKEND_WEIGHT, 0, WEIGHT_MAX, &row->weight) &&
	       column_read_u32(r, BACKEND_SOFT_LIMIT, 1, LIMIT_MAX, &row->soft_limit) &&
	       column_read_u32(r, BACKEND_HARD_LIMIT, 1, LIMIT_MAX, &row->hard_limit) &&
	       column_read_bool(r, BACKEND_DELETED, &row->deleted) &&
	       column_country_or_none(r, BACKEND_COUNTRY, row->country) &&
	       read_state(r, BACKEND_STATE, &row->state) &&
	       read_congestion(r, BACKEND_CONGESTION, row->congestion);
}

enum row_verdict columns_backend(const struct column_value values[BACKEND_COLUMNS],
                                 struct backend_row *ret_row, struct row_error *ret_error)
{
	struct row_error error, ignored;
	struct column_reader r = {backend_columns, values, &error};
	struct column_reader deleted = {backend_columns, values, &ignored};
	struct backend_row row = {0};

	if (read_backend(&r, &row)) {
		*ret_row = row;
		return ROW_GOOD;
	}
	if (column_read_bool(&deleted, BACKEND_DELETED, &row.deleted) && row.deleted)
		return ROW_DROPPED;
	*ret_error = error;
	return ROW_BAD;
}

/* ---- services ---- */

static bool read_service(const struct column_reader *r, struct service_row *row)
{
	int64_t send_proxy = 0;
	const char *text;

	if (!column_read_text(r, SERVICE_LISTEN, ENDPOINT_TEXT_MAX - 1, &text))
		return false;
	if (endpoint_parse(text, false, &row->listen) != 0)
		return column_refuse(r, SERVICE_LISTEN,
		                     "must be address:port, [address]:port or :port");
	if (ip_is_multicast(&row->listen.ip))
		return column_refuse(r, SERVICE_LISTEN,
		                     "a multicast address cannot be listened on");
	if (!column_is_empty(r, SERVICE_APP) &&
	    !column_read_text(r, SERVICE_APP, APP_NAME_MAX, &row->app))
		return false;
	row->accept_proxy = true;
	if (!column_is_null(r, SERVICE_ACCEPT_PROXY) &&
	    !column_read_bool(r, SERVICE_ACCEPT_PROXY, &row->accept_proxy))
		return false;
	if (!column_number_or_none(r, SERVICE_SEND_PROXY, 0, 2, &send_proxy))
		return false;
	row->send_proxy = (uint8_t)send_proxy;
	return read_congestion(r, SERVICE_CONGESTION, row->congestion);
}

enum row_verdict columns_service(const struct column_value values[SERVICE_COLUMNS],
                                 struct service_row *ret_row, struct row_error *ret_error)
{
	struct column_reader r = {service_columns, values, ret_error};
	struct service_row row = {0};

	if (!read_service(&r, &row))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

/* ---- places ---- */

enum row_verdict columns_geo_override(const struct column_value values[GEO_OVERRIDE_COLUMNS],
                                      struct geo_override_row *ret_row, struct row_error *ret_error)
{
	struct column_reader r = {geo_override_columns, values, ret_error};
	struct geo_override_row row = {0};

	if (!column_read_prefix(&r, GEO_OVERRIDE_CIDR, &row.prefix) ||
	    !column_country_or_none(&r, GEO_OVERRIDE_COUNTRY, row.country))
		return ROW_BAD;
	if (!column_is_empty(&r, GEO_OVERRIDE_REGION) &&
	    !column_read_region(&r, GEO_OVERRIDE_REGION, &row.region))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

enum row_verdict columns_country_region(const struct column_value values[COUNTRY_REGION_COLUMNS],
                                        struct country_region_row *ret_row,
                                        struct row_error *ret_error)
{
	struct column_reader r = {country_region_columns, values, ret_error};
	struct country_region_row row = {0};

	if (!column_read_country(&r, COUNTRY_REGION_COUNTRY, row.country) ||
	    !column_read_region(&r, COUNTRY_REGION_REGION, &row.region))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

/* ---- health checks ---- */

static bool read_target(const struct column_reader *r, int column, struct health_check_row *row)
{
	const char *text;

	if (!column_read_text(r, column, CHECK_TARGET_MAX, &text))
		return false;
	if (strncmp(text, CHECK_TARGET_BACKEND, strlen(CHECK_TARGET_BACKEND)) == 0)
		row->backend = text + strlen(CHECK_TARGET_BACKEND);
	else if (strncmp(text, CHECK_TARGET_APP, strlen(CHECK_TARGET_APP)) == 0)
		row->app = text + strlen(CHECK_TARGET_APP);
	else if (strcmp(text, CHECK_TARGET_ALL) != 0)
		return column_refuse(r, column, "must be backend:ID, app:NAME or *");
	if (row->backend != NULL && row->backend[0] == '\0')
		return column_refuse(r, column, "names no backend");
	if (row->app != NULL && (row->app[0] == '\0' || strlen(row->app) > APP_NAME_MAX))
		return column_refuse(r, column, "names no app");
	return true;
}

static bool read_check_type(const struct column_reader *r, int column, enum check_type *ret)
{
	for (int i = CHECK_NONE; i <= CHECK_SCRIPT; i++) {
		if (column_is_word(r, column, check_type_word((enum check_type)i))) {
			*ret = (enum check_type)i;
			return true;
		}
	}
	return column_refuse(r, column, "must be none, tcp, http, grpc or script");
}

/* A name in a folder, never a way out of it. */
static bool read_script_name(const struct column_reader *r, struct health_check_row *row)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789_.-";

	if (!column_visible_or_none(r, HEALTH_CHECK_SCRIPT, CHECK_SCRIPT_MAX, &row->script))
		return false;
	if (row->script == NULL)
		return row->type != CHECK_SCRIPT ||
		       column_refuse(r, HEALTH_CHECK_SCRIPT,
		                     "a check of type script needs its name");
	if (row->script[0] == '.' || row->script[strspn(row->script, alphabet)] != '\0')
		return column_refuse(r, HEALTH_CHECK_SCRIPT,
		                     "must be a file's name of letters, digits, '_', '-' and '.'");
	return true;
}

static bool read_request(const struct column_reader *r, struct health_check_row *row)
{
	const char *text = NULL;

	if (!column_visible_or_none(r, HEALTH_CHECK_METHOD, CHECK_METHOD_MAX, &row->method) ||
	    !column_visible_or_none(r, HEALTH_CHECK_PATH, CHECK_PATH_MAX, &row->path) ||
	    !column_visible_or_none(r, HEALTH_CHECK_HOST, CHECK_HOST_MAX, &row->host) ||
	    !column_visible_or_none(r, HEALTH_CHECK_EXPECT_STATUS, STATUS_SET_TEXT_MAX - 1,
	                            &text) ||
	    !column_visible_or_none(r, HEALTH_CHECK_SERVICE, CHECK_SERVICE_MAX, &row->service))
		return false;
	if (row->path != NULL && row->path[0] != '/')
		return column_refuse(r, HEALTH_CHECK_PATH, "must begin with /");
	if (text != NULL && status_set_parse(text, &row->expect_status) != 0)
		return column_refuse(r, HEALTH_CHECK_EXPECT_STATUS,
		                     "must be codes such as 200-299,304");
	return column_is_null(r, HEALTH_CHECK_EXPECT_BODY) ||
	       column_read_text(r, HEALTH_CHECK_EXPECT_BODY, CHECK_BODY_MAX, &row->expect_body);
}

static bool read_check_timing(const struct column_reader *r, struct health_check_row *row)
{
	int64_t grace = -1;

	if (!column_u32_or_none(r, HEALTH_CHECK_INTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                        &row->inter_ms) ||
	    !column_u32_or_none(r, HEALTH_CHECK_FASTINTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                        &row->fastinter_ms) ||
	    !column_u32_or_none(r, HEALTH_CHECK_DOWNINTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                        &row->downinter_ms) ||
	    !column_u32_or_none(r, HEALTH_CHECK_TIMEOUT, 1, CHECK_TIMEOUT_MAX_MS,
	                        &row->timeout_ms) ||
	    !column_u32_or_none(r, HEALTH_CHECK_RISE, 1, CHECK_COUNT_MAX, &row->rise) ||
	    !column_u32_or_none(r, HEALTH_CHECK_FALL, 1, CHECK_COUNT_MAX, &row->fall) ||
	    !column_u32_or_none(r, HEALTH_CHECK_AGENT_INTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                        &row->agent_inter_ms))
		return false;
	if (!column_number_or_none(r, HEALTH_CHECK_GRACE, 0, CHECK_GRACE_MAX_MS, &grace))
		return false;
	row->grace_ms = grace;
	return true;
}

static bool read_health_check(const struct column_reader *r, struct health_check_row *row)
{
	int64_t send_proxy = -1;

	if (!read_target(r, HEALTH_CHECK_TARGET, row) ||
	    !read_check_type(r, HEALTH_CHECK_TYPE, &row->type) ||
	    !column_port_or_none(r, HEALTH_CHECK_PORT, &row->port) ||
	    !column_port_or_none(r, HEALTH_CHECK_AGENT_PORT, &row->agent_port) ||
	    !read_check_timing(r, row) || !read_request(r, row) || !read_script_name(r, row))
		return false;
	if (!column_number_or_none(r, HEALTH_CHECK_SEND_PROXY, 0, 2, &send_proxy))
		return false;
	row->send_proxy = (int16_t)send_proxy;
	return true;
}

enum row_verdict columns_health_check(const struct column_value values[HEALTH_CHECK_COLUMNS],
                                      struct health_check_row *ret_row, struct row_error *ret_error)
{
	struct column_reader r = {health_check_columns, values, ret_error};
	struct health_check_row row = {0};

	if (!read_health_check(&r, &row))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

/* ---- access rules ---- */

static bool read_whom(const struct column_reader *r, struct access_rule_row *row)
{
	bool by_cidr = !column_is_empty(r, ACCESS_RULE_CIDR);
	bool by_country = !column_is_empty(r, ACCESS_RULE_COUNTRY);

	if (!by_cidr && !by_country)
		return column_refuse(r, ACCESS_RULE_COUNTRY,
		                     "is needed where there is no cidr ('*': all)");
	if (by_cidr && by_country)
		return column_refuse(r, ACCESS_RULE_COUNTRY, "cannot stand beside a cidr");
	if (by_cidr) {
		row->match = ACCESS_CIDR;
		return column_read_prefix(r, ACCESS_RULE_CIDR, &row->prefix);
	}
	if (column_is_word(r, ACCESS_RULE_COUNTRY, "*")) {
		row->match = ACCESS_ALL;
		return true;
	}
	row->match = ACCESS_COUNTRY;
	return column_read_country(r, ACCESS_RULE_COUNTRY, row->country);
}

enum row_verdict columns_access_rule(const struct column_value values[ACCESS_RULE_COLUMNS],
                                     struct access_rule_row *ret_row, struct row_error *ret_error)
{
	struct column_reader r = {access_rule_columns, values, ret_error};
	struct access_rule_row row = {0};

	if (!column_read_text(&r, ACCESS_RULE_ID, ACCESS_RULE_ID_MAX, &row.id) ||
	    !column_read_text(&r, ACCESS_RULE_APP, APP_NAME_MAX, &row.app) || !read_whom(&r, &row))
		return ROW_BAD;
	if (column_is_word(&r, ACCESS_RULE_APP, "*"))
		row.app = NULL;
	row.allow = column_is_word(&r, ACCESS_RULE_ACTION, "allow");
	if (!row.allow && !column_is_word(&r, ACCESS_RULE_ACTION, "deny")) {
		column_refuse(&r, ACCESS_RULE_ACTION, "must be allow or deny");
		return ROW_BAD;
	}
	*ret_row = row;
	return ROW_GOOD;
}
