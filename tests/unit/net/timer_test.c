#include "net/timer.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct alarm {
	struct timer timer;
	uint64_t fired_at;
	unsigned times;
	struct timer_wheel *wheel;
	struct alarm *victim;
	uint64_t again_ms;
};

enum { OTHER, RING };

static void ring(struct timer *t, uint64_t now_ms)
{
	struct alarm *a = list_entry(t, struct alarm, timer);

	a->fired_at = now_ms;
	a->times++;
	if (a->victim != NULL)
		timer_cancel(a->wheel, &a->victim->timer);
	if (a->again_ms != 0 && a->times < 5)
		timer_arm(a->wheel, t, now_ms + a->again_ms);
}

static void fires_at_its_millisecond(void **state)
{
	/* Around every level's border, with the wheel started at an odd time. */
	static const uint64_t delays[] = {1,       2,        7,        8,        63,
	                                  64,      65,       511,      512,      4095,
	                                  4096,    32767,    32769,    262143,   3600000,
	                                  2097152, 16777216, 16777217, 604800000};

	(void)state;
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		struct timer_wheel w;
		struct alarm a = {0};
		uint64_t start = 1234567, due = start + delays[i];

		timer_wheel_init(&w, start);
		timer_wheel_on(&w, RING, ring);
		timer_init(&a.timer, RING);
		timer_arm(&w, &a.timer, due);
		timer_wheel_advance(&w, due - 1);
		assert_int_equal(a.times, 0);
		assert_true(timer_armed(&a.timer));
		timer_wheel_advance(&w, due);
		assert_int_equal(a.times, 1);
		assert_int_equal(a.fired_at, due);
		assert_false(timer_armed(&a.timer));
	}
}

static void sleeping_as_told_is_never_late(void **state)
{
	struct timer_wheel w;
	struct alarm a = {0};
	uint64_t now = 99, due = 99 + 3600000;
	unsigned turns = 0;

	(void)state;
	timer_wheel_init(&w, now);
	timer_wheel_on(&w, RING, ring);
	assert_int_equal(timer_wheel_wait_ms(&w, now), -1);
	timer_init(&a.timer, RING);
	timer_arm(&w, &a.timer, due);
	while (a.times == 0) {
		int wait = timer_wheel_wait_ms(&w, now);

		assert_true(wait > 0);
		now += (uint64_t)wait;
		assert_true(now <= due);
		timer_wheel_advance(&w, now);
		assert_true(++turns <= TIMER_LEVELS + 1);
	}
	assert_int_equal(now, due);
	assert_int_equal(timer_wheel_wait_ms(&w, now), -1);
}

static void many_random_timers_agree_with_a_list(void **state)
{
	enum { N = 2000 };
	static struct alarm alarms[N];
	struct timer_wheel w;
	struct rng rng = {.state = 7};
	uint64_t now = 5;

	(void)state;
	timer_wheel_init(&w, now);
	timer_wheel_on(&w, RING, ring);
	for (size_t i = 0; i < N; i++) {
		alarms[i] = (struct alarm){0};
		timer_init(&alarms[i].timer, RING);
		timer_arm(&w, &alarms[i].timer,
		          now + 1 + rng_below(&rng, 1u << rng_below(&rng, 22)));
	}
	for (size_t i = 0; i < N; i += 3)
		timer_cancel(&w, &alarms[i].timer);
	for (size_t i = 1; i < N; i += 3)
		timer_arm(&w, &alarms[i].timer, now + 1 + rng_below(&rng, 100000));
	while (now < 5000000) {
		uint64_t before = now;

		now += 1 + rng_below(&rng, 5000);
		timer_wheel_advance(&w, now);
		for (size_t i = 0; i < N; i++) {
			bool due = i % 3 != 0 && alarms[i].timer.expires_ms <= now;

			assert_int_equal(alarms[i].times, due ? 1 : 0);
			if (due && alarms[i].timer.expires_ms > before)
				assert_int_equal(alarms[i].fired_at, now);
		}
	}
	assert_int_equal(timer_wheel_wait_ms(&w, now), -1);
}

static void a_timer_may_cancel_one_that_is_due_too(void **state)
{
	struct timer_wheel w;
	struct alarm a = {0}, b = {0};

	(void)state;
	timer_wheel_init(&w, 0);
	timer_wheel_on(&w, RING, ring);
	timer_init(&a.timer, RING);
	timer_init(&b.timer, RING);
	a.wheel = &w;
	a.victim = &b;
	timer_arm(&w, &a.timer, 10);
	timer_arm(&w, &b.timer, 10);
	timer_wheel_advance(&w, 50);
	assert_int_equal(a.times, 1);
	assert_int_equal(b.times, 0);
	assert_int_equal(timer_wheel_wait_ms(&w, 50), -1);
}

static void a_timer_may_arm_itself_again(void **state)
{
	struct timer_wheel w;
	struct alarm a = {.again_ms = 3};
	uint64_t now = 0;

	(void)state;
	timer_wheel_init(&w, now);
	timer_wheel_on(&w, RING, ring);
	a.wheel = &w;
	timer_init(&a.timer, RING);
	timer_arm(&w, &a.timer, 3);
	for (; now <= 15; now++)
		timer_wheel_advance(&w, now);
	assert_int_equal(a.times, 5);
	assert_int_equal(a.fired_at, 15);
}

static void a_time_that_has_passed_fires_at_once(void **state)
{
	struct timer_wheel w;
	struct alarm a = {0};

	(void)state;
	timer_wheel_init(&w, 1000);
	timer_wheel_on(&w, RING, ring);
	timer_init(&a.timer, RING);
	timer_arm(&w, &a.timer, 10);
	assert_true(timer_wheel_wait_ms(&w, 1000) <= 1);
	timer_wheel_advance(&w, 1001);
	assert_int_equal(a.times, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fires_at_its_millisecond),
		cmocka_unit_test(sleeping_as_told_is_never_late),
		cmocka_unit_test(many_random_timers_agree_with_a_list),
		cmocka_unit_test(a_timer_may_cancel_one_that_is_due_too),
		cmocka_unit_test(a_timer_may_arm_itself_again),
		cmocka_unit_test(a_time_that_has_passed_fires_at_once),
	};

	return cmocka_run_group_tests_name("net/timer", tests, NULL, NULL);
}
