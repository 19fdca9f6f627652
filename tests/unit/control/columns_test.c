/* Rows as hostile input: what is good, and for each column what is not, with the column named. */
#include "control/columns.h"

#include "column_values.h"
#include "route/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void good_backend(struct column_value v[BACKEND_COLUMNS])
{
	v[BACKEND_ID] = text("sa-node-1");
	v[BACKEND_APP] = text("myapp");
	v[BACKEND_REGION] = text("sa");
	v[BACKEND_WG_IP] = text("10.50.1.1");
	v[BACKEND_PORT] = integer(8080);
	v[BACKEND_HEALTHY] = integer(1);
	v[BACKEND_WEIGHT] = integer(2);
	v[BACKEND_SOFT_LIMIT] = integer(50);
	v[BACKEND_HARD_LIMIT] = integer(100);
	v[BACKEND_DELETED] = integer(0);
	v[BACKEND_COUNTRY] = null();
	v[BACKEND_STATE] = null();
	v[BACKEND_CONGESTION] = null();
}

static void the_seed_row_is_good(void **unused)
{
	struct column_value v[BACKEND_COLUMNS];
	struct backend_row row;
	struct row_error error;
	char ip[IP_TEXT_MAX];

	(void)unused;
	good_backend(v);
	assert_int_equal(columns_backend(v, &row, &error), ROW_GOOD);
	assert_string_equal(row.id, "sa-node-1");
	assert_string_equal(row.app, "myapp");
	assert_string_equal(row.region, "sa");
	assert_string_equal(row.country, "");
	assert_string_equal(ip_format(&row.addr.ip, ip), "10.50.1.1");
	assert_int_equal(row.addr.port, 8080);
	assert_true(row.healthy);
	assert_false(row.deleted);
	assert_int_equal(row.state, STATE_READY);
	assert_int_equal(row.weight, 2);
	assert_int_equal(row.soft_limit, 50);
	assert_int_equal(row.hard_limit, 100);
}

/* Replaces one value of the good row, and expects the verdict. */
static enum row_verdict with(int column, struct column_value value, struct backend_row *ret_row,
                             struct row_error *ret_error)
{
	struct column_value v[BACKEND_COLUMNS];

	good_backend(v);
	v[column] = value;
	return columns_backend(v, ret_row, ret_error);
}

static void assert_bad(int column, struct column_value value)
{
	struct backend_row row;
	struct row_error error;

	memset(&row, 0x5a, sizeof(row));
	assert_int_equal(with(column, value, &row, &error), ROW_BAD);
	assert_string_equal(error.column, backend_columns[column].name);
	assert_true(error.why[0] != '\0');
	/* Outputs are written only on success. */
	assert_int_equal(((unsigned char *)&row)[0], 0x5a);
}

static void assert_good(int column, struct column_value value, struct backend_row *ret_row)
{
	struct row_error error;

	assert_int_equal(with(column, value, ret_row, &error), ROW_GOOD);
}

static void a_half_replicated_row_is_bad(void **unused)
{
	(void)unused;
	for (int column = 0; column < BACKEND_COLUMNS; column++) {
		struct backend_row row;

		if (backend_columns[column].needed)
			assert_bad(column, null());
		else
			assert_good(column, null(), &row);
	}
}

static void blobs_are_never_good(void **unused)
{
	(void)unused;
	for (int column = 0; column < BACKEND_COLUMNS; column++) {
		assert_bad(column, blob("1", 1));
		assert_bad(column, blob("", 0));
	}
}

