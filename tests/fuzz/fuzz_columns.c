/* Rows: the input is a row as lines of text. The first line is the letter of a table (b, s, g,
 * c, h or a); each further line is a value in the order of control/columns.def: n (NULL), i and a
 * number, r and a real number, t and a text, x and a blob. Missing lines are NULLs. What must hold
 * for every input:
 *
 * - a good row holds only what routing may rely on, checked here without the code that let it pass;
 * - a bad row names one of its columns and why, in text that has an end;
 * - only a backend that is marked deleted is dropped. */
#include "base/check.h"
#include "control/columns.h"
#include "fuzz.h"
#include "geo/country.h"
#include "route/limits.h"

#include <stdlib.h>
#include <string.h>

struct row {
	struct column_value values[COLUMNS_MAX];
	char *bytes[COLUMNS_MAX]; /* to be freed */
};

static void parse_value(const char *line, size_t len, struct column_value *v, char **ret_bytes)
{
	/* A block of its own, so that a read beyond the NUL is seen. */
	char *bytes = malloc(len + 1);

	CHECK(bytes != NULL);
	memcpy(bytes, line, len);
	bytes[len] = '\0';
	*ret_bytes = bytes;
	*v = (struct column_value){.type = VALUE_NULL, .text = ""};
	if (len == 0)
		return;
	switch (bytes[0]) {
	case 'i':
		v->type = VALUE_INT;
		v->integer = strtoll(bytes + 1, NULL, 10);
		break;
	case 'r':
		v->type = VALUE_REAL;
		v->real = strtod(bytes + 1, NULL);
		break;
	case 't':
	case 'x':
		v->type = bytes[0] == 't' ? VALUE_TEXT : VALUE_BLOB;
		v->text = bytes + 1;
		v->len = len - 1;
		break;
	default:
		break;
	}
}

static void parse_row(const char *data, size_t size, struct row *ret)
{
	for (int i = 0; i < COLUMNS_MAX; i++) {
		const char *end = size > 0 ? memchr(data, '\n', size) : NULL;
		size_t len = end != NULL ? (size_t)(end - data) : size;

		parse_value(size > 0 ? data : "", len, &ret->values[i], &ret->bytes[i]);
		data += end != NULL ? len + 1 : len;
		size -= end != NULL ? len + 1 : len;
	}
}

