/* Slow start: the ramp from its least to all, again and again, and slots that change hands. */
#include "route/slowstart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint32_t hold(struct live *l, const char *id)
{
	uint32_t slot = LIVE_NO_SLOT;

	assert_int_equal(live_hold(l, id, &slot), 0);
	return slot;
}

static void test_the_ramp(void **state)
{
	struct live *l = live_new();
	struct slowstart *s = slowstart_new(l, 10000);
	uint32_t a = hold(l, "a");
	uint32_t b = hold(l, "b");

	(void)state;
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_begin(s, a, 0);
	assert_int_equal(live_ramp(l, a), SLOWSTART_MIN_PERCENT);
	slowstart_tick(s, 500);
	assert_int_equal(live_ramp(l, a), SLOWSTART_MIN_PERCENT);
	slowstart_begin(s, b, 2000);
	slowstart_tick(s, 5000);
	assert_int_equal(live_ramp(l, a), 49); /* a clock of 0 counts as 1 */
	assert_int_equal(live_ramp(l, b), 30);
	slowstart_begin(s, a, 6000); /* down and up again meanwhile */
	slowstart_tick(s, 10000);
	assert_int_equal(live_ramp(l, a), 40);
	assert_int_equal(live_ramp(l, b), 80);
	slowstart_tick(s, 11999);
	assert_int_equal(live_ramp(l, b), 99);
	slowstart_tick(s, 12000);
	assert_int_equal(live_ramp(l, b), LIVE_NO_RAMP);
	slowstart_cancel(s, a);
	slowstart_cancel(s, b);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_tick(s, 13000);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_begin(s, a, 13000);
	slowstart_tick(s, 12999);
	assert_int_equal(live_ramp(l, a), SLOWSTART_MIN_PERCENT);
	slowstart_tick(s, 23000);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_free(s);
	live_free(l);
}

static void test_from_process_to_process(void **state)
{
	struct live *l = live_new();
	struct slowstart *s = slowstart_new(l, 10000);
	uint32_t a = hold(l, "a");

	(void)state;
	assert_int_equal(slowstart_past_ms(s, a, 50000), 0);
	slowstart_restore(s, a, 10000, 50000); /* it has arrived */
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_restore(s, a, 4000, 50000);
	assert_int_equal(slowstart_past_ms(s, a, 51000), 5000);
	slowstart_tick(s, 51000);
	assert_int_equal(live_ramp(l, a), 50);
	slowstart_cancel(s, a);
	assert_int_equal(slowstart_past_ms(s, a, 51000), 0);
	slowstart_restore(s, a, 9999, 5); /* from before this clock began */
	assert_in_range(slowstart_past_ms(s, a, 5), 1, 9999);
	slowstart_free(s);
	live_free(l);
}

static void test_none(void **state)
{
	struct live *l = live_new();
	struct slowstart *s = slowstart_new(l, 0);
	uint32_t a = hold(l, "a");

	(void)state;
	slowstart_begin(s, a, 5);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_cancel(s, a);
	slowstart_tick(s, 6);
	slowstart_free(s);
	live_free(l);
}

static void test_a_slot_of_another(void **state)
{
	struct live *l = live_new();
	struct slowstart *s = slowstart_new(l, 10000);
	uint32_t a = hold(l, "a");

	(void)state;
	slowstart_begin(s, a, 1000);
	live_let_go(l, a);
	assert_int_equal(live_collect(l), 1);
	assert_int_equal(hold(l, "b"), a);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_tick(s, 2000);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	slowstart_begin(s, a, 3000);
	slowstart_tick(s, 8000);
	assert_int_equal(live_ramp(l, a), 50);
	slowstart_free(s);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_ramp),
		cmocka_unit_test(test_from_process_to_process),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_a_slot_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
