/* The types of options: what each takes, what it refuses and with what reason, and that a refusal
 * leaves the value alone. The rows here are made up; those of options.def are config_test.c's. */
#include "config/option.h"

#include "net/addr.h"
#include "net/log_target.h"
#include "net/prefix.h"
#include "net/status_set.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char why[OPTION_WHY_BYTES];

static struct option row(enum option_type type, uint64_t least, uint64_t most)
{
	return (struct option){
		.type = type,
		.variable = "THIS",
		.default_text = "",
		.least = least,
		.most = most,
		.unit = "",
	};
}

static void accepts(const struct option *o, const char *text, void *field)
{
	if (option_parse(o, text, field, why) != 0)
		fail_msg("%s was refused: %s", text, why);
}

/* The value is that of before. */
static void refuses(const struct option *o, const char *text, const char *reason)
{
	uint64_t field[16];
	uint64_t before[16];

	memset(field, 0x5a, sizeof field);
	memcpy(before, field, sizeof before);
	if (option_parse(o, text, field, why) != -EINVAL)
		fail_msg("%s was not refused", text);
	assert_string_equal(why, reason);
	assert_memory_equal(field, before, sizeof field);
}

static void allows(const struct option *o, const char *text)
{
	char buf[OPTION_ALLOWED_BYTES];

	assert_string_equal(option_allowed(o, buf), text);
}

static void numbers_reach_both_ends_of_their_range(void **state)
{
	struct option o = row(OPTION_UINT, 1, 86400);
	uint64_t n;

	(void)state;
	accepts(&o, "1", &n);
	assert_int_equal(n, 1);
	accepts(&o, "86400", &n);
	assert_int_equal(n, 86400);
	accepts(&o, "0010", &n); /* decimal, never octal */
	assert_int_equal(n, 10);
	refuses(&o, "0", "out of range");
	refuses(&o, "86401", "out of range");
	allows(&o, "1..86400");
	o.unit = "s";
	allows(&o, "1..86400 s");
	o.least = 0;
	o.most = UINT64_MAX;
	accepts(&o, "18446744073709551615", &n);
	assert_true(n == UINT64_MAX);
	refuses(&o, "18446744073709551616", "out of range");
	refuses(&o, "18446744073709551621", "out of range");
	refuses(&o, "184467440737095516150", "out of range");
	refuses(&o, "999999999999999999999999999999999999999999999999999999999999", "out of range");
}

static void numbers_are_strict(void **state)
{
	static const char *const bad[] = {"abc", "5s",  "0x5", "-1", "+5",  " 5",
	                                  "5 ",  "5.0", "1e3", "٣",  "5\n", "5,000"};
	struct option o = row(OPTION_UINT, 0, 86400);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuses(&o, bad[i], "not a whole number");
}

static void switches_take_four_pairs_of_words(void **state)
{
	static const char *const on[] = {"1", "true", "yes", "on"};
	static const char *const off[] = {"0", "false", "no", "off"};
	struct option o = row(OPTION_BOOL, 0, 0);
	bool value;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		accepts(&o, on[i], &value);
		assert_true(value);
		accepts(&o, off[i], &value);
		assert_false(value);
	}
	refuses(&o, "2", "not one of the words");
	refuses(&o, "True", "not one of the words");
	refuses(&o, "1 ", "not one of the words");
	allows(&o, "0, 1, false, true, no, yes, off, on");
}

static void choices_are_the_places_of_their_words(void **state)
{
	static const char *const words[] = {"copy", "splice", NULL};
	struct option o = row(OPTION_CHOICE, 0, 0);
	int place;

	(void)state;
	o.words = words;
	accepts(&o, "copy", &place);
	assert_int_equal(place, 0);
	accepts(&o, "splice", &place);
	assert_int_equal(place, 1);
	refuses(&o, "splic", "not one of the words");
	refuses(&o, "spliced", "not one of the words");
	refuses(&o, "SPLICE", "not one of the words");
	allows(&o, "copy, splice");
}

static void texts_have_a_length(void **state)
{
	struct option o = row(OPTION_STRING, 1, 4);
	char *text;

	(void)state;
	accepts(&o, "four", &text);
	assert_string_equal(text, "four");
	option_done(&o, &text);
	refuses(&o, "fives", "5 bytes long");
	allows(&o, "1..4 bytes");
	o.type = OPTION_PATH;
	accepts(&o, "/a=b", &text);
	assert_string_equal(text, "/a=b");
	option_done(&o, &text);
	text = NULL;
	option_done(&o, &text); /* zeroed is fine */
}

static void words_are_visible_and_begin_right(void **state)
{
	struct option o = row(OPTION_WORD, 1, 6);
	char *text;

	(void)state;
	o.unit = "/";
	accepts(&o, "/up?~", &text);
	assert_string_equal(text, "/up?~");
	option_done(&o, &text);
	refuses(&o, "up", "does not begin with /");
	refuses(&o, "/a b", "not of visible ASCII characters alone");
	refuses(&o, "/a\177", "not of visible ASCII characters alone");
	refuses(&o, "/\303\244", "not of visible ASCII characters alone");
	refuses(&o, "/longer", "7 bytes long");
	allows(&o, "1..6 visible ASCII characters");
}

