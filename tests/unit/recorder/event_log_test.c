/* One order of decisions and lines: by time within a call, by call otherwise; numbers never change.
 */
#include "recorder/event_log.h"

#include "proxy/flight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000u
/* 2026-11-22T10:00:00Z */
#define WALL (1795341600ull * SECOND)

/* The history is an array here: what it keeps is what the test says. */
static struct flight_record records[4 * HISTORY_RECORDS];
static uint64_t first, next;

uint64_t history_next(const struct history *h)
{
	(void)h;
	return next;
}

uint64_t history_first(const struct history *h)
{
	(void)h;
	return first;
}

const struct flight_record *history_find(const struct history *h, uint64_t n)
{
	(void)h;
	return n >= first && n < next ? &records[n] : NULL;
}

static void decide(uint64_t at_ns)
{
	records[next++].at_ns = at_ns;
	first = next > HISTORY_RECORDS ? next - HISTORY_RECORDS : 0;
}

static void say(unsigned second, const char *event)
{
	char line[128];

	snprintf(line, sizeof(line), "time=2026-11-22T10:00:%02u.000000Z level=info event=%s\n",
	         second, event);
	log_ring_note(line, strlen(line));
}

static int setup(void **state)
{
	first = next = 0;
	*state = event_log_new();
	return *state == NULL;
}

static int teardown(void **state)
{
	event_log_free(*state);
	return 0;
}

static void times_of_lines_are_read(void **state)
{
	(void)state;
	assert_true(event_line_time("time=2026-11-22T10:00:01.000002Z level=x") ==
	            WALL + SECOND + 2000);
	assert_true(event_line_time("{\"time\":\"2026-11-22T10:00:01.5Z\"") != 0);
	assert_true(event_line_time("something else") == 0);
	assert_true(event_line_time("") == 0);
}

/* Monotonic 100 s is 10:00:10. */
static void update(struct event_log *e)
{
	event_log_update(e, NULL, 100ull * SECOND, WALL + 10ull * SECOND);
}

static void they_come_in_the_order_of_time(void **state)
{
	struct event_log *e = *state;
	struct event event;

	decide(93ull * SECOND); /* 10:00:03 */
	decide(95ull * SECOND);
	say(4, "between");
	say(2, "before");
	update(e);
	assert_int_equal(event_log_latest(e), 4);
	assert_true(event_log_find(e, NULL, 0, &event));
	assert_int_equal(event.number, 1);
	assert_non_null(strstr(event.line, "before"));
	assert_true(event.at_ns == 92ull * SECOND);
	assert_true(event_log_find(e, NULL, 1, &event));
	assert_ptr_equal(event.record, &records[0]);
	assert_true(event_log_find(e, NULL, 2, &event));
	assert_non_null(strstr(event.line, "between"));
	assert_true(event_log_find(e, NULL, 3, &event));
	assert_ptr_equal(event.record, &records[1]);
	assert_false(event_log_find(e, NULL, 4, &event));
	/* What comes late is behind what has its number. */
	decide(91ull * SECOND);
	update(e);
	assert_true(event_log_find(e, NULL, 4, &event));
	assert_int_equal(event.number, 5);
	assert_ptr_equal(event.record, &records[2]);
}

static void many_decisions_do_not_push_out_lines(void **state)
{
	struct event_log *e = *state;
	struct event event;
	uint64_t after = 0;
	unsigned found = 0;

	say(1, "kept");
	update(e);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < HISTORY_RECORDS; i++)
			decide(100ull * SECOND + (uint64_t)i);
		update(e);
	}
	assert_true(event_log_find(e, NULL, 0, &event));
	assert_non_null(event.line);
	for (; event_log_find(e, NULL, after, &event); after = event.number)
		found++;
	assert_int_equal(found, 1 + HISTORY_RECORDS);
	assert_int_equal(after, event_log_latest(e));
	/* The history goes on before this hears of it. */
	for (int i = 0; i < 10; i++)
		decide(100ull * SECOND);
	assert_true(event_log_find(e, NULL, 1, &event));
	assert_ptr_equal(event.record, &records[first]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_of_lines_are_read),
		cmocka_unit_test_setup_teardown(they_come_in_the_order_of_time, setup, teardown),
		cmocka_unit_test_setup_teardown(many_decisions_do_not_push_out_lines, setup,
	                                        teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
