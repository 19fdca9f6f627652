/* Which row of health_checks is for whom. */
#include "route/health_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_most_specific_row_counts(void **state)
{
	struct health_check_row rows[] = {
		{.app = "web", .port = 1},     {.backend = "b", .port = 2}, {.port = 3},
		{.backend = "web", .port = 4}, {.app = "b", .port = 5},
	};
	const size_t n = sizeof(rows) / sizeof(rows[0]);

	(void)state;
	health_checks_sort(rows, n);
	assert_int_equal(health_check_find(rows, n, "b", "web")->port, 2);
	assert_int_equal(health_check_find(rows, n, "c", "web")->port, 1);
	assert_int_equal(health_check_find(rows, n, "web", "x")->port, 4);
	assert_int_equal(health_check_find(rows, n, "c", "b")->port, 5);
	assert_int_equal(health_check_find(rows, n, "c", "x")->port, 3);
	assert_null(health_check_find(NULL, 0, "c", "x"));
	/* Without the row for all: none. */
	rows[0] = (struct health_check_row){.app = "only"};
	assert_null(health_check_find(rows, 1, "c", "x"));
}

static void targets_as_text(void **state)
{
	char buf[CHECK_TARGET_MAX + 1];

	(void)state;
	assert_string_equal(health_check_target(&(struct health_check_row){.backend = "b"}, buf),
	                    "backend:b");
	assert_string_equal(health_check_target(&(struct health_check_row){.app = "a"}, buf),
	                    "app:a");
	assert_string_equal(health_check_target(&(struct health_check_row){.port = 1}, buf), "*");
}

static void every_field_is_in_the_digest(void **state)
{
	const struct health_check_row plain = {.send_proxy = -1, .grace_ms = -1};
	const struct status_set set = {.first = {200}, .last = {200}, .count = 1};
	struct health_check_row rows[20];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < 20; i++)
		rows[i] = plain;
	rows[n++].backend = "x";
	rows[n++].app = "x";
	rows[n++].type = CHECK_HTTP;
	rows[n++].port = 1;
	rows[n++].send_proxy = 0;
	rows[n++].inter_ms = 1;
	rows[n++].fastinter_ms = 1;
	rows[n++].downinter_ms = 1;
	rows[n++].timeout_ms = 1;
	rows[n++].rise = 1;
	rows[n++].fall = 1;
	rows[n++].grace_ms = 0;
	rows[n++].method = "x";
	rows[n++].path = "x";
	rows[n++].host = "x";
	rows[n++].expect_status = set;
	rows[n++].expect_body = "x";
	rows[n++].service = "x";
	rows[n++].script = "x";
	rows[n++].agent_port = 1;
	for (size_t i = 0; i < n; i++) {
		uint64_t digest = health_check_digest(0, &rows[i]);

		assert_true(digest != health_check_digest(0, &plain));
		for (size_t k = 0; k < i; k++)
			assert_true(digest != health_check_digest(0, &rows[k]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_most_specific_row_counts),
		cmocka_unit_test(targets_as_text),
		cmocka_unit_test(every_field_is_in_the_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
