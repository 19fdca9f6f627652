/* The gate through which every row passes. What comes out can be routed to without another look:
 * numbers are in range, texts are short, printable and not empty, addresses are addresses.
 *
 * It trusts nothing but the lengths of the values. It never repairs: a row is good as it stands or
 * it is refused with the first column at fault, because half a row, or a row that two writers have
 * merged, would send clients to a place that nobody chose.
 *
 * Each field has one small reader that returns false after it has said why; the row functions are
 * chains of them. */
#include "control/columns.h"

#include "geo/country.h"
#include "route/limits.h"

#include <errno.h>
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

/* One row being read. */
struct reader {
	const struct column *columns;
	const struct column_value *values;
	struct row_error *error;
};

static void value_describe(const struct column_value *v, char buf[ROW_VALUE_MAX])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	switch (v->type) {
	case VALUE_NULL:
		snprintf(buf, ROW_VALUE_MAX, "NULL");
		return;
	case VALUE_INT:
		snprintf(buf, ROW_VALUE_MAX, "%lld", (long long)v->integer);
		return;
	case VALUE_REAL:
		snprintf(buf, ROW_VALUE_MAX, "%.17g", v->real);
		return;
	case VALUE_TEXT:
		/* A NUL inside would hide the rest. */
		for (; n < v->len && n < ROW_VALUE_MAX - 1; n++)
			buf[n] = v->text[n] != '\0' ? v->text[n] : '?';
		buf[n] = '\0';
		return;
	case VALUE_BLOB:
		n = (size_t)snprintf(buf, ROW_VALUE_MAX, "x'");
		for (size_t i = 0; i < v->len && n < ROW_VALUE_MAX - 4; i++) {
			buf[n++] = digits[(unsigned char)v->text[i] >> 4];
			buf[n++] = digits[(unsigned char)v->text[i] & 15];
		}
		snprintf(buf + n, ROW_VALUE_MAX - n, "'");
		return;
	}
	CHECK(false);
}

void row_error_set(struct row_error *e, const char *column, const struct column_value *value,
                   const char *why)
{
	e->column = column;
	value_describe(value, e->value);
	snprintf(e->why, sizeof(e->why), "%s", why);
}

static bool refuse(const struct reader *r, int column, const char *why)
{
	row_error_set(r->error, r->columns[column].name, &r->values[column], why);
	return false;
}

/* ---- values of one kind ---- */

/* A text that is exactly a number as SQLite would print it: a column without a type keeps '8080' as
 * the text it was written as. */
static bool text_to_integer(const char *text, size_t len, int64_t *ret)
{
	size_t at = len > 0 && text[0] == '-' ? 1 : 0;
	int64_t value = 0;

	/* 18 digits cannot overflow. */
	if (at == len || len - at > 18 || (text[at] == '0' && len != 1))
		return false;
	for (; at < len; at++) {
		if (text[at] < '0' || text[at] > '9')
			return false;
		value = value * 10 + (text[at] - '0');
	}
	*ret = text[0] == '-' ? -value : value;
	return true;
}

static bool read_number(const struct reader *r, int column, int64_t least, int64_t most,
                        int64_t *ret)
{
	const struct column_value *v = &r->values[column];
	char why[ROW_WHY_MAX];
	int64_t value = 0;
	bool whole = false;

	if (v->type == VALUE_INT) {
		value = v->integer;
		whole = true;
	} else if (v->type == VALUE_REAL && v->real >= -1e15 && v->real <= 1e15) {
		value = (int64_t)v->real;
		whole = (double)value == v->real;
	} else if (v->type == VALUE_TEXT) {
		whole = text_to_integer(v->text, v->len, &value);
	}
	if (whole && value >= least && value <= most) {
		*ret = value;
		return true;
	}
	snprintf(why, sizeof(why), "must be a whole number, %lld..%lld", (long long)least,
	         (long long)most);
	return refuse(r, column, why);
}

static bool read_bool(const struct reader *r, int column, bool *ret)
{
	int64_t value;

	if (!read_number(r, column, 0, 1, &value))
		return false;
	*ret = value == 1;
	return true;
}

