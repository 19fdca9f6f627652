/* Each app's usable backends become a pool, in which backends of one region stand together (a
 * group), and within a group those of one country. One sort of one number a member, made of pool,
 * region, country and backend, brings that order about for all pools at once; the rest is cutting
 * it into slices.
 *
 * Slots are given out between the two, in the order of the members (table.c): a group is then dense
 * wherever its backends are new together. Which backend is in which pool is the table's to say. */
#include "route/pool.h"

#include "geo/country.h"
#include "route/limits.h"

#include <errno.h>
#include <stdlib.h>

/* The parts of a member's number, lowest first. */
#define KEY_BACKEND_BITS 17
#define KEY_COUNTRY_BITS 10
#define KEY_REGION_BITS 16
#define KEY_REGION_SHIFT (KEY_BACKEND_BITS + KEY_COUNTRY_BITS)
#define KEY_POOL_SHIFT (KEY_REGION_SHIFT + KEY_REGION_BITS)
#define KEY_BACKEND_MASK (((uint64_t)1 << KEY_BACKEND_BITS) - 1)

_Static_assert(BACKENDS_MAX <= 1u << KEY_BACKEND_BITS, "a key holds every backend");
_Static_assert(COUNTRY_INDEX_MAX < 1u << KEY_COUNTRY_BITS, "a key holds every country, and none");
_Static_assert(POOLS_MAX == 1u << (64 - KEY_POOL_SHIFT), "a key holds every pool");

int pool_members_init(struct pool_members *m, struct arena *arena, size_t most)
{
	m->keys = arena_alloc(arena, most * sizeof(*m->keys));
	m->count = 0;
	return m->keys == NULL ? -ENOMEM : 0;
}

void pool_members_add(struct pool_members *m, uint32_t pool, const struct backend *backends,
                      uint32_t backend)
{
	const struct backend *b = &backends[backend];
	uint64_t key = pool;

	key = key << KEY_REGION_BITS | b->region;
	key = key << KEY_COUNTRY_BITS | (uint64_t)(country_index(b->country) + 1);
	m->keys[m->count++] = key << KEY_BACKEND_BITS | backend;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void pool_members_sort(struct pool_members *m)
{
	qsort(m->keys, m->count, sizeof(*m->keys), compare_keys);
}

uint32_t pool_of_member(const struct pool_members *m, size_t place)
{
	return (uint32_t)(m->keys[place] >> KEY_POOL_SHIFT);
}

uint32_t backend_of_member(const struct pool_members *m, size_t place)
{
	return (uint32_t)(m->keys[place] & KEY_BACKEND_MASK);
}

static size_t count_groups(const struct pool_members *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i++)
		n += i == 0 || m->keys[i] >> KEY_REGION_SHIFT != m->keys[i - 1] >> KEY_REGION_SHIFT;
	return n;
}

static void add_member(struct pool *p, const struct backend *backends, uint32_t index)
{
	const struct backend *b = &backends[index];
	uint32_t i = p->member_count++;

	if (p->group_count == 0 || p->groups[p->group_count - 1].region != b->region) {
		p->groups[p->group_count].region = b->region;
		p->groups[p->group_count].dense = true;
		p->groups[p->group_count++].first = i;
	} else {
		p->groups[p->group_count - 1].dense &= b->slot == p->slots[i - 1] + 1;
	}
	p->groups[p->group_count - 1].count++;
	p->members[i] = index;
	p->slots[i] = b->slot;
	p->costs[i] = (float)(1.0 / ((double)b->soft_limit * b->weight));
	p->weights[i] = b->weight;
	p->weights_before[i + 1] = p->weights_before[i] + b->weight;
	p->soft_limits[i] = b->soft_limit;
	p->hard_limits[i] = b->hard_limit;
}

/* The columns of all pools are slices of the same arrays, one after the other. */
int pools_fill(struct pool *pools, uint32_t pool_count, const struct backend *backends,
               const struct pool_members *m, struct arena *arena)
{
	size_t n = m->count;
	uint32_t *columns = arena_alloc(arena, n * 5 * sizeof(*columns));
	float *costs = arena_alloc(arena, n * sizeof(*costs));
	uint64_t *sums = arena_alloc(arena, (n + pool_count) * sizeof(*sums));
	struct group *groups = arena_alloc(arena, count_groups(m) * sizeof(*groups));
	size_t i = 0;

	if (columns == NULL || costs == NULL || sums == NULL || groups == NULL)
		return -ENOMEM;
	for (uint32_t k = 0; k < pool_count; k++) {
		struct pool *p = &pools[k];

		p->members = columns + i;
		p->slots = columns + n + i;
		p->weights = columns + 2 * n + i;
		p->soft_limits = columns + 3 * n + i;
		p->hard_limits = columns + 4 * n + i;
		p->costs = costs + i;
		p->weights_before = sums + i + k;
		p->groups = groups;
		for (; i < n && pool_of_member(m, i) == k; i++)
			add_member(p, backends, backend_of_member(m, i));
		groups += p->group_count;
	}
	CHECK(i == n);
	return 0;
}