static void texts(void **unused)
{
	static const struct {
		int column;
		size_t longest;
	} columns[] = {
		{BACKEND_ID, BACKEND_ID_MAX},
		{BACKEND_APP, APP_NAME_MAX},
		{BACKEND_REGION, REGION_NAME_MAX},
	};
	char longest[BACKEND_ID_MAX + 2];
	struct backend_row row;

	(void)unused;
	memset(longest, 'x', sizeof(longest));
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		int column = columns[i].column;

		longest[columns[i].longest] = '\0';
		assert_good(column, text(longest), &row);
		longest[columns[i].longest] = 'x';
		longest[columns[i].longest + 1] = '\0';
		assert_bad(column, text(longest));
		longest[columns[i].longest + 1] = 'x';
		assert_bad(column, text(""));
		assert_bad(column, text("a\nb"));
		assert_bad(column, integer(7));
		assert_bad(column, real(7));
	}
	assert_good(BACKEND_ID, text("S\xc3\xa3o Paulo 1"), &row);
	assert_good(BACKEND_REGION, text("Eu-west_1"), &row);
	assert_bad(BACKEND_REGION, text("eu west"));
	assert_bad(BACKEND_REGION, text("\xc3\xa3"));
}

static void numbers(void **unused)
{
	static const struct {
		int column;
		int64_t least;
		int64_t most;
	} columns[] = {
		{BACKEND_PORT, 1, 65535},           {BACKEND_HEALTHY, 0, 1},
		{BACKEND_WEIGHT, 0, WEIGHT_MAX},    {BACKEND_SOFT_LIMIT, 1, LIMIT_MAX},
		{BACKEND_HARD_LIMIT, 1, LIMIT_MAX}, {BACKEND_DELETED, 0, 1},
	};
	struct backend_row row;

	(void)unused;
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		int column = columns[i].column;

		assert_good(column, integer(columns[i].least), &row);
		if (column != BACKEND_DELETED)
			assert_good(column, integer(columns[i].most), &row);
		assert_bad(column, integer(columns[i].least - 1));
		assert_bad(column, integer(columns[i].most + 1));
		assert_bad(column, integer(INT64_MIN));
		assert_bad(column, integer(INT64_MAX));
		/* Would be in range after a truncation to 32 or 16 bits. */
		assert_bad(column, integer((INT64_C(1) << 32) + columns[i].least));
		assert_bad(column, real(0.5));
		assert_bad(column, real(1e300));
		assert_bad(column, real(-1e300));
		assert_bad(column, real(0.0 / 0.0));
		assert_bad(column, real(1.0 / 0.0));
		assert_bad(column, text(""));
		assert_bad(column, text("many"));
	}
}

static void addresses(void **unused)
{
	static const char *const bad[] = {
		"0.0.0.0",    "::",        "224.0.0.1",  "ff02::1",        "239.255.255.255",
		"10.0.0",     "10.0.0.1 ", "10.0.0.256", "[2001:db8::1]",  "10.0.0.1:80",
		"fe80::1%lo", "db.local",  "",           "::ffff:0.0.0.0", "::ffff:224.0.0.1",
	};
	struct backend_row row;
	char ip[IP_TEXT_MAX];

	(void)unused;
	assert_good(BACKEND_WG_IP, text("2001:db8::1"), &row);
	assert_string_equal(ip_format(&row.addr.ip, ip), "2001:db8::1");
	assert_good(BACKEND_WG_IP, text("::ffff:10.0.0.1"), &row);
	assert_string_equal(ip_format(&row.addr.ip, ip), "10.0.0.1");
	assert_good(BACKEND_WG_IP, text("127.0.0.1"), &row);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_bad(BACKEND_WG_IP, text(bad[i]));
	assert_bad(BACKEND_WG_IP, integer(1));
}

