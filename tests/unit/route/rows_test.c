/* Rows: copies that stand alone, growth, every difference is seen, usable or not. */
#include "route/rows.h"

#include "rows_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_copies_stand_alone(void **state)
{
	char id[] = "sa-1";
	char app[] = "web";
	char region[] = "sa";
	struct backend_row row = fixture_backend(id, app, region);
	struct service_row service = {.listen = fixture_endpoint(80), .app = app};
	struct geo_override_row override = {.country = "BR", .region = region};
	struct country_region_row country = {.country = "BR", .region = region};
	struct access_rule_row rule = {.id = id, .app = app};
	struct route_rows rows;

	(void)state;
	route_rows_init(&rows);
	assert_int_equal(route_rows_add_access_rule(&rows, &rule), 0);
	assert_int_equal(route_rows_add_backend(&rows, &row), 0);
	assert_int_equal(route_rows_add_service(&rows, &service), 0);
	assert_int_equal(route_rows_add_override(&rows, &override), 0);
	assert_int_equal(route_rows_add_country_region(&rows, &country), 0);
	memset(id, 'x', 4);
	memset(app, 'x', 3);
	memset(region, 'x', 2);
	assert_string_equal(rows.backends[0].id, "sa-1");
	assert_string_equal(rows.backends[0].app, "web");
	assert_string_equal(rows.backends[0].region, "sa");
	assert_int_equal(rows.backends[0].hard_limit, 20);
	assert_string_equal(rows.services[0].app, "web");
	assert_string_equal(rows.overrides[0].region, "sa");
	assert_string_equal(rows.country_regions[0].region, "sa");
	assert_string_equal(rows.access_rules[0].id, "sa-1");
	assert_string_equal(rows.access_rules[0].app, "web");
	route_rows_done(&rows);
	assert_int_equal(rows.backend_count, 0);
	assert_null(rows.backends);
	route_rows_done(&rows);
}

static void test_no_text_stays_none(void **state)
{
	struct service_row service = {.listen = fixture_endpoint(80), .app = NULL};
	struct geo_override_row override = {.country = "BR", .region = NULL};
	struct route_rows rows;

	(void)state;
	route_rows_init(&rows);
	assert_int_equal(route_rows_add_service(&rows, &service), 0);
	assert_int_equal(route_rows_add_override(&rows, &override), 0);
	assert_null(rows.services[0].app);
	assert_null(rows.overrides[0].region);
	route_rows_done(&rows);
}

static void test_growth_keeps_rows(void **state)
{
	enum { ROWS = 5000 };
	struct route_rows rows;
	char text[32];

	(void)state;
	route_rows_init(&rows);
	for (int i = 0; i < ROWS; i++) {
		struct backend_row row = fixture_backend(text, "web", "sa");
		struct geo_override_row override = {.prefix.bits = (uint8_t)(i % 129)};

		snprintf(text, sizeof(text), "b%d", i);
		assert_int_equal(route_rows_add_backend(&rows, &row), 0);
		assert_int_equal(route_rows_add_override(&rows, &override), 0);
	}
	assert_int_equal(rows.backend_count, ROWS);
	assert_int_equal(rows.override_count, ROWS);
	for (int i = 0; i < ROWS; i++) {
		snprintf(text, sizeof(text), "b%d", i);
		assert_string_equal(rows.backends[i].id, text);
		assert_int_equal(rows.overrides[i].prefix.bits, i % 129);
	}
	route_rows_done(&rows);
}

/* One row of each kind, for change() to change. */
struct sample {
	struct backend_row backend;
	struct service_row service;
	struct geo_override_row override;
	struct country_region_row country;
	struct access_rule_row rule;
	struct health_check_row check;
};

enum { CHANGES = 38 };

/* Makes change number n, 1..CHANGES-1; 0 is none. */
static void change(struct sample *s, int n)
{
	struct backend_row *b = &s->backend;
	int k = 0;

	/* clang-format off */
	if (n == ++k) b->id = "aa";
	if (n == ++k) b->app = "we";
	if (n == ++k) b->region = "us";
	if (n == ++k) memcpy(b->country, "BR", 3);
	if (n == ++k) b->addr.ip.b[15]++;
	if (n == ++k) b->addr.port++;
	if (n == ++k) b->healthy = false;
	if (n == ++k) b->deleted = true;
	if (n == ++k) b->state = STATE_DRAIN;
	if (n == ++k) b->weight++;
	if (n == ++k) b->soft_limit++;
	if (n == ++k) b->hard_limit++;
	if (n == ++k) b->soft_limit = 20, b->hard_limit = 10;
	if (n == ++k) b->id = "aw", b->app = "eb"; /* the same bytes, cut elsewhere */
	if (n == ++k) s->service.listen.port++;
	if (n == ++k) s->service.app = NULL;
	if (n == ++k) s->service.app = "";
	if (n == ++k) s->service.accept_proxy = true;
	if (n == ++k) s->service.send_proxy = 2;
	if (n == ++k) b->congestion[0] = 'x';
	if (n == ++k) s->service.congestion[0] = 'x';
	if (n == ++k) s->override.prefix.ip.b[0]++;
	if (n == ++k) s->override.prefix.bits++;
	if (n == ++k) memcpy(s->override.country, "AR", 3);
	if (n == ++k) s->override.region = NULL;
	if (n == ++k) memcpy(s->country.country, "AR", 3);
	if (n == ++k) s->country.region = "us";
	if (n == ++k) s->rule.id = "other";
	if (n == ++k) s->rule.app = "web";
	if (n == ++k) s->rule.app = "";
	if (n == ++k) s->rule.match = ACCESS_COUNTRY;
	if (n == ++k) s->rule.match = ACCESS_ALL;
	if (n == ++k) s->rule.prefix.ip.b[0]++;
	if (n == ++k) s->rule.prefix.bits++;
	if (n == ++k) memcpy(s->rule.country, "AR", 3);
	if (n == ++k) s->rule.allow = true;
	if (n == ++k) s->check.port++;
	/* clang-format on */
	assert_int_equal(k, CHANGES - 1);
}

