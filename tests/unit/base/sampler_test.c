#include "base/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void one_of_each(void **state)
{
	(void)state;
	for (uint64_t every = 1; every < 20; every++) {
		struct rng rng = {.state = every};
		struct sampler s = {0};

		for (int round = 0; round < 50; round++) {
			uint64_t taken = 0;

			for (uint64_t i = 0; i < every; i++)
				taken += sampler_take(&s, every, &rng);
			assert_int_equal(taken, 1);
		}
	}
}

/* Two kinds by turns: both are taken. */
static void no_pattern_hides(void **state)
{
	struct rng rng = {.state = 1};
	struct sampler s = {0};
	unsigned taken[2] = {0};

	(void)state;
	for (unsigned i = 0; i < 2000; i++)
		taken[i % 2] += sampler_take(&s, 2, &rng);
	assert_int_equal(taken[0] + taken[1], 1000);
	assert_in_range(taken[0], 400, 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_each),
		cmocka_unit_test(no_pattern_hides),
	};

	return cmocka_run_group_tests_name("base/sampler", tests, NULL, NULL);
}
