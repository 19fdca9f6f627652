/* Rise, fall, grace and intervals under virtual time. */
#include "health/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct check_timing timing = {
	.inter_ms = 1000,
	.fastinter_ms = 200,
	.downinter_ms = 5000,
	.timeout_ms = 1000,
	.rise = 2,
	.fall = 3,
};

static struct check_state begun(const struct check_timing *t)
{
	struct check_state s;

	check_begin(&s, t, 100);
	assert_false(s.down);
	return s;
}

/* '+' a pass, '-' a failure; what changes is said behind each: 'd', 'u' or '.'. */
static void runs(struct check_state *s, const struct check_timing *t, const char *script)
{
	for (uint64_t now = 1000; *script != '\0'; script += 2, now += 10) {
		enum check_change change = check_result(s, t, *script == '+', now);
		char said = change == CHECK_WENT_DOWN ? 'd' : change == CHECK_CAME_UP ? 'u' : '.';

		if (said != script[1])
			fail_msg("%c instead at \"%s\"", said, script);
		if (change != CHECK_UNCHANGED)
			assert_int_equal(s->changed_ms, now);
	}
}

static void rows_of_results_change_the_state(void **state)
{
	struct check_state s = begun(&timing);

	(void)state;
	runs(&s, &timing, "+.-.-.+.-.-.-d-.-.+.-.+.+u+.-.-.-d");
	assert_true(s.down);
}

static void another_process_checked_it_before(void **state)
{
	struct check_timing slow = timing;
	struct check_state s = begun(&timing);

	(void)state;
	check_adopt(&s, true);
	assert_true(s.down);
	runs(&s, &timing, "-.-.+.-.+.+u-.-.-d");
	s = begun(&timing);
	check_adopt(&s, false);
	runs(&s, &timing, "-.-.-d");
	/* The grace is for those that were not there before. */
	slow.grace_ms = 100000;
	s = begun(&slow);
	check_adopt(&s, true);
	runs(&s, &slow, "+.-.+.-.+.+u");
}

static void one_failure_is_enough_before_the_first_pass(void **state)
{
	struct check_state s = begun(&timing);

	(void)state;
	runs(&s, &timing, "-d-.+.+u-.-.-d");
	s = begun(&timing);
	runs(&s, &timing, "+.-.-.-d");
}

static void failures_within_the_grace_do_not_count(void **state)
{
	struct check_timing t = timing;
	struct check_state s;

	(void)state;
	t.grace_ms = 500;
	check_begin(&s, &t, 100);
	assert_int_equal(check_result(&s, &t, false, 100), CHECK_UNCHANGED);
	assert_int_equal(check_result(&s, &t, false, 599), CHECK_UNCHANGED);
	assert_int_equal(s.streak, 0);
	assert_int_equal(check_result(&s, &t, false, 600), CHECK_WENT_DOWN);
	/* A pass counts at once. */
	check_begin(&s, &t, 100);
	assert_int_equal(check_result(&s, &t, true, 100), CHECK_UNCHANGED);
	assert_true(s.passed);
}

/* Every due time within 10 % of the interval, and both ends of that are reached. */
static void expect_interval(const struct check_state *s, uint64_t interval)
{
	struct rng rng = {.state = 7};
	uint64_t least = UINT64_MAX, most = 0;

	for (int i = 0; i < 20000; i++) {
		uint64_t next = check_next_ms(s, &timing, 10000, &rng);

		least = next < least ? next : least;
		most = next > most ? next : most;
	}
	assert_int_equal(least, 10000 + interval - interval / 10);
	assert_int_equal(most, 10000 + interval + interval / 10);
}

static void the_state_chooses_the_interval(void **state)
{
	struct check_state s = begun(&timing);

	(void)state;
	expect_interval(&s, 1000);
	runs(&s, &timing, "+.-.");
	expect_interval(&s, 200);
	runs(&s, &timing, "-.-d");
	expect_interval(&s, 5000);
	runs(&s, &timing, "+.");
	expect_interval(&s, 200);
	runs(&s, &timing, "+u");
	expect_interval(&s, 1000);
}

static void first_checks_are_spread_over_one_interval(void **state)
{
	struct rng rng = {.state = 7};
	unsigned tenths[10] = {0};

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t due = check_first_ms(&timing, 5000, &rng);

		assert_true(due >= 5000 && due < 6000);
		tenths[(due - 5000) / 100]++;
	}
	for (int i = 0; i < 10; i++)
		assert_true(tenths[i] > 800 && tenths[i] < 1200);
}

/* A thousand backends for an hour: never up with a row of failures behind them, nor the reverse. */
static void invariants_hold_for_any_results(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct rng rng = {.state = seed};
		struct check_state s = begun(&timing);
		uint64_t now = 100;
		unsigned good = 0, bad = 0;

		for (int i = 0; i < 1000; i++) {
			bool pass = rng_below(&rng, 100) < seed % 101;
			uint64_t next;

			(void)check_result(&s, &timing, pass, now);
			good = pass ? good + 1 : 0;
			bad = pass ? 0 : bad + 1;
			assert_false(!s.down && bad >= timing.fall);
			assert_false(s.down && good >= timing.rise);
			assert_true(s.streak < timing.fall);
			next = check_next_ms(&s, &timing, now, &rng);
			assert_true(next >= now + 180 && next <= now + 5500);
			now = next;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_results_change_the_state),
		cmocka_unit_test(another_process_checked_it_before),
		cmocka_unit_test(one_failure_is_enough_before_the_first_pass),
		cmocka_unit_test(failures_within_the_grace_do_not_count),
		cmocka_unit_test(the_state_chooses_the_interval),
		cmocka_unit_test(first_checks_are_spread_over_one_interval),
		cmocka_unit_test(invariants_hold_for_any_results),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