/* The sample after change n; rows of these kinds, in this order. */
static void fill(struct route_rows *rows, int n, const char *kinds)
{
	struct sample s = {
		.backend = fixture_backend("a", "web", "sa"),
		.service = {.listen = fixture_endpoint(80), .app = "web"},
		.override = {.prefix = {.bits = 100}, .country = "BR", .region = "sa"},
		.country = {.country = "BR", .region = "sa"},
		.rule = {.id = "rule", .match = ACCESS_CIDR, .prefix = {.bits = 100}},
		.check = {.backend = "a", .port = 80},
	};
	struct backend_row other = fixture_backend("b", "web", "us");

	change(&s, n);
	route_rows_init(rows);
	for (; *kinds != '\0'; kinds++) {
		int err = *kinds == 'a'   ? route_rows_add_backend(rows, &s.backend)
		          : *kinds == 'b' ? route_rows_add_backend(rows, &other)
		          : *kinds == 's' ? route_rows_add_service(rows, &s.service)
		          : *kinds == 'o' ? route_rows_add_override(rows, &s.override)
		          : *kinds == 'r' ? route_rows_add_access_rule(rows, &s.rule)
		          : *kinds == 'h' ? route_rows_add_check(rows, &s.check)
		                          : route_rows_add_country_region(rows, &s.country);

		assert_int_equal(err, 0);
	}
}

static void test_every_difference_is_seen(void **state)
{
	static const char *const others[] = {"",      "a",       "ba",     "aa",
	                                     "basoc", "asoc",    "absc",   "aboc",
	                                     "abso",  "abssoc",  "absooc", "absocc",
	                                     "absoc", "absocrr", "absocr", "absocrhh"};
	enum { OTHERS = sizeof(others) / sizeof(others[0]), ALL = CHANGES + OTHERS };
	struct route_rows all[ALL];

	(void)state;
	for (int i = 0; i < ALL; i++) {
		int n = i < CHANGES ? i : 0;
		const char *kinds = i < CHANGES ? "absocrh" : others[i - CHANGES];
		struct route_rows again;

		fill(&all[i], n, kinds);
		fill(&again, n, kinds);
		assert_true(route_rows_equal(&again, &all[i]));
		route_rows_done(&again);
		for (int k = 0; k < i; k++) {
			assert_false(route_rows_equal(&all[i], &all[k]));
			assert_false(route_rows_equal(&all[k], &all[i]));
		}
	}
	for (int i = 0; i < ALL; i++)
		route_rows_done(&all[i]);
}

static void test_admin_states(void **state)
{
	static const char *const bad[] = {"", "Ready", "read", "readyx", "drained", "up"};
	enum admin_state s = STATE_MAINT;

	(void)state;
	for (int i = 0; i < ADMIN_STATES; i++) {
		assert_int_equal(admin_state_parse(admin_state_word((enum admin_state)i), &s), 0);
		assert_int_equal(s, i);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(admin_state_parse(bad[i], &s), -EINVAL);
	assert_int_equal(s, STATE_MAINT);
}

static void test_usable(void **state)
{
	struct backend_row good = fixture_backend("good", "web", "sa");
	struct backend_row bad[5];
	struct route_rows rows;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		bad[i] = good;
	bad[0].healthy = false;
	bad[1].deleted = true;
	bad[2].state = STATE_DRAIN;
	bad[3].state = STATE_MAINT;
	bad[4].weight = 0;
	route_rows_init(&rows);
	assert_true(backend_row_usable(&good));
	assert_int_equal(route_rows_usable(&rows), 0);
	assert_int_equal(route_rows_add_backend(&rows, &good), 0);
	for (size_t i = 0; i < 5; i++) {
		assert_false(backend_row_usable(&bad[i]));
		assert_int_equal(route_rows_add_backend(&rows, &bad[i]), 0);
	}
	assert_int_equal(route_rows_add_backend(&rows, &good), 0);
	assert_int_equal(route_rows_usable(&rows), 2);
	route_rows_done(&rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies_stand_alone),
		cmocka_unit_test(test_no_text_stays_none),
		cmocka_unit_test(test_growth_keeps_rows),
		cmocka_unit_test(test_every_difference_is_seen),
		cmocka_unit_test(test_admin_states),
		cmocka_unit_test(test_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
