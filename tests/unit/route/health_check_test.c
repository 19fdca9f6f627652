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

static void every_field_makes_a_difference(void **state)
{
	const struct health_check_row plain = {.send_proxy = -1, .grace_ms = -1};
	const struct status_set set = {.first = {200}, .last = {200}, .count = 1};
	enum { DIFFERENT = 21 };
	struct health_check_row rows[DIFFERENT];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < DIFFERENT; i++)
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
	rows[n++].agent_inter_ms = 1;
	assert_int_equal(n, DIFFERENT);
	for (size_t i = 0; i < n; i++) {
		assert_true(health_check_equal(&rows[i], &rows[i]));
		assert_false(health_check_equal(&rows[i], &plain));
		assert_false(health_check_equal(&plain, &rows[i]));
		for (size_t k = 0; k < i; k++)
			assert_false(health_check_equal(&rows[i], &rows[k]));
	}
}

static void texts_are_compared_by_what_they_say(void **state)
{
	char path[] = "/health", other[] = "/health";

	(void)state;
	assert_true(health_check_equal(&(struct health_check_row){.path = path},
	                               &(struct health_check_row){.path = other}));
	other[1] = 'H';
	assert_false(health_check_equal(&(struct health_check_row){.path = path},
	                                &(struct health_check_row){.path = other}));
	assert_false(health_check_equal(&(struct health_check_row){.path = ""},
	                                &(struct health_check_row){.path = NULL}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_most_specific_row_counts),
		cmocka_unit_test(targets_as_text),
		cmocka_unit_test(every_field_makes_a_difference),
		cmocka_unit_test(texts_are_compared_by_what_they_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
