/* Outlier detection under virtual time: who is ejected, for how long, who is not, and how it ends.
 * Outcomes are counted as the workers do; nothing here waits. */
#include "route/outlier.h"

#include "base/rng.h"
#include "rows_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CHANGES_MAX 64

struct fixture {
	struct live *live;
	struct route_rows rows;
	struct table *table;
	struct outlier_options options;
	struct outlier *outlier;
	uint64_t now_ms;
	struct outlier_change changes[CHANGES_MAX]; /* of the last tick */
	unsigned change_count;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){
		.live = live_new(),
		.now_ms = 1000000,
		.options =
			{
				.consecutive_failures = 5,
				.stdev_factor = 1900,
				.min_hosts = 5,
				.request_volume = 100,
				.max_ejection_percent = 50,
				.interval_ms = 10000,
				.base_ejection_ms = 30000,
				.max_ejection_ms = 100000,
				.trial_ms = 12000,
			},
	};
	route_rows_init(&f.rows);
	*state = &f;
	return f.live == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	outlier_free(f->outlier);
	table_unref(f->table);
	route_rows_done(&f->rows);
	live_free(f->live);
	return 0;
}

static void build(struct fixture *f)
{
	const struct table_options options = {.local_region = "sa"};
	struct table *before = f->table;

	assert_int_equal(table_new(&f->rows, &options, f->live, &f->table), 0);
	table_unref(before);
}

static void add(struct fixture *f, const char *id, const char *app)
{
	struct backend_row row = fixture_backend(id, app, "sa");

	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
}

/* Backends b0, b1 … of one app. */
static void begin(struct fixture *f, unsigned n)
{
	char id[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "b%u", i);
		add(f, id, "web");
	}
	build(f);
	f->outlier = outlier_new(&f->options, f->live, f->now_ms);
	assert_non_null(f->outlier);
}

static uint32_t slot(const struct fixture *f, const char *id)
{
	for (uint32_t i = 0; i < f->table->backend_count; i++)
		if (strcmp(f->table->backends[i].id, id) == 0)
			return f->table->backends[i].slot;
	fail_msg("no backend %s", id);
	return 0;
}

static uint32_t nth(const struct fixture *f, unsigned i)
{
	char id[16];

	snprintf(id, sizeof(id), "b%u", i);
	return slot(f, id);
}

static void on_change(void *arg, const struct outlier_change *change)
{
	struct fixture *f = arg;

	assert_true(f->change_count < CHANGES_MAX);
	f->changes[f->change_count++] = *change;
}

/* Returns how many changed. */
static unsigned tick(struct fixture *f, uint64_t after_ms)
{
	f->now_ms += after_ms;
	f->change_count = 0;
	outlier_tick(f->outlier, f->table, f->now_ms, on_change, f);
	return f->change_count;
}

static void fails(struct fixture *f, uint32_t s, unsigned times)
{
	while (times-- > 0)
		live_note_failure(f->live, s);
}

static void works(struct fixture *f, uint32_t s, unsigned times)
{
	while (times-- > 0)
		live_note_success(f->live, s);
}

static bool ejected(const struct fixture *f, uint32_t s)
{
	return (live_faults(f->live, s) & LIVE_EJECTED) != 0;
}

static void assert_ejected(const struct fixture *f, uint32_t s, enum outlier_cause cause,
                           unsigned ejections, uint64_t ms)
{
	assert_int_equal(f->change_count, 1);
	assert_int_equal(f->changes[0].slot, s);
	assert_true(f->changes[0].ejected);
	assert_int_equal(f->changes[0].cause, cause);
	assert_int_equal(f->changes[0].ejections, ejections);
	assert_int_equal(f->changes[0].ms, ms);
	assert_true(ejected(f, s));
	assert_true(live_is_shut(f->live, s));
}

static void assert_returned(const struct fixture *f, uint32_t s, uint64_t ms)
{
	assert_int_equal(f->change_count, 1);
	assert_int_equal(f->changes[0].slot, s);
	assert_false(f->changes[0].ejected);
	assert_int_equal(f->changes[0].ms, ms);
	assert_int_equal(live_faults(f->live, s), 0);
	assert_false(live_is_shut(f->live, s));
}

