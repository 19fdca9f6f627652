/* Values as hostile input: what a number, a text or a country may look like, and how it is said
 * what is wrong with those that do not. */
#include "control/column_reader.h"

#include "column_values.h"
#include "route/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LONGEST 16

/* A row of one column. */
static const struct column columns[] = {{"port", true}};
static struct column_value value;
static struct row_error error;
static const struct column_reader reader = {columns, &value, &error};

/* The column is v; no error is left of another. */
static const struct column_reader *row(struct column_value v)
{
	value = v;
	error = (struct row_error){0};
	return &reader;
}

/* The one column has been named. */
static void assert_refused(const char *why)
{
	assert_ptr_equal(error.column, columns[0].name);
	assert_string_equal(error.why, why);
}

static void numbers_in_other_clothes(void **unused)
{
	static const char *const bad[] = {
		" 8080",
		"8080 ",
		"+8080",
		"08080",
		"8080.0",
		"0x50",
		"8e3",
		"-",
		"-0",
		"--1",
		"99999999999999999999",
		"18446744073709551617",
		"80 80",
		"\xd9\xa8",
	};
	int64_t number = 0;

	(void)unused;
	assert_true(column_read_number(row(text("8080")), 0, 1, 65535, &number));
	assert_int_equal(number, 8080);
	assert_true(column_read_number(row(real(8081.0)), 0, 1, 65535, &number));
	assert_int_equal(number, 8081);
	assert_true(column_read_number(row(text("0")), 0, 0, 1, &number));
	assert_int_equal(number, 0);
	assert_true(column_read_number(row(text("-7")), 0, -7, 1, &number));
	assert_int_equal(number, -7);
	assert_false(column_read_number(row(text("-8")), 0, -7, 1, &number));
	assert_false(column_read_number(row(text_n("80\0", 3)), 0, 1, 65535, &number));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(
			column_read_number(row(text(bad[i])), 0, INT64_MIN, INT64_MAX, &number));
		assert_refused("must be a whole number, "
		               "-9223372036854775808..9223372036854775807");
	}
	/* Outputs are written only on success. */
	assert_int_equal(number, -7);
}

static void numbers_have_types(void **unused)
{
	uint16_t port = 0;
	uint32_t u32 = 0;
	bool yes = false;

	(void)unused;
	assert_true(column_read_u32(row(integer(UINT32_MAX)), 0, 1, UINT32_MAX, &u32));
	assert_int_equal(u32, UINT32_MAX);
	/* Would be in range after a truncation. */
	assert_false(column_read_u32(row(integer((INT64_C(1) << 32) + 1)), 0, 0, UINT32_MAX, &u32));
	assert_true(column_read_port(row(integer(65535)), 0, &port));
	assert_int_equal(port, 65535);
	assert_false(column_read_port(row(integer(0)), 0, &port));
	assert_false(column_read_port(row(integer(65536)), 0, &port));
	assert_true(column_read_bool(row(integer(1)), 0, &yes));
	assert_true(yes);
	assert_false(column_read_bool(row(integer(2)), 0, &yes));
	assert_refused("must be a whole number, 0..1");
}

static void texts_are_short_and_printable(void **unused)
{
	static const char *const controls[] = {"a\nb", "\x01", "a\x7f", "a\xc2\x9b[2J"};
	const char *got = NULL;

	(void)unused;
	assert_true(column_read_text(row(text("S\xc3\xa3o Paulo 1")), 0, LONGEST, &got));
	assert_string_equal(got, "S\xc3\xa3o Paulo 1");
	assert_true(column_read_text(row(text("0123456789abcdef")), 0, LONGEST, &got));
	assert_false(column_read_text(row(text("0123456789abcdefg")), 0, LONGEST, &got));
	assert_refused("must have at most 16 bytes");
	assert_false(column_read_text(row(text("")), 0, LONGEST, &got));
	assert_refused("must not be empty");
	assert_false(column_read_text(row(integer(7)), 0, LONGEST, &got));
	assert_refused("must be a text");
	assert_false(column_read_text(row(blob("a", 1)), 0, LONGEST, &got));
	for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
		assert_false(column_read_text(row(text(controls[i])), 0, LONGEST, &got));
		assert_refused("must not hold control characters");
	}
	assert_false(column_read_text(row(text_n("a\0b", 3)), 0, LONGEST, &got));
	assert_false(column_read_text(row(text_n("\0", 1)), 0, LONGEST, &got));
	assert_string_equal(got, "0123456789abcdef");
}

static void some_texts_have_an_alphabet(void **unused)
{
	const char *got = NULL;

	(void)unused;
	assert_true(column_read_visible(row(text("/up?x=~1")), 0, LONGEST, &got));
	assert_false(column_read_visible(row(text("/a b")), 0, LONGEST, &got));
	assert_false(column_read_visible(row(text("/\xc3\xa4")), 0, LONGEST, &got));
	assert_refused("must be of visible ASCII characters, no spaces");
	assert_string_equal(got, "/up?x=~1");
	assert_true(column_read_region(row(text("Eu-west_1")), 0, &got));
	assert_false(column_read_region(row(text("eu west")), 0, &got));
	assert_refused("must be of letters, digits, '-' and '_'");
	assert_string_equal(got, "Eu-west_1");
}

