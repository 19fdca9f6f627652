#include "observe/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The label value of a sample with one label, as it was written. */
static char *written(const char *value)
{
	struct exposition e = {0};
	char *begin, *end, *copy;

	exposition_metric(&e, METRIC_SESSIONS_ENDED);
	exposition_uint(&e, &value, 1);
	assert_false(e.failed);
	begin = memmem(e.text, e.len, "{reason=\"", 9);
	end = memmem(e.text, e.len, "\"} 1\n", 5);
	assert_non_null(begin);
	assert_non_null(end);
	copy = strndup(begin + 9, (size_t)(end - begin - 9));
	free(e.text);
	return copy;
}

static void assert_written(const char *value, const char *expected)
{
	char *text = written(value);

	assert_string_equal(text, expected);
	free(text);
}

static void assert_text(struct exposition *e, const char *expected)
{
	assert_false(e->failed);
	assert_int_equal(e->len, strlen(expected));
	assert_memory_equal(e->text, expected, e->len);
	free(e->text);
}

static void a_family_is_its_row(void **state)
{
	const char *values[] = {"a", "b", "c", "d"};
	const char *unnamed[] = {NULL, "b", NULL, "d"};
	struct exposition e = {0};

	(void)state;
	exposition_metric(&e, METRIC_AFFINITY_ENTRIES);
	exposition_uint(&e, NULL, UINT64_MAX);
	exposition_metric(&e, METRIC_BACKEND_FAULTS);
	exposition_uint(&e, values, 0);
	exposition_uint(&e, unnamed, 7);
	assert_text(&e,
	            "# HELP edgeproxy_affinity_entries bindings kept now\n"
	            "# TYPE edgeproxy_affinity_entries gauge\n"
	            "edgeproxy_affinity_entries 18446744073709551615\n"
	            "# HELP edgeproxy_backend_faults what was seen of a backend that speaks "
	            "against new clients; without faults, no sample\n"
	            "# TYPE edgeproxy_backend_faults gauge\n"
	            "edgeproxy_backend_faults{backend=\"a\",app=\"b\",region=\"c\",fault=\"d\"} 0\n"
	            "edgeproxy_backend_faults{app=\"b\",fault=\"d\"} 7\n");
}

static void no_label_has_a_value(void **state)
{
	const char *none[] = {NULL};
	struct exposition e = {0};
	char *line;

	(void)state;
	exposition_metric(&e, METRIC_SESSIONS_ENDED);
	exposition_uint(&e, none, 3);
	line = memmem(e.text, e.len, "\nedgeproxy_sessions_ended_total 3\n", 34);
	assert_non_null(line);
	free(e.text);
}

