/* Frames of every size: nothing is wider or longer than the screen, and what matters is on it. */
#include "cli/top_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Two answers a second apart, with so many backends. */
static json_t *answer(int backends, int step)
{
	json_t *rows = json_array();
	json_t *buckets = json_array();

	for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
		json_array_append_new(buckets, json_integer(i == 5 ? 100 * step : 0));
	for (int i = 0; i < backends; i++) {
		char id[64];

		snprintf(id, sizeof(id),
		         i == 1 ? "b\xc3\xbc"
		                  "cher-\x1b[31m-%d"
		                : "backend-%d",
		         i);
		json_array_append_new(
			rows,
			json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "id", id,
		                  "region", i % 2 ? "eu" : "sa", "country", "BR", "excluded",
		                  i == 2 ? "check-down" : "", "connections", backends - i,
		                  "soft_limit", 100, "hard_limit", 150, "connects", i * 10 * step,
		                  "failures", i == 3 ? step : 0, "rtt_us", 1000 * (i + 1)));
	}
	return json_pack(
		"{s:i, s:i, s:s, s:s, s:s, s:{s:i, s:i, s:i, s:i}, s:{s:i, s:i, s:i, s:i}, s:{s:i, "
		"s:i}, s:{s:i, s:i}, s:[i,i,i], s:{s:{s:O}, s:{s:O}, s:{s:o}}, "
		"s:[{s:s, s:s, s:f, s:[f,f,f]}], s:o, s:i}",
		"now_ms", 1000 * step, "uptime_secs", step, "version", "1.2.3", "region", "sa",
		"app", "", "connections", "active", 7, "max", 1000, "queued", 2, "bindings", 5,
		"counters", "accepted", 250 * step, "connect_failures", step, "affinity_hits", step,
		"affinity_misses", step, "bytes", "from_clients", 2000000 * step, "to_clients",
		3000 * step, "ended", "done", 200 * step, "denied", 3 * step, "decisions", 8 * step,
		1 * step, 1 * step, "histograms", "connect", "buckets", buckets, "queue", "buckets",
		buckets, "turn", "buckets", buckets, "clients", "country", "DE", "region", "eu",
		"weight", 4.0, "scores", 2.0, 1.0, 1.0, "backends", rows, "backends_total",
		backends);
}

static char *frame(int backends, const struct top_view *view)
{
	struct top_model *m = calloc(1, sizeof(*m));
	json_t *now = answer(backends, 3);
	json_t *before = answer(backends, 2);
	char *text;

	assert_non_null(now);
	top_model_read(m, now, before);
	text = top_frame_new(m, view);
	json_decref(now);
	json_decref(before);
	free(m);
	return text;
}

static void fits(const char *text, unsigned rows, unsigned columns, bool colours)
{
	unsigned lines = 1, column = 0;

	for (; *text != '\0'; text++) {
		if (*text == '\n') {
			lines++;
			column = 0;
		} else if (*text == '\033') {
			assert_true(colours);
			text = strchr(text, 'm');
			assert_non_null(text);
		} else if (((unsigned char)*text & 0xC0) != 0x80) {
			assert_true((unsigned char)*text >= ' ');
			column++;
			assert_true(column <= columns);
		}
	}
	assert_true(lines <= rows);
}

static void every_size_fits(void **state)
{
	static const struct {
		unsigned rows, columns;
	} sizes[] = {{24, 80}, {10, 40}, {60, 200}, {1, 1},      {2, 3},
	             {5, 20},  {14, 60}, {13, 500}, {500, 1000}, {5000, 5000}};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int colours = 0; colours < 2; colours++) {
			for (int backends = 0; backends < 100; backends += 33) {
				struct top_view view = {.rows = sizes[i].rows,
				                        .columns = sizes[i].columns,
				                        .colours = colours,
				                        .keys = true,
				                        .filter = ""};
				char *text = frame(backends, &view);

				fits(text, sizes[i].rows, sizes[i].columns, colours);
				free(text);
			}
		}
	}
}

static void contains(const char *text, const char *part)
{
	if (strstr(text, part) != NULL)
		return;
	print_message("no \"%s\" in:\n", part);
	fail_msg("%s", text);
}

static void an_80_by_24_frame_has_all(void **state)
{
	struct top_view view = {.rows = 24, .columns = 80, .keys = true, .filter = ""};
	char *text = frame(50, &view);

	(void)state;
	contains(text, "edgeproxy 1.2.3  POP sa  app any  up 00:00:03");
	contains(text, "sessions 7 of 1000  queue 2  accepted 750  bindings 5");
	contains(text, "250 conn/s  in 2.0 MB/s  out 3.0 kB/s  failures 1.0/s");
	contains(text, "own region 80%  POP's 10%  other 10%  had it before 50%");
	contains(text, "done 200/s  denied 3.0/s");
	contains(text, "\nbackend-0 ");
	contains(text, "b\xc3\xbc"
	               "cher-?[31m-1");
	contains(text, "check-down");
	contains(text, "\nand 39 more of 50");
	contains(text, "\nDE       eu             100.0%       50.0%     25.0%     25.0%");
	contains(text, "\nq quit");
	assert_null(strchr(text, '\033'));
	free(text);
}

static void a_small_frame_keeps_the_backends(void **state)
{
	struct top_view view = {.rows = 10, .columns = 40, .keys = true, .filter = ""};
	char *text = frame(50, &view);

	(void)state;
	contains(text, "\nBACKEND");
	contains(text, "\nbackend-0 ");
	assert_null(strstr(text, "CLIENTS"));
	free(text);
}

static void backends_are_sorted_and_filtered(void **state)
{
	struct top_view view = {.rows = 60, .columns = 200, .filter = "", .sort = TOP_BY_RATE};
	char *text = frame(5, &view);

	(void)state;
	assert_true(strstr(text, "backend-4 ") < strstr(text, "backend-3 "));
	free(text);
	view.sort = TOP_BY_FAILURES;
	text = frame(5, &view);
	assert_true(strstr(text, "backend-3 ") < strstr(text, "backend-0 "));
	free(text);
	view.sort = TOP_BY_RTT;
	view.filter = "sa";
	text = frame(5, &view);
	assert_true(strstr(text, "backend-4 ") < strstr(text, "backend-0 "));
	assert_null(strstr(text, "backend-3 "));
	free(text);
	view.filter = "nothing like it";
	text = frame(5, &view);
	contains(text, "none fits the filter");
	free(text);
}

/* A successor counts anew: no rate may be made of that. */
static void another_process_has_no_rates_yet(void **state)
{
	struct top_model *m = calloc(1, sizeof(*m));
	json_t *now = answer(2, 1);
	json_t *before = answer(2, 9);

	(void)state;
	top_model_read(m, now, before);
	assert_false(m->has_rates);
	top_model_read(m, now, NULL);
	assert_false(m->has_rates);
	assert_int_equal(m->connect.count, 100);
	top_model_read(m, NULL, NULL); /* an answer of something else */
	json_decref(now);
	json_decref(before);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_fits),
		cmocka_unit_test(an_80_by_24_frame_has_all),
		cmocka_unit_test(a_small_frame_keeps_the_backends),
		cmocka_unit_test(backends_are_sorted_and_filtered),
		cmocka_unit_test(another_process_has_no_rates_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