static void listen_addresses_may_leave_the_port_to_the_kernel(void **state)
{
	static const char *const bad[] = {"8080",     "localhost:80",  "0.0.0.0",
	                                  "0.0.0.0:", "0.0.0.0:65536", "::1:80",
	                                  "[::1]",    "1.2.3:80",      "127.0.0.1:8080 "};
	static const struct endpoint none;
	struct option o = row(OPTION_ENDPOINT, 0, 0);
	struct endpoint e;

	(void)state;
	accepts(&o, "[::1]:443", &e);
	assert_int_equal(e.port, 443);
	accepts(&o, "127.0.0.1:0", &e);
	assert_int_equal(e.port, 0);
	accepts(&o, "0.0.0.0:0", &e);
	assert_false(endpoint_equal(&e, &none));
	accepts(&o, "", &e);
	assert_true(endpoint_equal(&e, &none));
	/* Which would be the all-zero one. */
	refuses(&o, "[::]:0", "port 0 needs one family's address");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuses(&o, bad[i], "not an address with a port");
	allows(&o, "ADDRESS:PORT, [IPV6]:PORT, :PORT, or empty");
	o.least = 1;
	refuses(&o, "", "empty");
	allows(&o, "ADDRESS:PORT, [IPV6]:PORT, :PORT");
}

static void prefixes_are_a_list(void **state)
{
	struct option o = row(OPTION_PREFIXES, 0, 0);
	char text[OPTION_SHOWN_BYTES * 2];
	struct prefix_map *map;
	struct ip inside;
	struct ip outside;

	(void)state;
	accepts(&o, "10.0.0.0/8, 2001:db8::/32,127.0.0.1", &map);
	assert_int_equal(ip_parse("10.200.0.1", &inside), 0);
	assert_int_equal(ip_parse("11.0.0.0", &outside), 0);
	assert_non_null(prefix_map_find(map, &inside));
	assert_null(prefix_map_find(map, &outside));
	option_done(&o, &map);
	accepts(&o, "", &map);
	assert_int_equal(prefix_map_size(map), 0);
	option_done(&o, &map);
	refuses(&o, "127.0.0.1,nonsense", "\"nonsense\" is neither an address nor a CIDR");
	refuses(&o, "10.0.0.1/8", "\"10.0.0.1/8\" has bits set behind its prefix");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(option_parse(&o, text, &map, why), -EINVAL);
	assert_int_equal(strspn(why + 1, "x"), OPTION_SHOWN_BYTES);
	assert_string_equal(why + 1 + OPTION_SHOWN_BYTES, "\" is neither an address nor a CIDR");
}

static void statuses_and_log_targets_are_as_their_parsers_say(void **state)
{
	struct option statuses = row(OPTION_STATUSES, 0, 0);
	struct option target = row(OPTION_LOG_TARGET, 0, 0);
	struct status_set set;
	struct log_target t;

	(void)state;
	accepts(&statuses, "200-299,304", &set);
	assert_true(status_set_has(&set, 304));
	assert_false(status_set_has(&set, 300));
	refuses(&statuses, "2000", "not a list of status codes");
	accepts(&target, "stderr", &t);
	assert_int_equal(option_parse(&target, "nowhere", &t, why), -EINVAL);
	assert_true(why[0] != '\0');
	allows(&target, LOG_TARGET_FORMS);
}

/* An empty text is what a template gives that failed to fill something in. */
static void an_empty_value_needs_a_meaning(void **state)
{
	static const char *const words[] = {"one", NULL};
	static const enum option_type never[] = {OPTION_UINT, OPTION_BOOL, OPTION_STATUSES,
	                                         OPTION_CHOICE};
	static const enum option_type where_least_is_0[] = {OPTION_STRING, OPTION_PATH,
	                                                    OPTION_WORD};
	struct option o;
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		o = row(never[i], 0, 9);
		o.words = never[i] == OPTION_CHOICE ? words : NULL;
		refuses(&o, "", "empty");
	}
	for (size_t i = 0; i < sizeof(where_least_is_0) / sizeof(where_least_is_0[0]); i++) {
		o = row(where_least_is_0[i], 0, 9);
		accepts(&o, "", &text);
		assert_string_equal(text, "");
		option_done(&o, &text);
		o.least = 1;
		refuses(&o, "", "empty");
	}
}

static void a_default_that_is_empty_has_a_word(void **state)
{
	struct option o = row(OPTION_STRING, 0, 9);

	(void)state;
	assert_string_equal(option_default(&o), "empty");
	o.default_text = "sa";
	assert_string_equal(option_default(&o), "sa");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_reach_both_ends_of_their_range),
		cmocka_unit_test(numbers_are_strict),
		cmocka_unit_test(switches_take_four_pairs_of_words),
		cmocka_unit_test(choices_are_the_places_of_their_words),
		cmocka_unit_test(texts_have_a_length),
		cmocka_unit_test(words_are_visible_and_begin_right),
		cmocka_unit_test(listen_addresses_may_leave_the_port_to_the_kernel),
		cmocka_unit_test(prefixes_are_a_list),
		cmocka_unit_test(statuses_and_log_targets_are_as_their_parsers_say),
		cmocka_unit_test(an_empty_value_needs_a_meaning),
		cmocka_unit_test(a_default_that_is_empty_has_a_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
