/* Tried backends: a set of slots that grows. */
#include "route/tried.h"

#include "base/rng.h"
#include "route/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_empty(void **state)
{
	struct tried t;

	(void)state;
	tried_init(&t);
	assert_null(t.bits); /* nothing is allocated before the first failure */
	assert_false(tried_has(&t, 0));
	assert_false(tried_has(&t, LIVE_SLOTS_MAX - 1));
	assert_false(tried_has(NULL, 0));
	tried_done(&t);
	tried_done(&t);
}

static void test_add(void **state)
{
	static const uint32_t slots[] = {5, 0, 63, 64, 5, 127, 128, LIVE_SLOTS_MAX - 1};
	struct tried t;

	(void)state;
	tried_init(&t);
	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		assert_int_equal(tried_add(&t, slots[i]), 0);
		for (size_t k = 0; k <= i; k++)
			assert_true(tried_has(&t, slots[k]));
		assert_false(tried_has(&t, 4));
		assert_false(tried_has(&t, 65));
		assert_false(tried_has(&t, 1000));
	}
	tried_done(&t);
	assert_false(tried_has(&t, 5));
}

static void test_against_a_plain_set(void **state)
{
	static unsigned char set[5000];
	struct rng rng = {.state = 3};
	struct tried t;

	(void)state;
	tried_init(&t);
	for (int i = 0; i < 300; i++) {
		/* Small ones first, so that it has to grow. */
		uint32_t slot = (uint32_t)rng_below(&rng, 1 + (uint64_t)i * 16);

		assert_int_equal(tried_add(&t, slot), 0);
		set[slot] = 1;
	}
	for (uint32_t slot = 0; slot < sizeof(set); slot++)
		assert_int_equal(tried_has(&t, slot), set[slot]);
	tried_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_against_a_plain_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
