#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_bound_belongs_to_its_bucket(void **state)
{
	struct histogram h = {0};
	struct histogram_sum sum = {0};

	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++)
		histogram_note(&h, histogram_bounds_us[i]);
	histogram_note(&h, histogram_bounds_us[HISTOGRAM_BOUNDS - 1] + 1);
	histogram_note(&h, 0);
	histogram_add_to(&h, &sum);
	assert_int_equal(sum.buckets[0], 2);
	for (unsigned i = 1; i <= HISTOGRAM_BOUNDS; i++)
		assert_int_equal(sum.buckets[i], 1);
	assert_int_equal(sum.count, HISTOGRAM_BOUNDS + 2);
}

static void sums_add_up(void **state)
{
	struct histogram a = {0}, b = {0};
	struct histogram_sum sum = {0};

	(void)state;
	histogram_note(&a, 70);
	histogram_note(&b, 80);
	histogram_note(&b, 3000);
	histogram_add_to(&a, &sum);
	histogram_add_to(&b, &sum);
	assert_int_equal(sum.count, 3);
	assert_int_equal(sum.sum_us, 3150);
	assert_int_equal(sum.buckets[1], 2);
	assert_int_equal(sum.buckets[6], 1);
}

static void bounds_ascend(void **state)
{
	(void)state;
	for (unsigned i = 1; i < HISTOGRAM_BOUNDS; i++)
		assert_true(histogram_bounds_us[i] > histogram_bounds_us[i - 1]);
}

static void quantiles(void **state)
{
	struct histogram h = {0};
	struct histogram_sum sum = {0};

	(void)state;
	assert_int_equal(histogram_quantile_us(&sum, 0.5), 0);
	for (int i = 0; i < 100; i++)
		histogram_note(&h, 150); /* between 100 and 250 */
	histogram_add_to(&h, &sum);
	assert_int_equal(histogram_quantile_us(&sum, 0.5), 175);
	assert_int_equal(histogram_quantile_us(&sum, 1), 250);
	histogram_note(&h, 60000000);
	sum = (struct histogram_sum){0};
	histogram_add_to(&h, &sum);
	assert_int_equal(histogram_quantile_us(&sum, 1), histogram_bounds_us[HISTOGRAM_BOUNDS - 1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bound_belongs_to_its_bucket),
		cmocka_unit_test(sums_add_up),
		cmocka_unit_test(bounds_ascend),
		cmocka_unit_test(quantiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
