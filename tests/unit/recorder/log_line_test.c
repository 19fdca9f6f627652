/* Lines of both formats, and what is none. */
#include "recorder/log_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *field(const json_t *line, const char *key)
{
	return json_string_value(json_object_get(line, key));
}

static void text_lines_are_read(void **state)
{
	json_t *j = log_line_json("time=2026-11-22T09:34:28.062895Z level=warn event=x "
	                          "row=\"a b \\\"c\\\" \\u0001\" n=7 empty=\"\"");

	(void)state;
	assert_non_null(j);
	assert_string_equal(field(j, "level"), "warn");
	assert_string_equal(field(j, "row"), "a b \"c\" \x01");
	assert_string_equal(field(j, "n"), "7");
	assert_string_equal(field(j, "empty"), "");
	json_decref(j);
}

static void json_lines_are_read(void **state)
{
	json_t *j = log_line_json("{\"time\":\"t\",\"level\":\"info\",\"event\":\"x\",\"n\":7}");

	(void)state;
	assert_non_null(j);
	assert_int_equal(json_integer_value(json_object_get(j, "n")), 7);
	json_decref(j);
}

static void what_is_no_line_is_none(void **state)
{
	static const char *const bad[] = {"x",     "=x",       "a=\"open", "a=1  b=2",
	                                  "a=1 b", "a=\"x\"y", "{\"a\":",  "a=\"\\q\""};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(log_line_json(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_lines_are_read),
		cmocka_unit_test(json_lines_are_read),
		cmocka_unit_test(what_is_no_line_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