static void test_failures_in_a_row(void **state)
{
	struct fixture *f = *state;
	uint32_t b;

	begin(f, 4);
	b = nth(f, 1);
	fails(f, b, 4);
	assert_int_equal(tick(f, 50), 0);
	works(f, b, 1); /* not in a row */
	fails(f, b, 4);
	assert_int_equal(tick(f, 50), 0);
	fails(f, b, 1);
	assert_int_equal(tick(f, 50), 1);
	assert_ejected(f, b, OUTLIER_CONSECUTIVE_FAILURES, 1, 30000);
	/* Those that were on their way still fail: nothing new. */
	fails(f, b, 20);
	assert_int_equal(tick(f, 50), 0);
}

static void test_it_can_be_off(void **state)
{
	struct fixture *f = *state;

	f->options.consecutive_failures = 0;
	f->options.stdev_factor = 0;
	begin(f, 10);
	for (unsigned i = 0; i < 10; i++)
		works(f, nth(f, i), 1000);
	fails(f, nth(f, 0), 100000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(tick(f, 50), 0);
}

/* Ejects b0, and goes to the moment before its trial. */
static uint32_t eject_first(struct fixture *f)
{
	uint32_t b = nth(f, 0);

	fails(f, b, 5);
	assert_int_equal(tick(f, 0), 1);
	assert_int_equal(tick(f, f->changes[0].ms - 1), 0);
	assert_true(live_is_shut(f->live, b));
	return b;
}

static void test_a_trial_that_succeeds(void **state)
{
	struct fixture *f = *state;
	uint32_t b;

	begin(f, 4);
	b = eject_first(f);
	assert_int_equal(tick(f, 1), 0);
	assert_true(ejected(f, b));
	assert_false(live_is_shut(f->live, b));
	for (int i = 0; i < OUTLIER_TRIAL_CLIENTS; i++)
		assert_true(live_admit(f->live, b));
	assert_false(live_admit(f->live, b));
	assert_int_equal(tick(f, 50), 0);
	works(f, b, 1);
	assert_int_equal(tick(f, 50), 1);
	assert_returned(f, b, 30100);
	/* What failed before does not count any more. */
	fails(f, b, 4);
	assert_int_equal(tick(f, 50), 0);
}

static void test_a_trial_that_fails_ejects_for_longer(void **state)
{
	const uint64_t lasts_ms[] = {30000, 60000, 90000, 100000, 100000};
	struct fixture *f = *state;
	uint64_t began_ms;
	uint32_t b;

	begin(f, 4);
	b = nth(f, 0);
	began_ms = f->now_ms;
	fails(f, b, 5);
	assert_int_equal(tick(f, 0), 1);
	for (unsigned i = 0; i < 5; i++) {
		assert_ejected(f, b, i == 0 ? OUTLIER_CONSECUTIVE_FAILURES : OUTLIER_TRIAL_FAILED,
		               i + 1, lasts_ms[i]);
		assert_int_equal(tick(f, lasts_ms[i]), 0);
		assert_true(live_admit(f->live, b));
		fails(f, b, 1);
		assert_int_equal(tick(f, 0), 1);
	}
	assert_int_equal(tick(f, 100000), 0);
	works(f, b, 1);
	assert_int_equal(tick(f, 0), 1);
	/* From the first ejection on. */
	assert_false(f->changes[0].ejected);
	assert_int_equal(f->changes[0].ms, f->now_ms - began_ms);
}

static void test_a_trial_that_comes_to_nothing(void **state)
{
	struct fixture *f = *state;
	uint32_t b;

	begin(f, 4);
	b = eject_first(f);
	assert_int_equal(tick(f, 1), 0);
	assert_true(live_admit(f->live, b));
	assert_int_equal(tick(f, 11999), 0);
	assert_true(live_is_shut(f->live, b));
	assert_int_equal(tick(f, 1), 0);
	assert_true(live_admit(f->live, b));
	assert_false(live_admit(f->live, b));
}

static void test_ejections_are_forgiven(void **state)
{
	struct fixture *f = *state;
	uint32_t b;

	begin(f, 4);
	b = eject_first(f);
	assert_int_equal(tick(f, 1), 0);
	fails(f, b, 1);
	assert_int_equal(tick(f, 0), 1); /* the second */
	assert_int_equal(tick(f, 60000), 0);
	works(f, b, 1);
	assert_int_equal(tick(f, 0), 1);
	assert_false(ejected(f, b));

	/* At once it would be the third; one interval later it is the second. */
	assert_int_equal(tick(f, 10000), 0);
	fails(f, b, 5);
	assert_int_equal(tick(f, 0), 1);
	assert_ejected(f, b, OUTLIER_CONSECUTIVE_FAILURES, 2, 60000);
	assert_int_equal(tick(f, 60000), 0);
	works(f, b, 1);
	assert_int_equal(tick(f, 0), 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(tick(f, 10000), 0);
	fails(f, b, 5);
	assert_int_equal(tick(f, 0), 1);
	assert_ejected(f, b, OUTLIER_CONSECUTIVE_FAILURES, 1, 30000);
}

static void test_max_ejection_percent(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	f->options.max_ejection_percent = 30;
	begin(f, 10);
	for (unsigned i = 0; i < 10; i++)
		fails(f, nth(f, i), 5);
	assert_int_equal(tick(f, 50), 3);
	/* When one is back, there is room for another that fails again. */
	for (unsigned i = 0; i < 10; i++)
		n += ejected(f, nth(f, i));
	assert_int_equal(n, 3);
	assert_int_equal(tick(f, 30000), 0);
	works(f, nth(f, 0), 1);
	assert_int_equal(tick(f, 0), 1);
	for (unsigned i = 1; i < 10; i++)
		fails(f, nth(f, i), 1);
	tick(f, 0);
	n = 0;
	for (unsigned i = 0; i < 10; i++)
		n += ejected(f, nth(f, i));
	assert_int_equal(n, 3);
	assert_false(ejected(f, nth(f, 0)));
}

/* One may always be ejected, but never the last. */
static void test_small_pools(void **state)
{
	struct fixture *f = *state;

	f->options.max_ejection_percent = 10;
	begin(f, 2);
	fails(f, nth(f, 0), 5);
	fails(f, nth(f, 1), 5);
	assert_int_equal(tick(f, 50), 1);
	assert_int_equal(ejected(f, nth(f, 0)) + ejected(f, nth(f, 1)), 1);
}

static void test_the_last_sound_one_stays(void **state)
{
	struct fixture *f = *state;

	f->options.max_ejection_percent = 100;
	begin(f, 3);
	live_set_fault(f->live, nth(f, 0), LIVE_CHECK_DOWN, true);
	for (unsigned i = 0; i < 3; i++)
		fails(f, nth(f, i), 5);
	assert_int_equal(tick(f, 50), 1);
	assert_false(ejected(f, nth(f, 0))); /* something else speaks against it already */
	assert_int_equal(ejected(f, nth(f, 1)) + ejected(f, nth(f, 2)), 1);

	/* Alone, nobody is ejected. */
	outlier_free(f->outlier);
	route_rows_done(&f->rows);
	begin(f, 1);
	fails(f, nth(f, 0), 500);
	assert_int_equal(tick(f, 50), 0);
}

/* The percentage is of each app by itself. */
static void test_apps_are_counted_apart(void **state)
{
	struct fixture *f = *state;

	add(f, "s0", "ssh");
	add(f, "s1", "ssh");
	begin(f, 2);
	fails(f, nth(f, 0), 5);
	fails(f, slot(f, "s0"), 5);
	assert_int_equal(tick(f, 50), 2);
	fails(f, nth(f, 1), 5);
	fails(f, slot(f, "s1"), 5);
	assert_int_equal(tick(f, 50), 0);
}

static void test_success_rate(void **state)
{
	struct fixture *f = *state;

	begin(f, 10);
	for (unsigned i = 0; i < 9; i++) {
		works(f, nth(f, i), 198);
		fails(f, nth(f, i), 2);
		works(f, nth(f, i), 1);
	}
	for (unsigned i = 0; i < 50; i++) {
		fails(f, nth(f, 9), 2);
		works(f, nth(f, 9), 2);
	}
	assert_int_equal(tick(f, 9999), 0);
	assert_int_equal(tick(f, 1), 1);
	assert_ejected(f, nth(f, 9), OUTLIER_SUCCESS_RATE, 1, 30000);
	/* Only what happens in an interval counts. */
	assert_int_equal(tick(f, 10000), 0);
}

static void test_success_rate_needs_volume_and_hosts(void **state)
{
	struct fixture *f = *state;

	begin(f, 5);
	for (unsigned i = 0; i < 4; i++)
		works(f, nth(f, i), 100);
	for (unsigned i = 0; i < 49; i++) {
		fails(f, nth(f, 4), 1);
		works(f, nth(f, 4), 1);
	}
	assert_int_equal(tick(f, 10000), 0); /* 98: too few; and 4 are no mean */
	works(f, nth(f, 4), 51);
	fails(f, nth(f, 4), 3);
	works(f, nth(f, 4), 50);
	assert_int_equal(tick(f, 10000), 0); /* of the others there is nothing in this interval */
}

static void test_equal_rates_are_no_outliers(void **state)
{
	struct fixture *f = *state;

	begin(f, 20);
	for (unsigned i = 0; i < 20; i++) {
		works(f, nth(f, i), 200);
		fails(f, nth(f, i), 1);
		works(f, nth(f, i), 2);
		fails(f, nth(f, i), 3);
	}
	assert_int_equal(tick(f, 10000), 0);
}

/* A slot that another backend has got is nobody's fault. */
static void test_a_row_that_goes(void **state)
{
	struct fixture *f = *state;
	uint32_t b;

	begin(f, 4);
	b = eject_first(f);
	route_rows_done(&f->rows);
	add(f, "other", "web");
	build(f);
	assert_int_equal(tick(f, 0), 0);
	assert_false(ejected(f, b));
	live_collect(f->live);

	/* And one that comes back begins anew. */
	add(f, "b0", "web");
	build(f);
	fails(f, slot(f, "b0"), 5);
	assert_int_equal(tick(f, 50), 1);
	assert_ejected(f, slot(f, "b0"), OUTLIER_CONSECUTIVE_FAILURES, 1, 30000);
}

/* A reused slot, seen only at the next tick, does not inherit the ejection. */
static void test_a_slot_of_another(void **state)
{
	struct fixture *f = *state;
	uint32_t b;

	begin(f, 2);
	b = eject_first(f);
	route_rows_done(&f->rows);
	build(f);
	live_collect(f->live);
	for (int i = 0; i < 4; i++) {
		char id[16];

		snprintf(id, sizeof(id), "n%d", i);
		add(f, id, "web");
	}
	build(f);
	assert_non_null(table_backend_in_slot(f->table, b));
	assert_int_equal(live_faults(f->live, b), 0);
	assert_int_equal(tick(f, 100000), 0);
	assert_false(ejected(f, b));
	assert_int_equal(live_outcomes(f->live, b).failures, 0);
}

/* Long random runs: never more ejected than allowed, never the last, and all are back when all
 * is well again. */
static void test_invariants_over_random_runs(void **state)
{
	struct fixture *f = *state;
	struct rng rng = {.state = 7};

	f->options.max_ejection_percent = 40;
	begin(f, 13);
	for (int step = 0; step < 20000; step++) {
		unsigned n = 0;

		for (int i = 0; i < 3; i++) {
			unsigned k = (unsigned)rng_below(&rng, 13);
			uint32_t s = nth(f, k);

			if (live_is_shut(f->live, s) || !live_admit(f->live, s))
				continue;
			if (rng_below(&rng, 13) < (step / 5000 % 2 == 0 ? k : 0))
				fails(f, s, 1);
			else
				works(f, s, 1);
		}
		tick(f, 1 + rng_below(&rng, 2000));
		for (unsigned i = 0; i < 13; i++)
			n += ejected(f, nth(f, i));
		assert_true(n <= 5);
		if (step % 10000 == 9999)
			assert_int_equal(n, 0);
	}
}

/* Another process goes on where this one stopped, in each phase. */
static void test_from_process_to_process(void **state)
{
	struct fixture *f = *state;
	struct outlier_memory m = {.ejections = 99};
	uint32_t s;

	begin(f, 4);
	s = nth(f, 0);
	assert_false(outlier_recall(f->outlier, s, f->now_ms, &m));
	fails(f, s, 5);
	assert_int_equal(tick(f, 50), 1);
	assert_true(outlier_recall(f->outlier, s, f->now_ms + 10000, &m));
	assert_true(m.ejected);
	assert_int_equal(m.ejections, 1);
	assert_int_equal(m.left_ms, 20000);
	assert_int_equal(m.ejected_ms, 10000);
	(void)tick(f, 30000); /* its trial */
	assert_true(outlier_recall(f->outlier, s, f->now_ms, &m));
	assert_true(m.ejected);
	assert_int_equal(m.left_ms, 0);

	/* The next one: it is tried there. */
	live_set_fault(f->live, s, LIVE_EJECTED, false);
	outlier_free(f->outlier);
	f->outlier = outlier_new(&f->options, f->live, f->now_ms);
	outlier_restore(f->outlier, s, &m, f->now_ms);
	assert_true(live_is_shut(f->live, s));
	assert_int_equal(tick(f, 0), 0);
	assert_true(live_admit(f->live, s));
	assert_true(live_is_shut(f->live, s));
	works(f, s, 1);
	assert_int_equal(tick(f, 50), 1);
	assert_false(f->changes[0].ejected);
	assert_int_equal(f->changes[0].ms, 30050);
	assert_int_equal(live_faults(f->live, s), 0);
	assert_true(outlier_recall(f->outlier, s, f->now_ms, &m));
	assert_false(m.ejected);
	assert_int_equal(m.left_ms, 10000);

	/* And the one after that still knows that it was ejected once. */
	outlier_free(f->outlier);
	f->outlier = outlier_new(&f->options, f->live, f->now_ms);
	outlier_restore(f->outlier, s, &m, f->now_ms);
	assert_int_equal(live_faults(f->live, s), 0);
	fails(f, s, 5);
	assert_int_equal(tick(f, 50), 1);
	assert_int_equal(f->changes[0].ejections, 2);
	assert_int_equal(f->changes[0].ms, 60000);
}

static void test_nothing_to_restore(void **state)
{
	struct fixture *f = *state;
	struct outlier_memory m = {.ejected = true, .left_ms = 1000};

	f->options.consecutive_failures = 0;
	f->options.stdev_factor = 0;
	begin(f, 4);
	outlier_restore(f->outlier, nth(f, 0), &m, f->now_ms); /* never ejected */
	m.ejections = 1;
	outlier_restore(f->outlier, nth(f, 0), &m, f->now_ms); /* nobody is, here */
	assert_int_equal(live_faults(f->live, nth(f, 0)), 0);
	assert_false(outlier_recall(f->outlier, nth(f, 0), f->now_ms, &m));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_failures_in_a_row),
		TEST(test_it_can_be_off),
		TEST(test_a_trial_that_succeeds),
		TEST(test_a_trial_that_fails_ejects_for_longer),
		TEST(test_a_trial_that_comes_to_nothing),
		TEST(test_ejections_are_forgiven),
		TEST(test_max_ejection_percent),
		TEST(test_small_pools),
		TEST(test_the_last_sound_one_stays),
		TEST(test_apps_are_counted_apart),
		TEST(test_success_rate),
		TEST(test_success_rate_needs_volume_and_hosts),
		TEST(test_equal_rates_are_no_outliers),
		TEST(test_a_row_that_goes),
		TEST(test_a_slot_of_another),
		TEST(test_from_process_to_process),
		TEST(test_nothing_to_restore),
		TEST(test_invariants_over_random_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