static void countries_and_states(void **unused)
{
	static const char *const bad_countries[] = {"B", "BRA", "QQ", "B1", "  ", "\xc3\xa3"};
	static const char *const bad_states[] = {"", "READY", "drained", "dra", "ready ", "1"};
	struct backend_row row;

	(void)unused;
	assert_good(BACKEND_COUNTRY, text("BR"), &row);
	assert_string_equal(row.country, "BR");
	assert_good(BACKEND_COUNTRY, text("br"), &row);
	assert_string_equal(row.country, "BR");
	assert_good(BACKEND_COUNTRY, text(""), &row);
	assert_string_equal(row.country, "");
	for (size_t i = 0; i < sizeof(bad_countries) / sizeof(bad_countries[0]); i++)
		assert_bad(BACKEND_COUNTRY, text(bad_countries[i]));
	assert_bad(BACKEND_COUNTRY, text_n("B\0", 2));
	assert_bad(BACKEND_COUNTRY, integer(55));

	assert_good(BACKEND_STATE, text("ready"), &row);
	assert_int_equal(row.state, STATE_READY);
	assert_good(BACKEND_STATE, text("drain"), &row);
	assert_int_equal(row.state, STATE_DRAIN);
	assert_good(BACKEND_STATE, text("maint"), &row);
	assert_int_equal(row.state, STATE_MAINT);
	for (size_t i = 0; i < sizeof(bad_states) / sizeof(bad_states[0]); i++)
		assert_bad(BACKEND_STATE, text(bad_states[i]));
	assert_bad(BACKEND_STATE, text_n("ready\0x", 7));
}

static void deleted_rows(void **unused)
{
	struct column_value v[BACKEND_COLUMNS];
	struct backend_row row;
	struct row_error error;

	(void)unused;
	assert_good(BACKEND_DELETED, integer(1), &row);
	assert_true(row.deleted);
	good_backend(v);
	v[BACKEND_DELETED] = integer(1);
	v[BACKEND_PORT] = null();
	assert_int_equal(columns_backend(v, &row, &error), ROW_DROPPED);
	v[BACKEND_ID] = null();
	assert_int_equal(columns_backend(v, &row, &error), ROW_DROPPED);
	/* Not deleted, and not known to be: both are bad. */
	v[BACKEND_DELETED] = integer(0);
	assert_int_equal(columns_backend(v, &row, &error), ROW_BAD);
	v[BACKEND_DELETED] = integer(2);
	assert_int_equal(columns_backend(v, &row, &error), ROW_BAD);
}

static enum row_verdict service(struct column_value listen, struct column_value app,
                                struct column_value accept_proxy, struct column_value send_proxy,
                                struct service_row *ret_row, const char **ret_column)
{
	struct column_value v[SERVICE_COLUMNS] = {
		[SERVICE_LISTEN] = listen,
		[SERVICE_APP] = app,
		[SERVICE_ACCEPT_PROXY] = accept_proxy,
		[SERVICE_SEND_PROXY] = send_proxy,
		[SERVICE_CONGESTION] = null(),
	};
	struct row_error error = {.column = ""};
	enum row_verdict verdict = columns_service(v, ret_row, &error);

	*ret_column = error.column;
	return verdict;
}

static void services(void **unused)
{
	static const char *const bad[] = {"",          "8080",          "1.2.3.4",
	                                  "1.2.3.4:0", "1.2.3.4:70000", "host:80",
	                                  "::1:80",    "1.2.3.4:80\n",  "224.0.0.1:80"};
	struct column_value good = text("127.0.0.1:8080");
	struct service_row row;
	const char *column;

	(void)unused;
	assert_int_equal(service(good, null(), null(), null(), &row, &column), ROW_GOOD);
	assert_null(row.app);
	assert_true(row.accept_proxy);
	assert_int_equal(row.send_proxy, 0);
	assert_int_equal(row.listen.port, 8080);
	assert_int_equal(service(text("[::1]:1"), text("a"), integer(0), integer(2), &row, &column),
	                 ROW_GOOD);
	assert_string_equal(row.app, "a");
	assert_false(row.accept_proxy);
	assert_int_equal(row.send_proxy, 2);
	assert_int_equal(service(good, text(""), integer(1), integer(1), &row, &column), ROW_GOOD);
	assert_null(row.app);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(service(text(bad[i]), null(), null(), null(), &row, &column),
		                 ROW_BAD);
		assert_string_equal(column, "listen");
	}
	assert_int_equal(service(null(), null(), null(), null(), &row, &column), ROW_BAD);
	assert_int_equal(service(good, integer(1), null(), null(), &row, &column), ROW_BAD);
	assert_string_equal(column, "app");
	assert_int_equal(service(good, null(), integer(2), null(), &row, &column), ROW_BAD);
	assert_string_equal(column, "accept_proxy");
	assert_int_equal(service(good, null(), null(), integer(3), &row, &column), ROW_BAD);
	assert_string_equal(column, "send_proxy");
}