static bool read_u32(const struct reader *r, int column, uint32_t least, uint32_t most,
                     uint32_t *ret)
{
	int64_t value;

	if (!read_number(r, column, least, most, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* U+0000 to U+001F, U+007F, and in UTF-8 U+0080 to U+009F: a terminal may obey any of them. */
static bool is_control(const char *text, size_t i)
{
	unsigned char c = (unsigned char)text[i];

	return c < 0x20 || c == 0x7f ||
	       ((c & 0xe0) == 0x80 && i > 0 && (unsigned char)text[i - 1] == 0xc2);
}

/* 1..longest bytes, none of them a control character (nor, so, a NUL). */
static bool read_text(const struct reader *r, int column, size_t longest, const char **ret)
{
	const struct column_value *v = &r->values[column];
	char why[ROW_WHY_MAX];

	if (v->type != VALUE_TEXT)
		return refuse(r, column, "must be a text");
	if (v->len == 0)
		return refuse(r, column, "must not be empty");
	if (v->len > longest) {
		snprintf(why, sizeof(why), "must have at most %zu bytes", longest);
		return refuse(r, column, why);
	}
	for (size_t i = 0; i < v->len; i++) {
		if (is_control(v->text, i))
			return refuse(r, column, "must not hold control characters");
	}
	*ret = v->text;
	return true;
}

static bool is_word(const struct column_value *v, const char *word)
{
	return v->type == VALUE_TEXT && v->len == strlen(word) &&
	       memcmp(v->text, word, v->len) == 0;
}

static bool is_empty(const struct column_value *v)
{
	return v->type == VALUE_NULL || (v->type == VALUE_TEXT && v->len == 0);
}

/* The alphabet of region_intern(): a name that it refused would cost the whole table. */
static bool read_region(const struct reader *r, int column, const char **ret)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789_-";
	const char *text;

	if (!read_text(r, column, REGION_NAME_MAX, &text))
		return false;
	if (text[strspn(text, alphabet)] != '\0')
		return refuse(r, column, "must be of letters, digits, '-' and '_'");
	*ret = text;
	return true;
}

static bool read_country(const struct reader *r, int column, char ret[3])
{
	const struct column_value *v = &r->values[column];

	if (v->type != VALUE_TEXT || v->len != 2 || country_index(v->text) == COUNTRY_INDEX_NONE)
		return refuse(r, column, "must be a country code of two letters");
	if (!country_known(v->text))
		return refuse(r, column, "is not an assigned ISO 3166-1 code");
	for (int i = 0; i < 2; i++)
		ret[i] = (char)(v->text[i] & ~0x20);
	ret[2] = '\0';
	return true;
}

static bool read_country_or_none(const struct reader *r, int column, char ret[3])
{
	if (!is_empty(&r->values[column]))
		return read_country(r, column, ret);
	ret[0] = '\0';
	return true;
}

static bool read_backend_ip(const struct reader *r, int column, struct ip *ret)
{
	const char *text;
	struct ip ip;

	if (!read_text(r, column, IP_TEXT_MAX - 1, &text))
		return false;
	if (ip_parse(text, &ip) != 0)
		return refuse(r, column, "must be an IPv4 or IPv6 address");
	if (ip_is_unspecified(&ip))
		return refuse(r, column, "the unspecified address is nobody's");
	if (ip_is_multicast(&ip))
		return refuse(r, column, "a multicast address cannot be connected to");
	*ret = ip;
	return true;
}

static bool read_state(const struct reader *r, int column, enum admin_state *ret)
{
	static const struct {
		const char *word;
		enum admin_state state;
	} states[] = {{"ready", STATE_READY}, {"drain", STATE_DRAIN}, {"maint", STATE_MAINT}};
	const struct column_value *v = &r->values[column];

	if (v->type == VALUE_NULL) {
		*ret = STATE_READY;
		return true;
	}
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (is_word(v, states[i].word)) {
			*ret = states[i].state;
			return true;
		}
	}
	return refuse(r, column, "must be ready, drain or maint");
}

static bool read_prefix(const struct reader *r, int column, struct prefix *ret)
{
	const char *text;
	int rc;

	if (!read_text(r, column, PREFIX_TEXT_MAX - 1, &text))
		return false;
	rc = prefix_parse(text, ret);
	if (rc == 0)
		return true;
	return refuse(r, column,
	              rc == -EDOM ? "has bits set behind the prefix length"
	                          : "must be an address or address/length");
}

/* A name such as "bbr". Whether this kernel has it is not a property of the row. */
static bool read_congestion(const struct reader *r, int column, char ret[CONGESTION_NAME_MAX + 1])
{
	const char *text;

	if (is_empty(&r->values[column])) {
		ret[0] = '\0';
		return true;
	}
	if (!read_text(r, column, CONGESTION_NAME_MAX, &text))
		return false;
	snprintf(ret, CONGESTION_NAME_MAX + 1, "%s", text);
	return true;
}

/* ---- rows ---- */

static bool read_backend(const struct reader *r, struct backend_row *row)
{
	uint32_t port;

	if (!read_text(r, BACKEND_ID, BACKEND_ID_MAX, &row->id) ||
	    !read_text(r, BACKEND_APP, APP_NAME_MAX, &row->app) ||
	    !read_region(r, BACKEND_REGION, &row->region) ||
	    !read_backend_ip(r, BACKEND_WG_IP, &row->addr.ip) ||
	    !read_u32(r, BACKEND_PORT, 1, UINT16_MAX, &port) ||
	    !read_bool(r, BACKEND_HEALTHY, &row->healthy) ||
	    !read_u32(r, BACKEND_WEIGHT, 0, WEIGHT_MAX, &row->weight) ||
	    !read_u32(r, BACKEND_SOFT_LIMIT, 1, LIMIT_MAX, &row->soft_limit) ||
	    !read_u32(r, BACKEND_HARD_LIMIT, 1, LIMIT_MAX, &row->hard_limit) ||
	    !read_bool(r, BACKEND_DELETED, &row->deleted) ||
	    !read_country_or_none(r, BACKEND_COUNTRY, row->country) ||
	    !read_state(r, BACKEND_STATE, &row->state) ||
	    !read_congestion(r, BACKEND_CONGESTION, row->congestion))
		return false;
	row->addr.port = (uint16_t)port;
	return true;
}

enum row_verdict columns_backend(const struct column_value values[BACKEND_COLUMNS],
                                 struct backend_row *ret_row, struct row_error *ret_error)
{
	struct row_error error, ignored;
	struct reader r = {backend_columns, values, &error};
	struct reader deleted = {backend_columns, values, &ignored};
	struct backend_row row = {0};

	if (read_backend(&r, &row)) {
		*ret_row = row;
		return ROW_GOOD;
	}
	if (read_bool(&deleted, BACKEND_DELETED, &row.deleted) && row.deleted)
		return ROW_DROPPED;
	*ret_error = error;
	return ROW_BAD;
}

static bool read_service(const struct reader *r, struct service_row *row)
{
	int64_t number;
	const char *text;

	if (!read_text(r, SERVICE_LISTEN, ENDPOINT_TEXT_MAX - 1, &text))
		return false;
	if (endpoint_parse(text, false, &row->listen) != 0)
		return refuse(r, SERVICE_LISTEN, "must be address:port, [address]:port or :port");
	if (ip_is_multicast(&row->listen.ip))
		return refuse(r, SERVICE_LISTEN, "a multicast address cannot be listened on");
	if (!is_empty(&r->values[SERVICE_APP]) &&
	    !read_text(r, SERVICE_APP, APP_NAME_MAX, &row->app))
		return false;
	row->accept_proxy = true;
	if (r->values[SERVICE_ACCEPT_PROXY].type != VALUE_NULL &&
	    !read_bool(r, SERVICE_ACCEPT_PROXY, &row->accept_proxy))
		return false;
	number = 0;
	if (r->values[SERVICE_SEND_PROXY].type != VALUE_NULL &&
	    !read_number(r, SERVICE_SEND_PROXY, 0, 2, &number))
		return false;
	row->send_proxy = (uint8_t)number;
	return read_congestion(r, SERVICE_CONGESTION, row->congestion);
}

enum row_verdict columns_service(const struct column_value values[SERVICE_COLUMNS],
                                 struct service_row *ret_row, struct row_error *ret_error)
{
	struct reader r = {service_columns, values, ret_error};
	struct service_row row = {0};

	if (!read_service(&r, &row))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

enum row_verdict columns_geo_override(const struct column_value values[GEO_OVERRIDE_COLUMNS],
                                      struct geo_override_row *ret_row, struct row_error *ret_error)
{
	struct reader r = {geo_override_columns, values, ret_error};
	struct geo_override_row row = {0};

	if (!read_prefix(&r, GEO_OVERRIDE_CIDR, &row.prefix) ||
	    !read_country_or_none(&r, GEO_OVERRIDE_COUNTRY, row.country))
		return ROW_BAD;
	if (!is_empty(&values[GEO_OVERRIDE_REGION]) &&
	    !read_region(&r, GEO_OVERRIDE_REGION, &row.region))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

enum row_verdict columns_country_region(const struct column_value values[COUNTRY_REGION_COLUMNS],
                                        struct country_region_row *ret_row,
                                        struct row_error *ret_error)
{
	struct reader r = {country_region_columns, values, ret_error};
	struct country_region_row row = {0};

	if (!read_country(&r, COUNTRY_REGION_COUNTRY, row.country) ||
	    !read_region(&r, COUNTRY_REGION_REGION, &row.region))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

/* ---- health checks ---- */

static bool is_null(const struct reader *r, int column)
{
	return r->values[column].type == VALUE_NULL;
}

/* What is NULL stays what it is. */
static bool read_u32_or_none(const struct reader *r, int column, uint32_t least, uint32_t most,
                             uint32_t *ret)
{
	return is_null(r, column) || read_u32(r, column, least, most, ret);
}

static bool read_port_or_none(const struct reader *r, int column, uint16_t *ret)
{
	uint32_t port = 0;

	if (!read_u32_or_none(r, column, 1, UINT16_MAX, &port))
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* A text of visible ASCII characters, which can stand in a request line or a header. */
static bool read_word_or_none(const struct reader *r, int column, size_t longest, const char **ret)
{
	const char *text;

	if (is_null(r, column))
		return true;
	if (!read_text(r, column, longest, &text))
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return refuse(r, column, "must be of visible ASCII characters, no spaces");
	*ret = text;
	return true;
}

static bool read_target(const struct reader *r, int column, struct health_check_row *row)
{
	const char *text;

	if (!read_text(r, column, CHECK_TARGET_MAX, &text))
		return false;
	if (strncmp(text, CHECK_TARGET_BACKEND, strlen(CHECK_TARGET_BACKEND)) == 0)
		row->backend = text + strlen(CHECK_TARGET_BACKEND);
	else if (strncmp(text, CHECK_TARGET_APP, strlen(CHECK_TARGET_APP)) == 0)
		row->app = text + strlen(CHECK_TARGET_APP);
	else if (strcmp(text, CHECK_TARGET_ALL) != 0)
		return refuse(r, column, "must be backend:ID, app:NAME or *");
	if (row->backend != NULL && row->backend[0] == '\0')
		return refuse(r, column, "names no backend");
	if (row->app != NULL && (row->app[0] == '\0' || strlen(row->app) > APP_NAME_MAX))
		return refuse(r, column, "names no app");
	return true;
}

static bool read_check_type(const struct reader *r, int column, enum check_type *ret)
{
	const struct column_value *v = &r->values[column];

	for (int i = CHECK_NONE; i <= CHECK_SCRIPT; i++) {
		const char *word = check_type_word((enum check_type)i);

		if (v->type == VALUE_TEXT && v->len == strlen(word) &&
		    memcmp(v->text, word, v->len) == 0) {
			*ret = (enum check_type)i;
			return true;
		}
	}
	return refuse(r, column, "must be none, tcp, http, grpc or script");
}

/* A name in a folder, never a way out of it. */
static bool read_script_name(const struct reader *r, struct health_check_row *row)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789_.-";

	if (!read_word_or_none(r, HEALTH_CHECK_SCRIPT, CHECK_SCRIPT_MAX, &row->script))
		return false;
	if (row->script == NULL)
		return row->type != CHECK_SCRIPT ||
		       refuse(r, HEALTH_CHECK_SCRIPT, "a check of type script needs its name");
	if (row->script[0] == '.' || row->script[strspn(row->script, alphabet)] != '\0')
		return refuse(r, HEALTH_CHECK_SCRIPT,
		              "must be a file's name of letters, digits, '_', '-' and '.'");
	return true;
}

static bool read_request(const struct reader *r, struct health_check_row *row)
{
	const char *text = NULL;

	if (!read_word_or_none(r, HEALTH_CHECK_METHOD, CHECK_METHOD_MAX, &row->method) ||
	    !read_word_or_none(r, HEALTH_CHECK_PATH, CHECK_PATH_MAX, &row->path) ||
	    !read_word_or_none(r, HEALTH_CHECK_HOST, CHECK_HOST_MAX, &row->host) ||
	    !read_word_or_none(r, HEALTH_CHECK_EXPECT_STATUS, STATUS_SET_TEXT_MAX - 1, &text) ||
	    !read_word_or_none(r, HEALTH_CHECK_SERVICE, CHECK_SERVICE_MAX, &row->service))
		return false;
	if (row->path != NULL && row->path[0] != '/')
		return refuse(r, HEALTH_CHECK_PATH, "must begin with /");
	if (text != NULL && status_set_parse(text, &row->expect_status) != 0)
		return refuse(r, HEALTH_CHECK_EXPECT_STATUS, "must be codes such as 200-299,304");
	return is_null(r, HEALTH_CHECK_EXPECT_BODY) ||
	       read_text(r, HEALTH_CHECK_EXPECT_BODY, CHECK_BODY_MAX, &row->expect_body);
}

static bool read_check_timing(const struct reader *r, struct health_check_row *row)
{
	int64_t grace = -1;

	if (!read_u32_or_none(r, HEALTH_CHECK_INTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                      &row->inter_ms) ||
	    !read_u32_or_none(r, HEALTH_CHECK_FASTINTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                      &row->fastinter_ms) ||
	    !read_u32_or_none(r, HEALTH_CHECK_DOWNINTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                      &row->downinter_ms) ||
	    !read_u32_or_none(r, HEALTH_CHECK_TIMEOUT, 1, CHECK_TIMEOUT_MAX_MS, &row->timeout_ms) ||
	    !read_u32_or_none(r, HEALTH_CHECK_RISE, 1, CHECK_COUNT_MAX, &row->rise) ||
	    !read_u32_or_none(r, HEALTH_CHECK_FALL, 1, CHECK_COUNT_MAX, &row->fall) ||
	    !read_u32_or_none(r, HEALTH_CHECK_AGENT_INTER, CHECK_INTER_MIN_MS, CHECK_INTER_MAX_MS,
	                      &row->agent_inter_ms))
		return false;
	if (!is_null(r, HEALTH_CHECK_GRACE) &&
	    !read_number(r, HEALTH_CHECK_GRACE, 0, CHECK_GRACE_MAX_MS, &grace))
		return false;
	row->grace_ms = grace;
	return true;
}

static bool read_health_check(const struct reader *r, struct health_check_row *row)
{
	int64_t send_proxy = -1;

	if (!read_target(r, HEALTH_CHECK_TARGET, row) ||
	    !read_check_type(r, HEALTH_CHECK_TYPE, &row->type) ||
	    !read_port_or_none(r, HEALTH_CHECK_PORT, &row->port) ||
	    !read_port_or_none(r, HEALTH_CHECK_AGENT_PORT, &row->agent_port) ||
	    !read_check_timing(r, row) || !read_request(r, row) || !read_script_name(r, row))
		return false;
	if (!is_null(r, HEALTH_CHECK_SEND_PROXY) &&
	    !read_number(r, HEALTH_CHECK_SEND_PROXY, 0, 2, &send_proxy))
		return false;
	row->send_proxy = (int16_t)send_proxy;
	return true;
}

enum row_verdict columns_health_check(const struct column_value values[HEALTH_CHECK_COLUMNS],
                                      struct health_check_row *ret_row, struct row_error *ret_error)
{
	struct reader r = {health_check_columns, values, ret_error};
	struct health_check_row row = {0};

	if (!read_health_check(&r, &row))
		return ROW_BAD;
	*ret_row = row;
	return ROW_GOOD;
}

static bool read_whom(const struct reader *r, struct access_rule_row *row)
{
	bool by_cidr = !is_empty(&r->values[ACCESS_RULE_CIDR]);
	bool by_country = !is_empty(&r->values[ACCESS_RULE_COUNTRY]);

	if (!by_cidr && !by_country)
		return refuse(r, ACCESS_RULE_COUNTRY,
		              "is needed where there is no cidr ('*': all)");
	if (by_cidr && by_country)
		return refuse(r, ACCESS_RULE_COUNTRY, "cannot stand beside a cidr");
	if (by_cidr) {
		row->match = ACCESS_CIDR;
		return read_prefix(r, ACCESS_RULE_CIDR, &row->prefix);
	}
	if (is_word(&r->values[ACCESS_RULE_COUNTRY], "*")) {
		row->match = ACCESS_ALL;
		return true;
	}
	row->match = ACCESS_COUNTRY;
	return read_country(r, ACCESS_RULE_COUNTRY, row->country);
}

enum row_verdict columns_access_rule(const struct column_value values[ACCESS_RULE_COLUMNS],
                                     struct access_rule_row *ret_row, struct row_error *ret_error)
{
	struct reader r = {access_rule_columns, values, ret_error};
	struct access_rule_row row = {0};

	if (!read_text(&r, ACCESS_RULE_ID, ACCESS_RULE_ID_MAX, &row.id) ||
	    !read_text(&r, ACCESS_RULE_APP, APP_NAME_MAX, &row.app) || !read_whom(&r, &row))
		return ROW_BAD;
	if (is_word(&values[ACCESS_RULE_APP], "*"))
		row.app = NULL;
	row.allow = is_word(&values[ACCESS_RULE_ACTION], "allow");
	if (!row.allow && !is_word(&values[ACCESS_RULE_ACTION], "deny")) {
		refuse(&r, ACCESS_RULE_ACTION, "must be allow or deny");
		return ROW_BAD;
	}
	*ret_row = row;
	return ROW_GOOD;
}
