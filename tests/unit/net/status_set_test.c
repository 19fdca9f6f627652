/* Sets of status codes. */
#include "net/status_set.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void good_sets(void **state)
{
	static const char most[] =
		"200-201,202-203,204-205,206-207,208-209,210-211,212-213,214-215";
	const char *const good[] = {"200", "200-299", "100-599", "200-299,304,400-404", most};
	char buf[STATUS_SET_TEXT_MAX];
	struct status_set set;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(status_set_parse(good[i], &set), 0);
		assert_string_equal(status_set_format(&set, buf), good[i]);
	}
	assert_int_equal(status_set_parse("200-299,304", &set), 0);
	assert_true(status_set_has(&set, 200) && status_set_has(&set, 299) &&
	            status_set_has(&set, 304));
	assert_false(status_set_has(&set, 199) || status_set_has(&set, 300) ||
	             status_set_has(&set, 303) || status_set_has(&set, 305));
	assert_string_equal(status_set_format(&(struct status_set){.count = 0}, buf), "");
}

static void bad_sets(void **state)
{
	static const char *const bad[] = {
		"",     "2",        "20x",         "2xx",  "99",
		"600",  "299-200",  "200-",        "-200", "200,",
		",200", "200, 204", "200-299-300", "2000", "200,201,202,203,204,205,206,207,208"};
	struct status_set set;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (status_set_parse(bad[i], &set) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
}

static void equal_sets(void **state)
{
	static const char *const texts[] = {"200", "200-201", "201", "200,201", "200-201,300"};
	enum { TEXTS = sizeof(texts) / sizeof(texts[0]) };
	struct status_set all[TEXTS + 1] = {0};

	(void)state;
	for (size_t i = 0; i < TEXTS; i++)
		assert_int_equal(status_set_parse(texts[i], &all[i]), 0);
	for (size_t i = 0; i <= TEXTS; i++)
		for (size_t k = 0; k <= TEXTS; k++)
			assert_int_equal(status_set_equal(&all[i], &all[k]), i == k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_sets),
		cmocka_unit_test(bad_sets),
		cmocka_unit_test(equal_sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