static void congestion_names(void **unused)
{
	struct backend_row row;
	struct service_row service_row;
	struct row_error error;
	struct column_value v[SERVICE_COLUMNS] = {
		[SERVICE_LISTEN] = text("127.0.0.1:80"),
		[SERVICE_CONGESTION] = text("bbr"),
	};

	(void)unused;
	assert_good(BACKEND_CONGESTION, text("bbr"), &row);
	assert_string_equal(row.congestion, "bbr");
	assert_good(BACKEND_CONGESTION, text(""), &row);
	assert_string_equal(row.congestion, "");
	assert_good(BACKEND_CONGESTION, text("fifteen-letters"), &row);
	assert_bad(BACKEND_CONGESTION, text("sixteen-letters!"));
	assert_bad(BACKEND_CONGESTION, text("b\nr"));
	assert_bad(BACKEND_CONGESTION, integer(1));
	assert_int_equal(columns_service(v, &service_row, &error), ROW_GOOD);
	assert_string_equal(service_row.congestion, "bbr");
	v[SERVICE_CONGESTION] = integer(7);
	assert_int_equal(columns_service(v, &service_row, &error), ROW_BAD);
	assert_string_equal(error.column, "congestion");
}

static enum row_verdict override(struct column_value cidr, struct column_value country,
                                 struct column_value region, struct geo_override_row *ret_row,
                                 const char **ret_column)
{
	struct column_value v[GEO_OVERRIDE_COLUMNS] = {
		[GEO_OVERRIDE_CIDR] = cidr,
		[GEO_OVERRIDE_COUNTRY] = country,
		[GEO_OVERRIDE_REGION] = region,
	};
	struct row_error error = {.column = ""};
	enum row_verdict verdict = columns_geo_override(v, ret_row, &error);

	*ret_column = error.column;
	return verdict;
}

static void geo_overrides(void **unused)
{
	struct column_value good = text("192.0.2.0/24");
	struct geo_override_row row;
	const char *column;

	(void)unused;
	assert_int_equal(override(good, text("br"), null(), &row, &column), ROW_GOOD);
	assert_string_equal(row.country, "BR");
	assert_null(row.region);
	assert_int_equal(row.prefix.bits, 120);
	assert_int_equal(override(good, null(), text("eu"), &row, &column), ROW_GOOD);
	assert_string_equal(row.country, "");
	assert_string_equal(row.region, "eu");
	assert_int_equal(override(good, null(), null(), &row, &column), ROW_GOOD);
	assert_string_equal(row.country, "");
	assert_null(row.region);

	assert_int_equal(override(text("192.0.2.1/24"), null(), null(), &row, &column), ROW_BAD);
	assert_string_equal(column, "cidr");
	assert_int_equal(override(text("192.0.2.0/33"), null(), null(), &row, &column), ROW_BAD);
	assert_int_equal(override(null(), text("BR"), null(), &row, &column), ROW_BAD);
	assert_int_equal(override(good, text("QQ"), null(), &row, &column), ROW_BAD);
	assert_string_equal(column, "country");
	assert_int_equal(override(good, null(), text("no spaces"), &row, &column), ROW_BAD);
	assert_string_equal(column, "region");
}

static void country_regions(void **unused)
{
	struct column_value v[COUNTRY_REGION_COLUMNS] = {text("mx"), text("sa")};
	struct country_region_row row;
	struct row_error error;

	(void)unused;
	assert_int_equal(columns_country_region(v, &row, &error), ROW_GOOD);
	assert_string_equal(row.country, "MX");
	assert_string_equal(row.region, "sa");
	v[COUNTRY_REGION_REGION] = null();
	assert_int_equal(columns_country_region(v, &row, &error), ROW_BAD);
	assert_string_equal(error.column, "region");
	v[COUNTRY_REGION_COUNTRY] = text("");
	assert_int_equal(columns_country_region(v, &row, &error), ROW_BAD);
	assert_string_equal(error.column, "country");
}

