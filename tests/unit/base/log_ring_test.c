/* The ring of lines: sessions are left out, the oldest give way, order is kept. */
#include "base/log_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void note(const char *lines)
{
	log_ring_note(lines, strlen(lines));
}

static void expect(const char *line)
{
	char *got = NULL;

	assert_int_equal(log_ring_take(&got, 1), line != NULL);
	if (line != NULL)
		assert_string_equal(got, line);
	free(got);
}

static void sessions_are_left_out(void **state)
{
	(void)state;
	note("time=t level=info event=session id=1\ntime=t level=info event=table_loaded v=1\n");
	note("{\"time\":\"t\",\"level\":\"info\",\"event\":\"session\",\"id\":1}\n"
	     "{\"time\":\"t\",\"level\":\"info\",\"event\":\"sessions_ended\"}\n\n");
	note("time=t level=info event=row row=event=session\n");
	expect("time=t level=info event=table_loaded v=1");
	expect("{\"time\":\"t\",\"level\":\"info\",\"event\":\"sessions_ended\"}");
	expect("time=t level=info event=row row=event=session");
	expect(NULL);
	assert_int_equal(log_ring_lost(), 0);
}

static void the_oldest_give_way(void **state)
{
	char line[32];

	(void)state;
	for (int i = 0; i < LOG_RING_LINES + 5; i++) {
		snprintf(line, sizeof(line), "event=n n=%d\n", i);
		note(line);
	}
	assert_int_equal(log_ring_lost(), 5);
	expect("event=n n=5");
	for (int i = 1; i < LOG_RING_LINES - 1; i++) {
		char *got;

		assert_int_equal(log_ring_take(&got, 1), 1);
		free(got);
	}
	snprintf(line, sizeof(line), "event=n n=%d", LOG_RING_LINES + 4);
	expect(line);
	expect(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_are_left_out),
		cmocka_unit_test(the_oldest_give_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
