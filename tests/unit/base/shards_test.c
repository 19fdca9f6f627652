/* Shards: how many, with how much room, and which one a hash is for. */
#include "base/shards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_how_many(void **state)
{
	(void)state;
	assert_int_equal(shard_bits(1), 0);
	assert_int_equal(shard_bits(2 * SHARD_ENTRIES_MIN - 1), 0);
	assert_int_equal(shard_bits(2 * SHARD_ENTRIES_MIN), 1);
	assert_int_equal(shard_bits(SHARDS_MAX * SHARD_ENTRIES_MIN - 1), 5);
	assert_int_equal(shard_bits(SHARDS_MAX * SHARD_ENTRIES_MIN), 6);
	assert_int_equal(shard_bits(100000000), 6);
}

static void test_shares_are_the_whole(void **state)
{
	(void)state;
	for (size_t entries = 1; entries < 200000; entries += 997) {
		unsigned bits = shard_bits(entries);
		uint32_t least = shard_share(entries, bits, ((size_t)1 << bits) - 1);
		size_t sum = 0;

		assert_true(bits == 0 || least >= SHARD_ENTRIES_MIN);
		for (size_t i = 0; i < (size_t)1 << bits; i++) {
			assert_in_range(shard_share(entries, bits, i), least, least + 1);
			sum += shard_share(entries, bits, i);
		}
		assert_int_equal(sum, entries);
	}
}

static void test_the_highest_bits_choose(void **state)
{
	(void)state;
	assert_int_equal(shard_of(UINT64_MAX, 0), 0);
	assert_int_equal(shard_of(UINT64_MAX, 6), 63);
	assert_int_equal(shard_of(UINT64_MAX >> 6, 6), 0);
	assert_int_equal(shard_of((uint64_t)5 << 61, 3), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_how_many),
		cmocka_unit_test(test_shares_are_the_whole),
		cmocka_unit_test(test_the_highest_bits_choose),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
