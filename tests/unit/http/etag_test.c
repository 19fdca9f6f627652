/* Entity tags, and the lists of them that requests bring. */
#include "http/etag.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int named(const char *list, const char *tag, bool strong)
{
	bool yes = false;
	int err = etag_named(list, tag, strong, &yes);

	return err != 0 ? err : yes;
}

static void lists(void **state)
{
	(void)state;
	assert_int_equal(named("*", "\"x\"", true), 1);
	assert_int_equal(named(" * ", "\"x\"", true), 1);
	assert_int_equal(named("*", NULL, true), 0);
	assert_int_equal(named("\"x\"", "\"x\"", true), 1);
	assert_int_equal(named("\"x\"", NULL, true), 0);
	assert_int_equal(named("\"xy\"", "\"x\"", true), 0);
	assert_int_equal(named("\"\"", "\"x\"", true), 0);
	assert_int_equal(named("\"a\", \"x\" ,\"b\"", "\"x\"", true), 1);
	assert_int_equal(named(",, \"a\",,\"b\",", "\"b\"", true), 1);
	assert_int_equal(named("\"a,\\b\"", "\"a,\\b\"", true), 1);
	assert_int_equal(named("\"\xff\"", "\"x\"", true), 0);
	/* Weak ones: equal only where that is enough. */
	assert_int_equal(named("W/\"x\"", "\"x\"", true), 0);
	assert_int_equal(named("\"x\"", "W/\"x\"", true), 0);
	assert_int_equal(named("W/\"x\"", "W/\"x\"", true), 0);
	assert_int_equal(named("W/\"x\"", "\"x\"", false), 1);
	assert_int_equal(named("\"x\"", "W/\"x\"", false), 1);
	assert_int_equal(named("W/\"x\"", "W/\"x\"", false), 1);
}

static void what_is_no_list(void **state)
{
	static const char *const bad[] = {"",         " ",        ",",        "x",
	                                  "\"x",      "x\"",      "\"x\"y",   "\"x\" \"y\"",
	                                  "*, \"x\"", "\"x\", *", "w/\"x\"",  "W/",
	                                  "W/x",      "\"a b\"",  "\"a\x7f\""};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(named(bad[i], "\"x\"", false), -EINVAL);
}

static void text(void **state)
{
	char to[REPLY_ETAG_MAX];

	(void)state;
	etag_format(0xabc, false, to);
	assert_string_equal(to, "\"0000000000000abc\"");
	etag_format(UINT64_MAX, true, to);
	assert_string_equal(to, "W/\"ffffffffffffffff\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(what_is_no_list),
		cmocka_unit_test(text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
