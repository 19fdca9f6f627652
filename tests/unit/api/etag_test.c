/* Entity tags: what changes one, and the lists of them that requests bring. */
#include "api/etag.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct backend_record row = {.id = "a",
                                          .app = "web",
                                          .region = "sa",
                                          .ip = "10.1.1.1",
                                          .port = 80,
                                          .weight = 2,
                                          .soft_limit = 100,
                                          .hard_limit = 150,
                                          .healthy = true,
                                          .registered = true,
                                          .registered_at = 5};

static void every_field_counts(void **state)
{
	uint64_t base = etag_hash(ETAG_BEGIN, &row);
	struct backend_record b = row;

	(void)state;
	assert_true(etag_hash(ETAG_BEGIN, &b) == base);
	strcpy(b.state, "ready"); /* which is what none means */
	assert_true(etag_hash(ETAG_BEGIN, &b) == base);
	assert_true(etag_hash(base, &b) != base);
#define CHANGES(change) \
	do { \
		b = row; \
		change; \
		assert_true(etag_hash(ETAG_BEGIN, &b) != base); \
	} while (0)
	CHANGES(strcpy(b.id, "b"));
	CHANGES(strcpy(b.app, "we"));
	CHANGES(strcpy(b.region, "us"));
	CHANGES(strcpy(b.ip, "10.1.1.2"));
	CHANGES(strcpy(b.country, "BR"));
	CHANGES(strcpy(b.state, "drain"));
	CHANGES(strcpy(b.pop, "sa-1"));
	CHANGES(b.port = 81);
	CHANGES(b.weight = 3);
	CHANGES(b.soft_limit = 101);
	CHANGES(b.hard_limit = 151);
	CHANGES(b.healthy = false);
	CHANGES(b.registered = false);
	CHANGES(b.registered_at = 6);
	/* What is moved from one field to the next is a change as well. */
	CHANGES((strcpy(b.id, "aw"), strcpy(b.app, "eb")));
}

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
		cmocka_unit_test(every_field_counts),
		cmocka_unit_test(lists),
		cmocka_unit_test(what_is_no_list),
		cmocka_unit_test(text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
