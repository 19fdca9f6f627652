/* Ids of sessions, and the life of a census that nobody looks for. What workers do is tested with
 * the binary (tests/functional/test_control.py). */
#include "proxy/census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static void ids_have_one_spelling(void **state)
{
	static const char *const bad[] = {"",      "1",          "1-",
	                                  "-1",    "1-zz",       "01-1",
	                                  "1-01",  "1-1 ",       " 1-1",
	                                  "1-0x1", "1--1",       "+1-1",
	                                  "1-1-1", "99999999-1", "1-12345678123456789"};
	const struct session_id ids[] = {{0, 1}, {3, 0x1f2e3d4c5b}, {255, UINT64_MAX}};
	char text[SESSION_ID_TEXT_MAX];
	struct session_id got;

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		assert_int_equal(session_id_parse(session_id_format(&ids[i], text), &got), 0);
		assert_int_equal(got.worker, ids[i].worker);
		assert_int_equal(got.accept_ns, ids[i].accept_ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_not_equal(session_id_parse(bad[i], &got), 0);
}

static void the_last_part_wakes(void **state)
{
	struct census_filter everybody = {0};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct census *c = NULL;
	uint64_t woken = 0;
	size_t count;

	(void)state;
	assert_int_equal(census_new(&everybody, false, 10, fd, 3, &c), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(census_is_done(c));
		assert_int_equal(read(fd, &woken, sizeof(woken)), -1);
		census_leave(census_part(c, i));
	}
	assert_true(census_is_done(c));
	assert_int_equal(read(fd, &woken, sizeof(woken)), sizeof(woken));
	(void)census_records(c, &count);
	assert_int_equal(count, 0);
	assert_int_equal(census_seen(c), 0);
	census_unref(c);
	close(fd);
}

/* Who asked has gone, and its descriptor too, before the workers have looked. */
static void nobody_waits_any_more(void **state)
{
	struct census_filter everybody = {0};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct census *c = NULL;

	(void)state;
	assert_int_equal(census_new(&everybody, true, 0, fd, 2, &c), 0);
	census_unref(c);
	close(fd);
	for (unsigned i = 0; i < 2; i++)
		census_leave(census_part(c, i)); /* the last one frees it */
	census_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_have_one_spelling),
		cmocka_unit_test(the_last_part_wakes),
		cmocka_unit_test(nobody_waits_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