static void microseconds_are_seconds(void **state)
{
	static const struct {
		uint64_t us;
		const char *line;
	} cases[] = {
		{0, " 0\n"},
		{1, " 0.000001\n"},
		{50, " 0.00005\n"},
		{100000, " 0.1\n"},
		{1000000, " 1\n"},
		{1500000, " 1.5\n"},
		{12345678901234, " 12345678.901234\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exposition e = {0};
		size_t len = strlen(cases[i].line);

		exposition_metric(&e, METRIC_CPU);
		exposition_us(&e, NULL, cases[i].us);
		assert_true(e.len > len);
		assert_memory_equal(e.text + e.len - len, cases[i].line, len);
		free(e.text);
	}
}

static void buckets_add_up(void **state)
{
	struct histogram h = {0};
	struct histogram_sum sum = {0};
	const char *region = "sa";
	struct exposition e = {0};
	char *samples;

	(void)state;
	histogram_note(&h, 60);
	histogram_note(&h, 60);
	histogram_note(&h, 999999);
	histogram_note(&h, 20000000);
	histogram_add_to(&h, &sum);
	exposition_metric(&e, METRIC_BACKEND_RTT);
	e.len = 0;
	exposition_histogram(&e, &region, &sum);
	assert_true(e.len < e.size);
	e.text[e.len] = '\0';
	samples = e.text;
	assert_non_null(strstr(samples, "_bucket{region=\"sa\",le=\"0.00005\"} 0\n"));
	assert_non_null(strstr(samples, "_bucket{region=\"sa\",le=\"0.0001\"} 2\n"));
	assert_non_null(strstr(samples, "_bucket{region=\"sa\",le=\"0.5\"} 2\n"));
	assert_non_null(strstr(samples, "_bucket{region=\"sa\",le=\"1\"} 3\n"));
	assert_non_null(strstr(samples, "_bucket{region=\"sa\",le=\"10\"} 3\n"));
	assert_non_null(strstr(samples, "_bucket{region=\"sa\",le=\"+Inf\"} 4\n"));
	assert_non_null(strstr(samples, "_sum{region=\"sa\"} 21.000119\n"));
	assert_non_null(strstr(samples, "_count{region=\"sa\"} 4\n"));
	free(e.text);
}

static void values_are_escaped(void **state)
{
	(void)state;
	assert_written("plain", "plain");
	assert_written("", "");
	assert_written("a\"b\\c\nd", "a\\\"b\\\\c\\nd");
	assert_written("S\xc3\xa3o \xe6\x9d\xb1 \xf0\x9f\x8c\x8d\t\r", "S\xc3\xa3o \xe6\x9d\xb1 "
	                                                               "\xf0\x9f\x8c\x8d\t\r");
}

#define HIDDEN "\xef\xbf\xbd"

static void what_is_no_utf8_is_hidden(void **state)
{
	(void)state;
	assert_written("\xff", HIDDEN "ff");
	assert_written("a\x80z", "a" HIDDEN "80z");
	assert_written("\xc0\xaf", HIDDEN "c0" HIDDEN "af");                 /* overlong */
	assert_written("\xe0\x80\xaf", HIDDEN "e0" HIDDEN "80" HIDDEN "af"); /* overlong */
	assert_written("\xed\xa0\x80", HIDDEN "ed" HIDDEN "a0" HIDDEN "80"); /* a surrogate */
	assert_written("\xf4\x90\x80\x80", HIDDEN "f4" HIDDEN "90" HIDDEN "80" HIDDEN "80");
	assert_written("\xf0\x8f\xbf\xbf", HIDDEN "f0" HIDDEN "8f" HIDDEN "bf" HIDDEN "bf");
	assert_written("\xe6\x9d", HIDDEN "e6" HIDDEN "9d"); /* cut */
	assert_written("\xf0\x9f\x8c", HIDDEN "f0" HIDDEN "9f" HIDDEN "8c");
	assert_written("\xc3\xa3\xc3", "\xc3\xa3" HIDDEN "c3");
	/* The ends of ranges are good. */
	assert_written("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\xc2\x80",
	               "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\xc2\x80");
}

static void different_values_stay_different(void **state)
{
	char *bad = written("\xff");
	char *same_text = written(HIDDEN "ff");

	(void)state;
	assert_string_equal(same_text, HIDDEN "ef" HIDDEN "bf" HIDDEN "bd"
	                                      "ff");
	assert_string_not_equal(bad, same_text);
	free(bad);
	free(same_text);
}

static void a_long_text_grows(void **state)
{
	char *value = malloc(100001);
	const char *values[] = {value};
	struct exposition e = {0};

	(void)state;
	assert_non_null(value);
	memset(value, '\xff', 100000);
	value[100000] = '\0';
	exposition_metric(&e, METRIC_SESSIONS_ENDED);
	e.len = 0;
	for (int i = 0; i < 3; i++)
		exposition_uint(&e, values, 1);
	assert_false(e.failed);
	assert_int_equal(e.len,
	                 3 * (strlen("edgeproxy_sessions_ended_total{reason=\"\"} 1\n") + 500000));
	free(e.text);
	free(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_family_is_its_row),
		cmocka_unit_test(no_label_has_a_value),
		cmocka_unit_test(microseconds_are_seconds),
		cmocka_unit_test(buckets_add_up),
		cmocka_unit_test(values_are_escaped),
		cmocka_unit_test(what_is_no_utf8_is_hidden),
		cmocka_unit_test(different_values_stay_different),
		cmocka_unit_test(a_long_text_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