static void check_text(const char *text, size_t longest)
{
	CHECK(text != NULL && text[0] != '\0' && strlen(text) <= longest);
	for (; *text != '\0'; text++)
		CHECK((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_region(const char *region)
{
	check_text(region, REGION_NAME_MAX);
	for (; *region != '\0'; region++)
		CHECK((*region >= 'a' && *region <= 'z') || (*region >= 'A' && *region <= 'Z') ||
		      (*region >= '0' && *region <= '9') || *region == '_' || *region == '-');
}

static void check_country(const char country[3])
{
	CHECK(country[0] >= 'A' && country[0] <= 'Z' && country[1] >= 'A' && country[1] <= 'Z');
	CHECK(country[2] == '\0' && country_known(country));
}

static void check_error(const struct row_error *e, const struct column *columns, int count)
{
	bool known = false;

	for (int i = 0; i < count; i++)
		known |= e->column == columns[i].name;
	CHECK(known);
	CHECK(memchr(e->value, '\0', sizeof(e->value)) != NULL);
	CHECK(memchr(e->why, '\0', sizeof(e->why)) != NULL && e->why[0] != '\0');
}

static void check_backend(const struct column_value *v)
{
	struct backend_row row;
	struct row_error error;

	switch (columns_backend(v, &row, &error)) {
	case ROW_GOOD:
		check_text(row.id, BACKEND_ID_MAX);
		check_text(row.app, APP_NAME_MAX);
		check_region(row.region);
		if (row.country[0] != '\0')
			check_country(row.country);
		CHECK(row.addr.port != 0);
		CHECK(!ip_is_unspecified(&row.addr.ip) && !ip_is_multicast(&row.addr.ip));
		CHECK(row.weight <= WEIGHT_MAX);
		CHECK(row.soft_limit >= 1 && row.soft_limit <= LIMIT_MAX);
		CHECK(row.hard_limit >= 1 && row.hard_limit <= LIMIT_MAX);
		CHECK(row.state == STATE_READY || row.state == STATE_DRAIN ||
		      row.state == STATE_MAINT);
		for (int i = 0; i < BACKEND_COLUMNS; i++)
			CHECK(v[i].type != VALUE_BLOB &&
			      (v[i].type != VALUE_NULL || !backend_columns[i].needed));
		break;
	case ROW_BAD:
		check_error(&error, backend_columns, BACKEND_COLUMNS);
		break;
	case ROW_DROPPED:
		CHECK(v[BACKEND_DELETED].type != VALUE_NULL);
		break;
	}
}

static void check_service(const struct column_value *v)
{
	struct service_row row;
	struct row_error error;

	if (columns_service(v, &row, &error) == ROW_GOOD) {
		CHECK(row.listen.port != 0 && row.send_proxy <= 2);
		if (row.app != NULL)
			check_text(row.app, APP_NAME_MAX);
	} else {
		check_error(&error, service_columns, SERVICE_COLUMNS);
	}
}

static void check_geo_override(const struct column_value *v)
{
	struct geo_override_row row;
	struct row_error error;

	if (columns_geo_override(v, &row, &error) == ROW_GOOD) {
		CHECK(row.prefix.bits <= 128);
		CHECK(prefix_contains(&row.prefix, &row.prefix.ip));
		if (row.country[0] != '\0')
			check_country(row.country);
		if (row.region != NULL)
			check_region(row.region);
	} else {
		check_error(&error, geo_override_columns, GEO_OVERRIDE_COLUMNS);
	}
}

static void check_country_region(const struct column_value *v)
{
	struct country_region_row row;
	struct row_error error;

	if (columns_country_region(v, &row, &error) == ROW_GOOD) {
		check_country(row.country);
		check_region(row.region);
	} else {
		check_error(&error, country_region_columns, COUNTRY_REGION_COLUMNS);
	}
}

static void check_word(const char *text, size_t longest)
{
	if (text == NULL)
		return;
	check_text(text, longest);
	for (; *text != '\0'; text++)
		CHECK(*text > ' ' && *text <= '~');
}

static void check_health_check(const struct column_value *v)
{
	struct health_check_row row;
	struct row_error error;
	char target[CHECK_TARGET_MAX + 1];

	if (columns_health_check(v, &row, &error) != ROW_GOOD) {
		check_error(&error, health_check_columns, HEALTH_CHECK_COLUMNS);
		return;
	}
	CHECK(row.backend == NULL || row.app == NULL);
	CHECK(strcmp(health_check_target(&row, target), v[HEALTH_CHECK_TARGET].text) == 0);
	CHECK(row.type >= CHECK_NONE && row.type <= CHECK_SCRIPT);
	CHECK(row.send_proxy >= -1 && row.send_proxy <= 2);
	CHECK(row.inter_ms == 0 ||
	      (row.inter_ms >= CHECK_INTER_MIN_MS && row.inter_ms <= CHECK_INTER_MAX_MS));
	CHECK(row.timeout_ms <= CHECK_TIMEOUT_MAX_MS);
	CHECK(row.grace_ms >= -1 && row.grace_ms <= CHECK_GRACE_MAX_MS);
	CHECK(row.rise <= CHECK_COUNT_MAX && row.fall <= CHECK_COUNT_MAX);
	check_word(row.method, CHECK_METHOD_MAX);
	check_word(row.path, CHECK_PATH_MAX);
	check_word(row.host, CHECK_HOST_MAX);
	check_word(row.service, CHECK_SERVICE_MAX);
	check_word(row.script, CHECK_SCRIPT_MAX);
	CHECK(row.path == NULL || row.path[0] == '/');
	CHECK(row.type != CHECK_SCRIPT || row.script != NULL);
	CHECK(row.script == NULL || (row.script[0] != '.' && strchr(row.script, '/') == NULL));
	CHECK(row.expect_status.count <= STATUS_RANGES_MAX);
	if (row.expect_body != NULL)
		check_text(row.expect_body, CHECK_BODY_MAX);
}

static void check_access_rule(const struct column_value *v)
{
	struct access_rule_row row;
	struct row_error error;

	if (columns_access_rule(v, &row, &error) == ROW_GOOD) {
		check_text(row.id, ACCESS_RULE_ID_MAX);
		if (row.app != NULL)
			check_text(row.app, APP_NAME_MAX);
		CHECK(v[ACCESS_RULE_ACTION].len == (row.allow ? 5 : 4));
		switch (row.match) {
		case ACCESS_CIDR:
			CHECK(row.prefix.bits <= 128);
			CHECK(prefix_contains(&row.prefix, &row.prefix.ip));
			break;
		case ACCESS_COUNTRY:
			check_country(row.country);
			break;
		case ACCESS_ALL:
			CHECK(strcmp(v[ACCESS_RULE_COUNTRY].text, "*") == 0);
			break;
		}
	} else {
		check_error(&error, access_rule_columns, ACCESS_RULE_COLUMNS);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct row row;

	if (size < 2 || data[1] != '\n')
		return 0;
	parse_row((const char *)data + 2, size - 2, &row);
	switch (data[0]) {
	case 'b':
		check_backend(row.values);
		break;
	case 's':
		check_service(row.values);
		break;
	case 'g':
		check_geo_override(row.values);
		break;
	case 'c':
		check_country_region(row.values);
		break;
	case 'h':
		check_health_check(row.values);
		break;
	case 'a':
		check_access_rule(row.values);
		break;
	default:
		break;
	}
	for (int i = 0; i < COLUMNS_MAX; i++)
		free(row.bytes[i]);
	return 0;
}
