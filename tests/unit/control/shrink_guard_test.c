/* Which losses are held, for how long, and by whose word they pass. The log goes nowhere here: it
 * is reload_test.c that reads it. */
#include "control/shrink_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HOLD_SECS 30
#define HOLD_MS (HOLD_SECS * 1000)
#define BEGIN_MS 1000000

static struct counter count;
static const struct table ten = {.version = 7, .usable_count = 10};

static struct shrink_guard guard(uint64_t hold_secs)
{
	struct shrink_guard g;

	count = (struct counter){0};
	shrink_guard_init(&g, hold_secs, &count);
	return g;
}

static bool holds(struct shrink_guard *g, size_t usable, enum accept accept, uint64_t after_ms)
{
	return shrink_guard_holds(g, &ten, usable, accept, BEGIN_MS + after_ms);
}

static void only_more_than_half(void **state)
{
	struct shrink_guard g = guard(HOLD_SECS);

	(void)state;
	assert_false(holds(&g, 11, ACCEPT_NOBODY, 0));
	assert_false(holds(&g, 5, ACCEPT_NOBODY, 0));
	assert_false(g.holds);
	assert_true(holds(&g, 4, ACCEPT_NOBODY, 0));
	assert_true(g.holds);
	assert_int_equal(counter_read(&count), 1);
}

static void until_the_time_is_over(void **state)
{
	struct shrink_guard g = guard(HOLD_SECS);

	(void)state;
	assert_false(shrink_guard_is_over(&g, BEGIN_MS));
	assert_true(holds(&g, 4, ACCEPT_NOBODY, 0));
	assert_true(holds(&g, 4, ACCEPT_NOBODY, 100)); /* said again: the time goes on */
	assert_false(shrink_guard_is_over(&g, BEGIN_MS + HOLD_MS - 1));
	assert_true(shrink_guard_is_over(&g, BEGIN_MS + HOLD_MS));
	assert_false(holds(&g, 4, ACCEPT_HOLD, HOLD_MS));
	shrink_guard_passed(&g, 10, 4, ACCEPT_HOLD);
	assert_false(g.holds);
	assert_int_equal(counter_read(&count), 1);
}

static void a_greater_loss_waits_anew(void **state)
{
	struct shrink_guard g = guard(HOLD_SECS);

	(void)state;
	assert_true(holds(&g, 4, ACCEPT_NOBODY, 0));
	assert_true(holds(&g, 3, ACCEPT_HOLD, HOLD_MS));
	assert_false(shrink_guard_is_over(&g, BEGIN_MS + HOLD_MS + 1));
	assert_true(shrink_guard_is_over(&g, BEGIN_MS + 2 * HOLD_MS));
	assert_int_equal(counter_read(&count), 1); /* still the same hold */
	assert_false(holds(&g, 4, ACCEPT_HOLD, 2 * HOLD_MS));
}

static void a_release_begins_anew(void **state)
{
	struct shrink_guard g = guard(HOLD_SECS);

	(void)state;
	assert_true(holds(&g, 4, ACCEPT_NOBODY, 0));
	shrink_guard_release(&g);
	assert_true(holds(&g, 4, ACCEPT_NOBODY, HOLD_MS));
	assert_false(shrink_guard_is_over(&g, BEGIN_MS + HOLD_MS));
	assert_int_equal(counter_read(&count), 2);
}

static void an_operator_may(void **state)
{
	struct shrink_guard g = guard(HOLD_SECS);

	(void)state;
	assert_true(holds(&g, 4, ACCEPT_NOBODY, 0));
	assert_false(holds(&g, 0, ACCEPT_OPERATOR, 1));
}

static void none_without_a_time(void **state)
{
	struct shrink_guard g = guard(0);

	(void)state;
	assert_false(holds(&g, 0, ACCEPT_NOBODY, 0));
	assert_false(shrink_guard_is_over(&g, BEGIN_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_more_than_half),
		cmocka_unit_test(until_the_time_is_over),
		cmocka_unit_test(a_greater_loss_waits_anew),
		cmocka_unit_test(a_release_begins_anew),
		cmocka_unit_test(an_operator_may),
		cmocka_unit_test(none_without_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
