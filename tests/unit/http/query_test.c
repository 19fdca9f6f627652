/* Parameters: what is read, and what is refused by which name. */
#include "http/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char app[9], limit[5];
static const struct query_field fields[] = {
	{"app", app, sizeof(app)},
	{"limit", limit, sizeof(limit)},
};

static struct request asked(const char *const *pairs)
{
	struct request q = {0};

	for (; pairs[0] != NULL; pairs += 2)
		q.query[q.query_count++] = (struct query_parameter){pairs[0], pairs[1]};
	return q;
}

/* It was a 400 of this field. */
static void refused(struct reply *r, const char *field)
{
	json_t *problem = json_loadb(r->text, r->len, 0, NULL);

	assert_int_equal(r->status, 400);
	assert_non_null(problem);
	assert_string_equal(json_string_value(json_object_get(problem, "field")), field);
	json_decref(problem);
	reply_done(r);
}

static void reads(void **state)
{
	const char *const pairs[] = {"limit", "10", "app", "a%2Fb", NULL};
	struct request q = asked(pairs);
	struct reply r = {0};

	(void)state;
	assert_true(query_read(&q, fields, 2, &r));
	assert_string_equal(app, "a/b");
	assert_string_equal(limit, "10");
	q.query_count = 1;
	assert_true(query_read(&q, fields, 2, &r));
	assert_string_equal(app, ""); /* nothing is left of the request before */
}

static void refuses(void **state)
{
	static const struct {
		const char *pairs[5];
		const char *field;
	} bad[] = {
		{{"apps", "a"}, "apps"},           {{"", "a"}, ""},
		{{"app", "a", "app", "b"}, "app"}, {{"app", ""}, "app"},
		{{"app", "123456789"}, "app"},     {{"limit", "%3"}, "limit"},
		{{"limit", "%00"}, "limit"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct request q = asked(bad[i].pairs);
		struct reply r = {0};

		assert_false(query_read(&q, fields, 2, &r));
		refused(&r, bad[i].field);
	}
}

static void numbers(void **state)
{
	static const char *const bad[] = {"0", "101", "-1", "1x", " 1", "18446744073709551617"};
	unsigned long n = 7;
	struct reply r = {0};

	(void)state;
	assert_true(query_number("limit", "", 1, 100, &n, &r));
	assert_int_equal(n, 7);
	assert_true(query_number("limit", "100", 1, 100, &n, &r));
	assert_int_equal(n, 100);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(query_number("limit", bad[i], 1, 100, &n, &r));
		refused(&r, "limit");
	}
	assert_int_equal(n, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),
		cmocka_unit_test(refuses),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
