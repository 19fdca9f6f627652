/* Region numbers: the same for the same name, for ever; what is no name; the limit. */
#include "route/region.h"

#include "route/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static region_id intern(const char *name)
{
	region_id region = REGION_NONE;

	assert_int_equal(region_intern(name, &region), 0);
	assert_int_not_equal(region, REGION_NONE);
	return region;
}

static void test_same_name_same_number(void **state)
{
	char copy[] = "sa";
	region_id sa = intern("sa");
	region_id us = intern("us");

	(void)state;
	assert_int_not_equal(sa, us);
	assert_int_equal(intern(copy), sa);
	memset(copy, 'x', 2);
	assert_string_equal(region_name(sa), "sa");
	assert_string_equal(region_name(us), "us");
}

static void test_names_differ_by_case(void **state)
{
	(void)state;
	assert_int_not_equal(intern("EU"), intern("eu"));
	assert_string_equal(region_name(intern("EU")), "EU");
}

static void test_no_region_has_no_name(void **state)
{
	(void)state;
	assert_string_equal(region_name(REGION_NONE), "");
}

static void test_what_is_no_name(void **state)
{
	static const char *const bad[] = {"", " ", "a b", "a.b", "s\xc3\xa3o", "a\n", "/"};
	char longest[REGION_NAME_MAX + 2];
	region_id region = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(region_intern(bad[i], &region), -EINVAL);
	memset(longest, 'z', sizeof(longest));
	longest[REGION_NAME_MAX + 1] = '\0';
	assert_int_equal(region_intern(longest, &region), -EINVAL);
	assert_int_equal(region, 77);

	longest[REGION_NAME_MAX] = '\0';
	assert_string_equal(region_name(intern(longest)), longest);
	assert_string_equal(region_name(intern("Az09_-")), "Az09_-");
}

/* Last: the names stay for the life of the process. */
static void test_the_limit(void **state)
{
	char name[REGION_NAME_MAX + 1];
	region_id sa = intern("sa");
	region_id region = 77;
	int made = 0;
	int err;

	(void)state;
	for (;;) {
		snprintf(name, sizeof(name), "r%d", made);
		err = region_intern(name, &region);
		if (err < 0)
			break;
		made++;
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(made > REGIONS_MAX - 100 && made < REGIONS_MAX);
	assert_string_equal(region_name(REGIONS_MAX), region_name(region));
	for (int i = 0; i < made; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		assert_string_equal(region_name(intern(name)), name);
	}
	assert_int_equal(intern("sa"), sa);
	assert_int_equal(region_intern("one-more", &region), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_name_same_number),
		cmocka_unit_test(test_names_differ_by_case),
		cmocka_unit_test(test_no_region_has_no_name),
		cmocka_unit_test(test_what_is_no_name),
		cmocka_unit_test(test_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
