#include "geo/country.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct row {
	const char *code;
	const char *name;
	const char *region;
};

static const struct row rows[] = {
#define COUNTRY(code, name, region) {#code, name, region},
#include "geo/country_region.def"
#undef COUNTRY
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void rows_are_complete_and_sorted(void **state)
{
	(void)state;
	assert_int_equal(ROWS, 249 + 2); /* ISO 3166-1, AN and XK */
	for (size_t i = 1; i < ROWS; i++)
		assert_true(strcmp(rows[i - 1].code, rows[i].code) < 0);
}

static void every_row_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		const char *region = rows[i].region;

		assert_true(country_known(rows[i].code));
		assert_string_equal(country_name(rows[i].code), rows[i].name);
		assert_string_equal(country_default_region(rows[i].code), region);
		assert_true(strcmp(region, "sa") == 0 || strcmp(region, "us") == 0 ||
		            strcmp(region, "eu") == 0 || strcmp(region, "ap") == 0);
		assert_true(rows[i].name[0] != '\0');
	}
}

/* All 676 pairs of letters: as many are known as there are rows, so none is found by mistake. */
static void nothing_else_is_found(void **state)
{
	size_t known = 0;

	(void)state;
	for (int a = 'A'; a <= 'Z'; a++) {
		for (int b = 'A'; b <= 'Z'; b++) {
			const char code[] = {(char)a, (char)b, '\0'};

			if (country_known(code)) {
				known++;
				continue;
			}
			assert_null(country_name(code));
			assert_null(country_default_region(code));
		}
	}
	assert_int_equal(known, ROWS);
}

static void regions(void **state)
{
	static const struct {
		const char *region;
		const char *codes[16];
	} expected[] = {
		{"sa", {"BR", "AR", "CL", "CO", "PE", "VE", "GF", "FK"}},
		{"us", {"US", "CA", "MX", "PA", "CU", "PR", "GL", "BM", "TT", "CW"}},
		{"eu", {"DE", "GB", "RU", "TR", "ZA", "EG", "IL", "IR", "AE", "GE", "KZ", "UZ"}},
		{"ap", {"JP", "CN", "IN", "PK", "SG", "AU", "NZ", "FJ", "MN", "TW", "GU"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		for (size_t k = 0; expected[i].codes[k]; k++)
			assert_string_equal(country_default_region(expected[i].codes[k]),
			                    expected[i].region);
}

static void an_index_for_each_pair_of_letters(void **state)
{
	(void)state;
	assert_int_equal(country_index("AA"), 0);
	assert_int_equal(country_index("AB"), 1);
	assert_int_equal(country_index("BA"), 26);
	assert_int_equal(country_index("ZZ"), COUNTRY_INDEX_MAX - 1);
	assert_int_equal(country_index("br"), country_index("BR"));
	assert_int_equal(country_index("bR"), country_index("BR"));
	/* An index does not say that the code is assigned. */
	assert_true(country_index("XX") >= 0);
	assert_false(country_known("XX"));
}

static void what_is_not_a_code(void **state)
{
	static const char *const bad[] = {"",   "B",  "BRA", "B1",       "1B",      "B ",
	                                  " B", "@A", "A@",  "A[",       "[A",      "`a",
	                                  "a{", "--", "BR ", "\xc3\x85", "\xff\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(country_index(bad[i]), COUNTRY_INDEX_NONE);
		assert_false(country_known(bad[i]));
		assert_null(country_name(bad[i]));
		assert_null(country_default_region(bad[i]));
	}
}

static void either_case(void **state)
{
	(void)state;
	assert_string_equal(country_name("br"), "Brazil");
	assert_string_equal(country_default_region("jP"), "ap");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_complete_and_sorted),
		cmocka_unit_test(every_row_is_found),
		cmocka_unit_test(nothing_else_is_found),
		cmocka_unit_test(regions),
		cmocka_unit_test(an_index_for_each_pair_of_letters),
		cmocka_unit_test(what_is_not_a_code),
		cmocka_unit_test(either_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
