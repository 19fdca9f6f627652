/* Token files and who they let in. */
#include "http/tokens.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALL "0123456789abcdef-all"
#define WEB "0123456789abcdef-web"

static struct tokens *parse(const char *text)
{
	char error[TOKEN_ERROR_MAX];
	struct tokens *t = NULL;

	assert_int_equal(tokens_parse(text, strlen(text), &t, error), 0);
	return t;
}

static void good_file(void **state)
{
	struct tokens *t = parse("# tokens\r\n\n  admin " ALL "\r\nweb\t" WEB "  web other \n");
	const struct token *web = tokens_find(t, "Bearer " WEB);
	const struct token *all = tokens_find(t, "bearer  " ALL);

	(void)state;
	assert_int_equal(t->count, 2);
	assert_string_equal(web->name, "web");
	assert_true(token_covers(web, "web"));
	assert_true(token_covers(web, "other"));
	assert_false(token_covers(web, "othe"));
	assert_false(token_covers(web, "db"));
	assert_false(token_covers(web, NULL));
	assert_string_equal(all->name, "admin");
	assert_true(token_covers(all, "db"));
	assert_true(token_covers(all, NULL));
	assert_true(token_covers(NULL, "db"));
	tokens_free(t);
}

static void others_do_not_get_in(void **state)
{
	static const char *const headers[] = {
		"",
		"Bearer",
		"Bearer ",
		"Basic " ALL,
		ALL,
		"Bearer " ALL "x",
		"Bearer x" ALL,
		"Bearer " ALL " ",
		"Bearer 0123456789abcdef-al",
		"BearerX" ALL,
	};
	struct tokens *t = parse("a " ALL "\n");
	char *huge = calloc(1, 100000);

	(void)state;
	assert_null(tokens_find(t, NULL));
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		assert_null(tokens_find(t, headers[i]));
	memset(huge, 'x', 99999);
	memcpy(huge, "Bearer ", 7);
	assert_null(tokens_find(t, huge));
	/* One that begins as a token of the greatest length does. */
	assert_non_null(tokens_find(t, "Bearer " ALL));
	free(huge);
	tokens_free(t);
}

static void bad_files(void **state)
{
	static const struct {
		const char *text;
		const char *error;
	} cases[] = {
		{"", "no token"},
		{"# x\n", "no token"},
		{"name\n", "line 1"},
		{"\n\nname 0123456789abcde\n", "line 3"},
		{"name 0123456789abcdef\x01\n", "line 1"},
		{"name 0123456789abcd\xc3\xa4xyz\n", "line 1"},
		{"a-name-of-more-than-thirty-two-bytes " ALL "\n", "line 1"},
		{"a " ALL "\nb " ALL "\n", "line 2"},
	};
	char error[TOKEN_ERROR_MAX];
	struct tokens *t = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *text = cases[i].text;

		assert_int_equal(tokens_parse(text, strlen(text), &t, error), -EINVAL);
		assert_non_null(strstr(error, cases[i].error));
		assert_null(strstr(error, "0123456789"));
	}
	assert_int_equal(tokens_parse("a " ALL "\n\0", sizeof("a " ALL "\n"), &t, error), -EINVAL);
}

static void limits(void **state)
{
	char error[TOKEN_ERROR_MAX];
	struct tokens *t = NULL;
	char *text = calloc(1, 65536);
	size_t len = 0;

	(void)state;
	for (int i = 0; i <= TOKENS_MAX; i++)
		len += (size_t)sprintf(text + len, "n%d 0123456789abcdef%d\n", i, i);
	assert_int_equal(tokens_parse(text, len, &t, error), -EINVAL);
	len = (size_t)sprintf(text, "n " ALL);
	for (int i = 0; i <= TOKEN_APPS_MAX; i++)
		len += (size_t)sprintf(text + len, " app%d", i);
	assert_int_equal(tokens_parse(text, len, &t, error), -EINVAL);
	free(text);
}

static void files(void **state)
{
	char error[TOKEN_ERROR_MAX];
	struct tokens *t = NULL;
	bool exposed = false;

	(void)state;
	assert_int_equal(tokens_load("/nonexistent/tokens", &t, &exposed, error), -ENOENT);
	assert_non_null(strstr(error, "/nonexistent/tokens"));
	assert_int_equal(tokens_load("/", &t, &exposed, error), -EISDIR);
	assert_int_equal(tokens_load("/dev/null", &t, &exposed, error), -EINVAL);
	assert_int_equal(tokens_load("/dev/zero", &t, &exposed, error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_file), cmocka_unit_test(others_do_not_get_in),
		cmocka_unit_test(bad_files), cmocka_unit_test(limits),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