static void good_check(struct column_value v[HEALTH_CHECK_COLUMNS])
{
	for (int i = 0; i < HEALTH_CHECK_COLUMNS; i++)
		v[i] = null();
	v[HEALTH_CHECK_TARGET] = text("backend:sa-1");
	v[HEALTH_CHECK_TYPE] = text("http");
}

static void what_is_null_is_unset(void **unused)
{
	struct column_value v[HEALTH_CHECK_COLUMNS];
	struct health_check_row row;
	struct row_error error;

	(void)unused;
	good_check(v);
	assert_int_equal(columns_health_check(v, &row, &error), ROW_GOOD);
	assert_string_equal(row.backend, "sa-1");
	assert_null(row.app);
	assert_int_equal(row.type, CHECK_HTTP);
	assert_int_equal(row.send_proxy, -1);
	assert_int_equal(row.grace_ms, -1);
	assert_int_equal(row.port | row.inter_ms | row.rise | row.agent_port, 0);
	assert_true(row.method == NULL && row.expect_body == NULL && row.script == NULL);
	assert_int_equal(row.expect_status.count, 0);
	v[HEALTH_CHECK_TARGET] = text("app:web");
	v[HEALTH_CHECK_EXPECT_BODY] = text("with spaces");
	v[HEALTH_CHECK_GRACE] = integer(0);
	v[HEALTH_CHECK_SEND_PROXY] = integer(0);
	assert_int_equal(columns_health_check(v, &row, &error), ROW_GOOD);
	assert_string_equal(row.app, "web");
	assert_null(row.backend);
	assert_string_equal(row.expect_body, "with spaces");
	assert_int_equal(row.grace_ms, 0);
	assert_int_equal(row.send_proxy, 0);
}

static void bad_health_checks(void **unused)
{
	static const struct {
		int column;
		const char *value;
	} bad[] = {
		{HEALTH_CHECK_TARGET, "sa-1"},
		{HEALTH_CHECK_TARGET, "backend:"},
		{HEALTH_CHECK_TARGET, "app:"},
		{HEALTH_CHECK_TARGET, "**"},
		{HEALTH_CHECK_TYPE, "HTTP"},
		{HEALTH_CHECK_TYPE, "agent"},
		{HEALTH_CHECK_PORT, "0"},
		{HEALTH_CHECK_SEND_PROXY, "3"},
		{HEALTH_CHECK_INTER, "99"},
		{HEALTH_CHECK_TIMEOUT, "60001"},
		{HEALTH_CHECK_RISE, "0"},
		{HEALTH_CHECK_FALL, "256"},
		{HEALTH_CHECK_GRACE, "-1"},
		{HEALTH_CHECK_METHOD, "GET /x"},
		{HEALTH_CHECK_METHOD, "ABCDEFGHIJKLMNOPQ"},
		{HEALTH_CHECK_PATH, "up"},
		{HEALTH_CHECK_PATH, "/a b"},
		{HEALTH_CHECK_PATH, "/\xc3\xa4"},
		{HEALTH_CHECK_HOST, "a\r\nX: y"},
		{HEALTH_CHECK_HOST, ""},
		{HEALTH_CHECK_EXPECT_STATUS, "2xx"},
		{HEALTH_CHECK_SCRIPT, "../x"},
		{HEALTH_CHECK_SCRIPT, "a/b"},
		{HEALTH_CHECK_SCRIPT, ".."},
		{HEALTH_CHECK_SCRIPT, "a;b"},
		{HEALTH_CHECK_AGENT_PORT, "65536"},
		{HEALTH_CHECK_AGENT_INTER, "1"},
	};
	struct column_value v[HEALTH_CHECK_COLUMNS];
	struct health_check_row row;
	struct row_error error;

	(void)unused;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		good_check(v);
		v[bad[i].column] = text(bad[i].value);
		if (columns_health_check(v, &row, &error) != ROW_BAD)
			fail_msg("accepted: %s", bad[i].value);
		assert_string_equal(error.column, health_check_columns[bad[i].column].name);
	}
	good_check(v);
	v[HEALTH_CHECK_TYPE] = text("script");
	assert_int_equal(columns_health_check(v, &row, &error), ROW_BAD);
	assert_string_equal(error.column, "script");
	v[HEALTH_CHECK_SCRIPT] = text("ok_1-2.sh");
	assert_int_equal(columns_health_check(v, &row, &error), ROW_GOOD);
	v[HEALTH_CHECK_TYPE] = null();
	assert_int_equal(columns_health_check(v, &row, &error), ROW_BAD);
}

