/* What log.c writes is read back as it was given, in both formats. */
#include "base/log_field.h"

#include "base/log_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const struct log_field *f, const char *key, const char *value)
{
	assert_string_equal(f->key, key);
	assert_int_equal(f->len, strlen(value));
	assert_memory_equal(f->value, value, f->len);
}

static char written[LOG_LINE_BYTES];
static size_t written_len;

static ssize_t keep(void *arg, const char *lines, size_t len)
{
	(void)arg;
	memcpy(written, lines, len);
	written_len = len;
	return (ssize_t)len;
}

static void dropped(void *arg, uint64_t lines)
{
	(void)arg;
	(void)lines;
	fail();
}

static void what_was_written_is_read(void **state)
{
	const struct log_writer_options options = {
		.name = "test", .write = keep, .dropped = dropped};
	struct log_writer writer = LOG_WRITER_INITIALIZER;
	enum log_format format = *(enum log_format *)*state;
	struct log_field f;
	struct log_line l;
	size_t at = 0;

	log_setup(LOG_ERROR, format);
	assert_int_equal(log_writer_start(&writer, &options), 0);
	log_begin_to(&l, &writer, "session");
	log_str(&l, "client", "[2001:db8::1]:80");
	log_str(&l, "text", "a b=\"c\" \\d, {e} \n\x7f\x01 \xc3\xa3");
	log_str(&l, "empty", "");
	log_uint(&l, "bytes_in", 12);
	log_int(&l, "minus", -3);
	log_ms(&l, "total_ms", 1234567);
	log_end(&l);
	assert_true(log_writer_stop(&writer));

	assert_true(log_field_next(written, written_len, &at, &f));
	assert_string_equal(f.key, "time");
	assert_int_equal(f.len, strlen("2026-11-22T02:03:43.123456Z"));
	static const char *const rest[][2] = {
		{"level", "info"},
		{"event", "session"},
		{"client", "[2001:db8::1]:80"},
		{"text", "a b=\"c\" \\d, {e} \n\x7f\x01 \xc3\xa3"},
		{"empty", ""},
		{"bytes_in", "12"},
		{"minus", "-3"},
		{"total_ms", "1.234"},
	};
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
		assert_true(log_field_next(written, written_len, &at, &f));
		expect(&f, rest[i][0], rest[i][1]);
	}
	assert_false(log_field_next(written, written_len, &at, &f));
}

static void what_is_none_is_no_field(void **state)
{
	static const char *const none[] = {
		"",
		"\n",
		" ",
		"key",
		"=value",
		"key=",
		"key=\"open",
		"key=\"a\\n\"",
		"KEY=value",
		"key=\"\\u0g00\"",
		"key=\"\\u00",
		"{",
		"{}",
		"{\"key\"}",
		"{\"key\":}",
		"{\"key\":\"open}",
		"{key:1}",
		",\"key\":1",
	};
	struct log_field f;

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		size_t at = 0;

		if (log_field_next(none[i], strlen(none[i]), &at, &f))
			fail_msg("a field in %s", none[i]);
	}
}

int main(void)
{
	static enum log_format text = LOG_TEXT, json = LOG_JSON;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(what_was_written_is_read, &text),
		cmocka_unit_test_prestate(what_was_written_is_read, &json),
		cmocka_unit_test(what_is_none_is_no_field),
	};

	return cmocka_run_group_tests_name("base/log_field", tests, NULL, NULL);
}
