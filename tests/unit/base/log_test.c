#include "base/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int saved_stderr;
static FILE *captured;

static int capture(void **state)
{
	(void)state;
	captured = tmpfile();
	saved_stderr = dup(STDERR_FILENO);
	return captured != NULL && dup2(fileno(captured), STDERR_FILENO) >= 0 ? 0 : -1;
}

static int release(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	fclose(captured);
	return 0;
}

/* All that was logged so far. */
static char *logged(void)
{
	static char text[1 << 16];
	ssize_t n = pread(fileno(captured), text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void text_is_plain_where_it_can_be(void **state)
{
	struct log_line l;

	(void)state;
	log_begin(&l, LOG_WARN, "thing_happened");
	log_str(&l, "plain", "10.0.0.1:80");
	log_str(&l, "space", "a b");
	log_str(&l, "quote", "say \"x\\y\"");
	log_str(&l, "empty", "");
	log_str(&l, "absent", NULL);
	log_str(&l, "control", "a\nb\x7f");
	log_int(&l, "int", -5);
	log_uint(&l, "uint", UINT64_MAX);
	log_uint(&l, "zero", 0);
	log_real(&l, "real", 0.25);
	log_ms(&l, "short_ms", 1999);
	log_ms(&l, "long_ms", 12345678901);
	log_fmt(&l, "fmt", "%d/%d", 3, 4);
	log_errno(&l, -2);
	log_end(&l);

	char *text = logged();

	assert_int_equal(strncmp(text, "time=20", 7), 0);
	assert_string_equal(
		strchr(text, ' '),
		" level=warn event=thing_happened plain=10.0.0.1:80 space=\"a b\""
		" quote=\"say \\\"x\\\\y\\\"\" empty=\"\" control=\"a\\u000ab\\u007f\" int=-5"
		" uint=18446744073709551615 zero=0 real=0.25 short_ms=0.001 long_ms=12345.678"
		" fmt=3/4 error=\"No such file or directory\"\n");
}

static void json_is_json(void **state)
{
	struct log_line l;

	(void)state;
	log_setup(LOG_INFO, LOG_JSON);
	log_begin(&l, LOG_INFO, "e");
	log_str(&l, "text", "a\"b\tc");
	log_str(&l, "utf8", "S\xc3\xa3o");
	log_str(&l, "broken", "x\xff\xc3");
	log_str(&l, "overlong", "\xc0\xaf\xed\xa0\x80");
	log_uint(&l, "n", 7);
	log_end(&l);

	char *rest = strchr(logged(), ',');

	assert_non_null(rest);
	assert_string_equal(rest,
	                    ",\"level\":\"info\",\"event\":\"e\",\"text\":\"a\\\"b\\u0009c\""
	                    ",\"utf8\":\"S\xc3\xa3o\",\"broken\":\"x\xef\xbf\xbd\xef\xbf\xbd\""
	                    ",\"overlong\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
	                    "\xef\xbf\xbd\",\"n\":7}\n");
}

static void unwanted_levels_cost_nothing_and_say_nothing(void **state)
{
	struct log_line l;

	(void)state;
	assert_false(log_wanted(LOG_DEBUG));
	log_begin(&l, LOG_DEBUG, "detail");
	log_str(&l, "k", "v");
	log_end(&l);
	assert_string_equal(logged(), "");
	log_setup(LOG_DEBUG, LOG_TEXT);
	assert_true(log_wanted(LOG_DEBUG));
}

/* A line that is too long loses whole values and says so; what is left still parses. */
static void long_lines_are_cut_at_a_value(void **state)
{
	struct log_line l;
	char big[LOG_LINE_BYTES];

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_setup(LOG_INFO, LOG_JSON);
	log_begin(&l, LOG_INFO, "e");
	log_str(&l, "before", "1");
	log_str(&l, "big", big);
	log_str(&l, "after", "2");
	log_end(&l);

	char *text = logged();

	assert_non_null(strstr(text, "\"before\":\"1\",\"cut\":1}\n"));
	assert_null(strstr(text, "big"));
	assert_null(strstr(text, "xx"));
}

enum { THREADS = 4, LINES = 1000 };

static void *talk(void *arg)
{
	for (int i = 0; i < LINES; i++) {
		struct log_line l;

		log_begin(&l, LOG_INFO, "talk");
		log_int(&l, "who", (int)(intptr_t)arg);
		log_int(&l, "line", i);
		log_end(&l);
	}
	return NULL;
}

static void threads_lose_and_mix_nothing(void **state)
{
	pthread_t threads[THREADS];
	int next[THREADS] = {0};
	char line[256];
	FILE *f;

	(void)state;
	assert_int_equal(log_start(), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, talk, (void *)(intptr_t)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_stop();
	assert_int_equal(log_dropped(), 0);
	f = fdopen(dup(fileno(captured)), "r");
	rewind(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		int who, number;
		char *at = strstr(line, "event=talk who=");

		assert_non_null(at);
		assert_int_equal(sscanf(at, "event=talk who=%d line=%d", &who, &number), 2);
		assert_int_equal(number, next[who]);
		next[who]++;
	}
	fclose(f);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(next[i], LINES);
}

/* Writes so many lines of a thousand bytes and more. */
static void flood(const char *event, bool minor, size_t lines)
{
	char big[1000];

	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (size_t i = 0; i < lines; i++) {
		struct log_line l;

		log_begin(&l, LOG_INFO, event);
		l.minor = minor;
		log_str(&l, "text", big);
		log_end(&l);
	}
}

/* Nobody reads: callers go on, lines are dropped and counted. */
static void a_stuck_reader_stops_nobody(void **state)
{
	int fd[2];
	char drain[65536];
	uint64_t dropped;

	(void)state;
	assert_int_equal(pipe(fd), 0);
	dup2(fd[1], STDERR_FILENO);
	close(fd[1]);
	assert_int_equal(log_start(), 0);
	/* The writer hangs at its first write of a pipe's size; what comes then waits. */
	for (int i = 0; log_dropped() == 0; i++) {
		assert_in_range(i, 0, 100);
		flood("minor", true, 100);
	}
	/* A flood of minor lines leaves half of the room to others. */
	dropped = log_dropped();
	flood("other", false, LOG_MINOR_BYTES / 2000);
	assert_int_equal(log_dropped(), dropped);
	flood("other", false, LOG_BUFFER_BYTES / 250);
	assert_true(log_dropped() > dropped);
	/* Let the writer finish. */
	if (fork() == 0) {
		close(STDERR_FILENO);
		while (read(fd[0], drain, sizeof(drain)) > 0)
			;
		_exit(0);
	}
	close(fd[0]);
	log_stop();
	dup2(fileno(captured), STDERR_FILENO);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, capture, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(text_is_plain_where_it_can_be),
		TEST(json_is_json),
		TEST(unwanted_levels_cost_nothing_and_say_nothing),
		TEST(long_lines_are_cut_at_a_value),
		TEST(threads_lose_and_mix_nothing),
		TEST(a_stuck_reader_stops_nobody),
	};

	return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
