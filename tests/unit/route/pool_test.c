/* Pools: the order of members, groups and columns, by hand and at random. */
#include "route/pool.h"

#include "base/rng.h"
#include "geo/country.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BACKENDS 300
#define POOLS 5

struct fixture {
	struct arena arena;
	struct backend backends[BACKENDS];
	struct pool pools[POOLS];
	struct pool_members members;
	uint32_t expected[POOLS]; /* members */
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	arena_init(&f.arena);
	*state = &f;
	return pool_members_init(&f.members, &f.arena, (size_t)BACKENDS * 2);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_done(&f->arena);
	return 0;
}

static struct backend backend(region_id region, const char *country, uint32_t slot)
{
	struct backend b = {
		.region = region,
		.healthy = true,
		.weight = 2,
		.soft_limit = 5,
		.hard_limit = 9,
		.slot = slot,
	};

	memcpy(b.country, country, strlen(country));
	return b;
}

static void add(struct fixture *f, uint32_t pool, uint32_t index)
{
	pool_members_add(&f->members, pool, f->backends, index);
	f->expected[pool]++;
}

static void fill(struct fixture *f)
{
	pool_members_sort(&f->members);
	assert_int_equal(pools_fill(f->pools, POOLS, f->backends, &f->members, &f->arena), 0);
}

/* What must be true of any member. */
static void check_member(const struct fixture *f, const struct pool *p, const struct group *g,
                         uint32_t i)
{
	const struct backend *b = &f->backends[p->members[i]];
	const struct backend *before = i > g->first ? &f->backends[p->members[i - 1]] : NULL;

	assert_int_equal(b->region, g->region);
	assert_int_equal(p->slots[i], b->slot);
	assert_int_equal(p->weights[i], b->weight);
	assert_int_equal(p->weights_before[i + 1] - p->weights_before[i], b->weight);
	assert_int_equal(p->soft_limits[i], b->soft_limit);
	assert_int_equal(p->hard_limits[i], b->hard_limit);
	assert_true(p->costs[i] == (float)(1.0 / ((double)b->soft_limit * b->weight)));
	if (before == NULL)
		return;
	assert_true(country_index(before->country) <= country_index(b->country));
	assert_true(country_index(before->country) != country_index(b->country) || before < b);
}

/* What must be true of any pools. */
static void check_pools(const struct fixture *f)
{
	for (uint32_t k = 0; k < POOLS; k++) {
		const struct pool *p = &f->pools[k];
		uint32_t next = 0;

		assert_int_equal(p->member_count, f->expected[k]);
		assert_int_equal(p->weights_before[0], 0);
		assert_false(pool_in_panic(p));
		for (uint32_t g = 0; g < p->group_count; g++) {
			const struct group *group = &p->groups[g];
			bool dense = true;

			assert_int_equal(group->first, next);
			assert_true(group->count > 0);
			assert_true(g == 0 || p->groups[g - 1].region < group->region);
			next += group->count;
			for (uint32_t i = group->first; i < next; i++) {
				check_member(f, p, group, i);
				dense = dense &&
				        p->slots[i] == p->slots[group->first] + i - group->first;
			}
			assert_int_equal(group->dense, dense);
		}
		assert_int_equal(next, p->member_count);
	}
}

static void test_none(void **state)
{
	struct fixture *f = *state;

	fill(f);
	check_pools(f);
	assert_int_equal(f->pools[0].group_count, 0);
}

static void test_the_order_of_members(void **state)
{
	struct fixture *f = *state;
	static const uint32_t order[] = {4, 3, 1, 2, 0};

	f->backends[0] = backend(2, "", 10);
	f->backends[1] = backend(1, "BR", 3);
	f->backends[2] = backend(1, "BR", 4);
	f->backends[3] = backend(1, "AR", 2);
	f->backends[4] = backend(1, "", 1);
	for (uint32_t i = 0; i < 5; i++)
		add(f, 3, i);
	add(f, 0, 0);
	add(f, 0, 4);
	fill(f);
	check_pools(f);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(pool_of_member(&f->members, 2 + i), 3);
		assert_int_equal(backend_of_member(&f->members, 2 + i), order[i]);
		assert_int_equal(f->pools[3].members[i], order[i]);
	}
	assert_int_equal(f->pools[3].group_count, 2);
	assert_true(f->pools[3].groups[0].dense); /* 1, 2, 3, 4 */
	assert_int_equal(f->pools[3].groups[0].count, 4);
	assert_true(f->pools[3].groups[1].dense); /* 10, alone */
	assert_int_equal(f->pools[0].member_count, 2);
}

static void test_a_gap_between_slots(void **state)
{
	struct fixture *f = *state;

	f->backends[0] = backend(1, "", 1);
	f->backends[1] = backend(1, "", 3);
	f->backends[2] = backend(1, "", 4);
	for (uint32_t i = 0; i < 3; i++)
		add(f, 0, i);
	fill(f);
	check_pools(f);
	assert_false(f->pools[0].groups[0].dense);
}

/* Keys hold the highest number of each of their parts. */
static void test_the_ends_of_a_key(void **state)
{
	struct fixture *f = *state;
	struct backend *all = calloc(BACKENDS_MAX, sizeof(*all));

	assert_non_null(all);
	all[BACKENDS_MAX - 1] = backend(UINT16_MAX, "ZZ", 0);
	all[0] = backend(0, "", 0);
	pool_members_add(&f->members, POOLS_MAX - 1, all, BACKENDS_MAX - 1);
	pool_members_add(&f->members, POOLS_MAX - 1, all, 0);
	pool_members_add(&f->members, 0, all, BACKENDS_MAX - 1);
	pool_members_sort(&f->members);
	assert_int_equal(pool_of_member(&f->members, 0), 0);
	assert_int_equal(backend_of_member(&f->members, 0), BACKENDS_MAX - 1);
	assert_int_equal(pool_of_member(&f->members, 1), POOLS_MAX - 1);
	assert_int_equal(backend_of_member(&f->members, 1), 0);
	assert_int_equal(pool_of_member(&f->members, 2), POOLS_MAX - 1);
	assert_int_equal(backend_of_member(&f->members, 2), BACKENDS_MAX - 1);
	free(all);
}

static void test_random_pools(void **state)
{
	static const char *const countries[] = {"", "BR", "DE", "JP", "US"};
	struct rng rng = {.state = 7};
	void *fixture;

	(void)state;
	for (int round = 0; round < 50; round++) {
		uint32_t n = (uint32_t)rng_below(&rng, BACKENDS);
		struct fixture *f;

		assert_int_equal(setup(&fixture), 0);
		f = fixture;
		for (uint32_t i = 0; i < n; i++) {
			f->backends[i] = backend((region_id)rng_below(&rng, 6),
			                         countries[rng_below(&rng, 5)],
			                         i + (uint32_t)rng_below(&rng, 2));
			f->backends[i].weight = 1 + (uint32_t)rng_below(&rng, 4);
			f->backends[i].soft_limit = 1 + (uint32_t)rng_below(&rng, LIMIT_MAX);
			add(f, 0, i);
			add(f, 1 + (uint32_t)rng_below(&rng, POOLS - 1), i);
		}
		fill(f);
		check_pools(f);
		teardown(&fixture);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_the_order_of_members),
		TEST(test_a_gap_between_slots),
		TEST(test_the_ends_of_a_key),
		cmocka_unit_test(test_random_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
