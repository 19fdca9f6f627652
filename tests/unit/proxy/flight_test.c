/* The ring: order, the full ring, and two threads. */
#include "proxy/flight.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOTES 200000

static void note(struct flight *f, uint64_t n)
{
	struct flight_record r = {.at_ns = n, .slot = (uint32_t)n, .connect_us = (uint32_t)~n};

	flight_note(f, &r);
}

static void comes_in_order(void **state)
{
	struct flight_record got[4];
	struct flight f;

	(void)state;
	assert_int_equal(flight_init(&f), 0);
	assert_int_equal(flight_take(&f, got, 4), 0);
	for (uint64_t i = 0; i < 6; i++)
		note(&f, i);
	assert_int_equal(flight_take(&f, got, 4), 4);
	assert_int_equal(got[3].at_ns, 3);
	assert_int_equal(flight_take(&f, got, 4), 2);
	assert_int_equal(got[1].at_ns, 5);
	flight_done(&f);
}

static void what_does_not_fit_is_counted(void **state)
{
	struct flight_record got[2];
	struct flight f;

	(void)state;
	assert_int_equal(flight_init(&f), 0);
	for (uint64_t i = 0; i < FLIGHT_RECORDS + 3; i++)
		note(&f, i);
	assert_int_equal(flight_dropped(&f), 3);
	assert_int_equal(flight_take(&f, got, 2), 2);
	assert_int_equal(got[0].at_ns, 0); /* the oldest stay: they are being read */
	note(&f, 77);
	assert_int_equal(flight_dropped(&f), 3);
	for (int i = 0; i < FLIGHT_RECORDS - 1; i++)
		assert_int_equal(flight_take(&f, got, 1), 1);
	assert_int_equal(got[0].at_ns, 77);
	flight_done(&f);
}

static void *writer(void *arg)
{
	for (uint64_t i = 0; i < NOTES; i++)
		note(arg, i);
	return NULL;
}

static void two_threads(void **state)
{
	struct flight_record got[64];
	uint64_t taken = 0, next = 0;
	struct flight f;
	pthread_t thread;

	(void)state;
	assert_int_equal(flight_init(&f), 0);
	assert_int_equal(pthread_create(&thread, NULL, writer, &f), 0);
	while (taken + flight_dropped(&f) < NOTES) {
		size_t n = flight_take(&f, got, 64);

		for (size_t i = 0; i < n; i++) {
			assert_true(got[i].at_ns >= next);
			assert_int_equal(got[i].slot, (uint32_t)got[i].at_ns);
			assert_int_equal(got[i].connect_us, (uint32_t)~got[i].at_ns);
			next = got[i].at_ns + 1;
		}
		taken += n;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(taken + flight_dropped(&f), NOTES);
	flight_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_in_order),
		cmocka_unit_test(what_does_not_fit_is_counted),
		cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