static enum row_verdict rule(const char *values, struct access_rule_row *ret_row,
                             const char **ret_column)
{
	struct column_value v[ACCESS_RULE_COLUMNS];
	static char copy[1000];
	struct row_error error = {.column = ""};
	enum row_verdict verdict;
	char *rest = copy;

	/* Words between bars; a minus for NULL. */
	snprintf(copy, sizeof(copy), "%s", values);
	for (int i = 0; i < ACCESS_RULE_COLUMNS; i++) {
		const char *word = strsep(&rest, "|");

		assert_non_null(word);
		v[i] = strcmp(word, "-") == 0 ? null() : text(word);
	}
	verdict = columns_access_rule(v, ret_row, &error);
	*ret_column = error.column;
	return verdict;
}

static void access_rules(void **unused)
{
	static const struct {
		const char *values, *column;
	} bad[] = {
		{"-|*|192.0.2.0/24|-|deny", "id"},
		{"|*|192.0.2.0/24|-|deny", "id"},
		/* Half of the row has arrived. */
		{"r|-|192.0.2.0/24|-|deny", "app"},
		{"r|*|-|-|deny", "country"},
		{"r|*||-|deny", "country"},
		{"r|*|192.0.2.0/24|-|-", "action"},
		{"r|*|192.0.2.0/24|BR|deny", "country"},
		{"r|*|192.0.2.1/24|-|deny", "cidr"},
		{"r|*|192.0.2.0/33|-|deny", "cidr"},
		{"r|*|*|-|deny", "cidr"},
		{"r|*|-|QQ|deny", "country"},
		{"r|*|-|**|deny", "country"},
		{"r|*|-|BRA|deny", "country"},
		{"r|*|-|BR|Deny", "action"},
		{"r|*|-|BR|reject", "action"},
		{"r|*|-|BR|", "action"},
	};
	struct access_rule_row row;
	const char *column;

	(void)unused;
	assert_int_equal(rule("r|web|192.0.2.0/24|-|deny", &row, &column), ROW_GOOD);
	assert_string_equal(row.id, "r");
	assert_string_equal(row.app, "web");
	assert_int_equal(row.match, ACCESS_CIDR);
	assert_int_equal(row.prefix.bits, 120);
	assert_false(row.allow);
	assert_int_equal(rule("r|*|-|br|allow", &row, &column), ROW_GOOD);
	assert_null(row.app);
	assert_int_equal(row.match, ACCESS_COUNTRY);
	assert_string_equal(row.country, "BR");
	assert_true(row.allow);
	assert_int_equal(rule("r|*||*|deny", &row, &column), ROW_GOOD);
	assert_int_equal(row.match, ACCESS_ALL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(rule(bad[i].values, &row, &column), ROW_BAD);
		assert_string_equal(column, bad[i].column);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_seed_row_is_good),
		cmocka_unit_test(a_half_replicated_row_is_bad),
		cmocka_unit_test(blobs_are_never_good),
		cmocka_unit_test(texts),
		cmocka_unit_test(numbers),
		cmocka_unit_test(addresses),
		cmocka_unit_test(countries_and_states),
		cmocka_unit_test(deleted_rows),
		cmocka_unit_test(services),
		cmocka_unit_test(congestion_names),
		cmocka_unit_test(geo_overrides),
		cmocka_unit_test(country_regions),
		cmocka_unit_test(what_is_null_is_unset),
		cmocka_unit_test(bad_health_checks),
		cmocka_unit_test(access_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
