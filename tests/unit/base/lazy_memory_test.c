/* Memory that comes with use and goes back step by step. */
#include "base/lazy_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define ROOM ((size_t)64 << 20)

/* Pages of m that are there. */
static size_t resident(const struct lazy_memory *m)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = m->mapped / page, count = 0;
	unsigned char *there = malloc(n);

	assert_non_null(there);
	assert_int_equal(mincore(m->start, m->mapped, there), 0);
	for (size_t i = 0; i < n; i++)
		count += there[i] & 1;
	free(there);
	return count * page;
}

static void pages_come_with_use(void **state)
{
	struct lazy_memory m;
	unsigned char *bytes = lazy_memory_init(&m, ROOM);

	(void)state;
	assert_non_null(bytes);
	assert_int_equal(resident(&m), 0);
	lazy_memory_used(&m, 100000);
	memset(bytes, 1, 100000);
	assert_in_range(resident(&m), 100000, 200000);
	lazy_memory_done(&m);
	assert_null(m.start);
	lazy_memory_done(&m);
}

static void what_is_not_used_any_more_goes_back_in_steps(void **state)
{
	struct lazy_memory m;
	unsigned char *bytes = lazy_memory_init(&m, ROOM);
	size_t filled = 10 * LAZY_MEMORY_STEP, used = 1000;
	unsigned steps = 1;

	(void)state;
	assert_non_null(bytes);
	lazy_memory_used(&m, filled);
	memset(bytes, 1, filled);
	assert_false(lazy_memory_give_back(&m, filled / 2)); /* not the greater part */
	assert_int_equal(resident(&m), filled);
	while (lazy_memory_give_back(&m, used)) {
		assert_true(resident(&m) >= filled - steps * (LAZY_MEMORY_STEP + 65536));
		steps++;
	}
	assert_true(steps >= 9);
	assert_in_range(resident(&m), used, 2 * LAZY_MEMORY_STEP);
	for (size_t i = 0; i < used; i++)
		assert_int_equal(bytes[i], 1);
	assert_int_equal(bytes[filled - 1], 0);

	/* And can be used again. */
	lazy_memory_used(&m, filled);
	bytes[filled - 1] = 2;
	assert_int_equal(bytes[filled - 1], 2);
	lazy_memory_done(&m);
}

static void more_than_there_is_room_for(void **state)
{
	struct lazy_memory m;

	(void)state;
	assert_null(lazy_memory_init(&m, SIZE_MAX / 2));
	assert_null(m.start);
	lazy_memory_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_come_with_use),
		cmocka_unit_test(what_is_not_used_any_more_goes_back_in_steps),
		cmocka_unit_test(more_than_there_is_room_for),
	};

	return cmocka_run_group_tests_name("base/lazy_memory", tests, NULL, NULL);
}