static void countries_and_prefixes(void **unused)
{
	struct prefix prefix;
	char country[3];

	(void)unused;
	assert_true(column_read_country(row(text("br")), 0, country));
	assert_string_equal(country, "BR");
	assert_false(column_read_country(row(text("BRA")), 0, country));
	assert_refused("must be a country code of two letters");
	assert_false(column_read_country(row(text_n("B\0", 2)), 0, country));
	assert_false(column_read_country(row(text("QQ")), 0, country));
	assert_refused("is not an assigned ISO 3166-1 code");
	assert_true(column_read_prefix(row(text("192.0.2.0/24")), 0, &prefix));
	assert_int_equal(prefix.bits, 120);
	assert_false(column_read_prefix(row(text("192.0.2.1/24")), 0, &prefix));
	assert_refused("has bits set behind the prefix length");
	assert_false(column_read_prefix(row(text("192.0.2.0/33")), 0, &prefix));
	assert_refused("must be an address or address/length");
}

static void what_is_absent_stays(void **unused)
{
	int64_t number = -1;
	uint32_t u32 = 7;
	uint16_t port = 8;
	const char *got = "as it was";
	char country[3] = "BR";

	(void)unused;
	assert_true(column_number_or_none(row(null()), 0, 0, 2, &number));
	assert_true(column_u32_or_none(row(null()), 0, 1, 2, &u32));
	assert_true(column_port_or_none(row(null()), 0, &port));
	assert_true(column_visible_or_none(row(null()), 0, LONGEST, &got));
	assert_true(column_country_or_none(row(null()), 0, country));
	assert_true(column_country_or_none(row(text("")), 0, country));
	assert_true(number == -1 && u32 == 7 && port == 8);
	assert_string_equal(got, "as it was");
	assert_string_equal(country, "BR");
	/* What is there must be good. */
	assert_false(column_number_or_none(row(text("")), 0, 0, 2, &number));
	assert_false(column_u32_or_none(row(integer(3)), 0, 1, 2, &u32));
	assert_false(column_port_or_none(row(integer(0)), 0, &port));
	assert_false(column_visible_or_none(row(text("")), 0, LONGEST, &got));
	assert_false(column_country_or_none(row(blob("", 0)), 0, country));
}

static void words(void **unused)
{
	(void)unused;
	assert_true(column_is_word(row(text("drain")), 0, "drain"));
	assert_false(column_is_word(row(text("drained")), 0, "drain"));
	assert_false(column_is_word(row(text("dra")), 0, "drain"));
	assert_false(column_is_word(row(text_n("drain\0", 6)), 0, "drain"));
	assert_false(column_is_word(row(blob("drain", 5)), 0, "drain"));
	assert_true(column_is_empty(row(null()), 0) && column_is_null(&reader, 0));
	assert_true(column_is_empty(row(text("")), 0) && !column_is_null(&reader, 0));
	assert_false(column_is_empty(row(integer(0)), 0));
	assert_false(column_is_empty(row(blob("", 0)), 0));
}

static void errors_are_readable(void **unused)
{
	uint16_t port;
	char longest[1000];

	(void)unused;
	assert_false(column_read_port(row(integer(70000)), 0, &port));
	assert_string_equal(error.column, "port");
	assert_string_equal(error.value, "70000");
	assert_string_equal(error.why, "must be a whole number, 1..65535");
	assert_false(column_read_port(row(null()), 0, &port));
	assert_string_equal(error.value, "NULL");
	assert_false(column_read_port(row(real(0.5)), 0, &port));
	assert_string_equal(error.value, "0.5");
	assert_false(column_read_port(row(blob("\x00\xff", 2)), 0, &port));
	assert_string_equal(error.value, "x'00ff'");
	assert_false(column_read_port(row(text_n("8\0\0", 3)), 0, &port));
	assert_string_equal(error.value, "8??");
	memset(longest, 'z', sizeof(longest));
	assert_false(column_read_port(row(blob(longest, sizeof(longest))), 0, &port));
	assert_true(strlen(error.value) < sizeof(error.value));
	longest[sizeof(longest) - 1] = '\0';
	assert_false(column_read_port(row(text(longest)), 0, &port));
	assert_int_equal(strlen(error.value), sizeof(error.value) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_in_other_clothes),
		cmocka_unit_test(numbers_have_types),
		cmocka_unit_test(texts_are_short_and_printable),
		cmocka_unit_test(some_texts_have_an_alphabet),
		cmocka_unit_test(countries_and_prefixes),
		cmocka_unit_test(what_is_absent_stays),
		cmocka_unit_test(words),
		cmocka_unit_test(errors_are_readable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
