/* Errors on the wire. */
#include "http/problem.h"

#include "http/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *text_of(json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static void names_the_field(void **state)
{
	json_t *j = problem_json(400, "port", "port must be 1..65535");

	(void)state;
	assert_string_equal(text_of(j, "type"), "about:blank");
	assert_string_equal(text_of(j, "title"), "Bad Request");
	assert_string_equal(text_of(j, "field"), "port");
	assert_string_equal(text_of(j, "detail"), "port must be 1..65535");
	assert_int_equal(json_integer_value(json_object_get(j, "status")), 400);
	json_decref(j);
}

static void may_have_no_field(void **state)
{
	json_t *j = problem_json(404, NULL, "x");

	(void)state;
	assert_non_null(j);
	assert_null(json_object_get(j, "field"));
	json_decref(j);
}

static void each_status_has_its_title(void **state)
{
	static const unsigned all[] = {400, 401, 403, 404, 405, 409, 413, 415, 429, 503};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_string_not_equal(problem_title(all[i]), problem_title(500));
}

static void survives_what_is_no_text(void **state)
{
	struct reply r = {0};

	(void)state;
	reply_problem(&r, 400, "id", "id \xff\xfe");
	assert_int_equal(r.status, 400);
	assert_non_null(strstr(r.text, "\"status\":400"));
	reply_problem(&r, 400, "\xff", "a field that is no text"); /* is left out */
	assert_int_equal(r.status, 400);
	assert_null(strstr(r.text, "\"field\""));
	assert_string_equal(r.content_type, "application/problem+json");
	reply_json(&r, 200, NULL);
	assert_int_equal(r.status, 500);
	assert_int_equal(strlen(r.fixed), r.len);
	reply_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_the_field),
		cmocka_unit_test(may_have_no_field),
		cmocka_unit_test(each_status_has_its_title),
		cmocka_unit_test(survives_what_is_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
