/* Paths of requests: whatever a piece holds, it stays that piece. */
#include "cli/control_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void is(const struct control_path *p, const char *text)
{
	assert_string_equal(p->text, text);
	assert_int_equal(p->len, strlen(text));
	assert_false(p->too_long);
}

static void test_segments_and_parameters(void **state)
{
	struct control_path p;

	(void)state;
	control_path_init(&p, "/api/v1/backends");
	is(&p, "/api/v1/backends");
	control_path_segment(&p, "web-1");
	control_path_parameter(&p, "app", NULL);
	is(&p, "/api/v1/backends/web-1");
	control_path_parameter(&p, "limit", "10");
	control_path_parameter(&p, "app", NULL);
	control_path_parameter(&p, "app", "");
	is(&p, "/api/v1/backends/web-1?limit=10&app=");
}

static void test_all_but_unreserved_characters_are_encoded(void **state)
{
	struct control_path p;

	(void)state;
	control_path_init(&p, "");
	control_path_segment(&p, "AZaz09-._~");
	is(&p, "/AZaz09-._~");
	control_path_segment(&p, "a/b?c#d e%\n\303\244");
	is(&p, "/AZaz09-._~/a%2Fb%3Fc%23d%20e%25%0A%C3%A4");
	control_path_init(&p, "/");
	control_path_parameter(&p, "k&=", "v&=+/");
	is(&p, "/?k%26%3D=v%26%3D%2B%2F");
}

/* HTTP would leave a path of them. */
static void test_dots(void **state)
{
	struct control_path p;

	(void)state;
	control_path_init(&p, "/x");
	control_path_segment(&p, ".");
	control_path_segment(&p, "..");
	control_path_segment(&p, "...");
	is(&p, "/x/%2E/%2E%2E/...");
}

static void test_too_long(void **state)
{
	char segment[CONTROL_PATH_MAX];
	struct control_path p;

	(void)state;
	memset(segment, 's', sizeof(segment));
	segment[CONTROL_PATH_MAX - 2] = '\0';
	control_path_init(&p, "");
	control_path_segment(&p, segment);
	assert_false(p.too_long);
	assert_int_equal(p.len, CONTROL_PATH_MAX - 1);
	assert_int_equal(strlen(p.text), p.len);
	control_path_segment(&p, "");
	assert_true(p.too_long);
	assert_int_equal(strlen(p.text), p.len);

	/* One byte that takes three. */
	segment[CONTROL_PATH_MAX - 3] = '/';
	control_path_init(&p, "");
	control_path_segment(&p, segment);
	assert_true(p.too_long);
	control_path_init(&p, "/again");
	is(&p, "/again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_and_parameters),
		cmocka_unit_test(test_all_but_unreserved_characters_are_encoded),
		cmocka_unit_test(test_dots),
		cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
