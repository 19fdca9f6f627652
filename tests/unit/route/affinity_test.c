/* The affinity table: against a plain model over random histories, its bounds, its time to live,
 * masks, memory that goes back, and several threads at once. */
#include "route/affinity.h"

#include "base/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct affinity *make(size_t max_entries, uint64_t ttl_ms)
{
	struct affinity_options options = {
		.max_entries = max_entries,
		.ttl_ms = ttl_ms,
		.v4_bits = 32,
		.v6_bits = 64,
		.seed = 99,
	};
	struct affinity *a = affinity_new(&options);

	assert_non_null(a);
	return a;
}

static struct ip v4(uint32_t n)
{
	uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	return ip_from_v4(bytes);
}

static struct binding to(uint32_t slot)
{
	return (struct binding){.slot = slot, .generation = slot * 3 + 1};
}

static void put(struct affinity *a, uint32_t client, uint32_t slot, uint64_t now_ms)
{
	struct ip ip = v4(client);

	affinity_put(a, &ip, 1, to(slot), now_ms);
}

/* The slot, or -1. */
static int64_t find(struct affinity *a, uint32_t client, uint64_t now_ms)
{
	struct ip ip = v4(client);
	struct binding b;

	if (!affinity_find(a, &ip, 1, now_ms, &b))
		return -1;
	assert_int_equal(b.generation, b.slot * 3 + 1);
	return b.slot;
}

/* How many had expired. */
static size_t collect(struct affinity *a, uint64_t now_ms)
{
	uint64_t before = affinity_counts(a).expirations;
	struct affinity_cursor cursor = {0};

	while (affinity_collect(a, &cursor, now_ms))
		;
	return affinity_counts(a).expirations - before;
}

static void test_put_and_find(void **state)
{
	struct affinity *a = make(10, 1000);
	struct affinity_counts counts;

	(void)state;
	assert_int_equal(find(a, 1, 0), -1);
	put(a, 1, 7, 0);
	put(a, 2, 8, 0);
	assert_int_equal(find(a, 1, 0), 7);
	assert_int_equal(find(a, 2, 0), 8);
	put(a, 1, 9, 0);
	assert_int_equal(find(a, 1, 0), 9);
	assert_int_equal(find(a, 3, 0), -1);
	counts = affinity_counts(a);
	assert_int_equal(counts.entries, 2);
	assert_int_equal(counts.hits, 3);
	assert_int_equal(counts.misses, 2);
	assert_int_equal(counts.evictions, 0);
	assert_int_equal(counts.expirations, 0);
	affinity_free(a);
	affinity_free(NULL);
}

static void test_each_service_has_its_own(void **state)
{
	struct affinity *a = make(10, 1000);
	struct ip ip = v4(1);
	struct binding b = {77, 77};

	(void)state;
	affinity_put(a, &ip, 1, to(1), 0);
	assert_false(affinity_find(a, &ip, 2, 0, &b));
	assert_int_equal(b.slot, 77);
	affinity_put(a, &ip, 2, to(2), 0);
	assert_true(affinity_find(a, &ip, 1, 0, &b));
	assert_int_equal(b.slot, 1);
	assert_true(affinity_find(a, &ip, 2, 0, &b));
	assert_int_equal(b.slot, 2);
	affinity_free(a);
}

static void test_masks(void **state)
{
	struct affinity_options options = {
		.max_entries = 10,
		.ttl_ms = 1000,
		.v4_bits = 24,
		.v6_bits = 56,
	};
	struct affinity *a = affinity_new(&options);
	struct binding b;
	struct ip ip;

	(void)state;
	assert_int_equal(ip_parse("192.0.2.1", &ip), 0);
	affinity_put(a, &ip, 1, to(4), 0);
	assert_int_equal(ip_parse("2001:db8:0:100::1", &ip), 0);
	affinity_put(a, &ip, 1, to(6), 0);
	assert_int_equal(ip_parse("192.0.2.255", &ip), 0);
	assert_true(affinity_find(a, &ip, 1, 0, &b));
	assert_int_equal(b.slot, 4);
	assert_int_equal(ip_parse("192.0.3.1", &ip), 0);
	assert_false(affinity_find(a, &ip, 1, 0, &b));
	assert_int_equal(ip_parse("2001:db8:0:1ff:ffff::", &ip), 0);
	assert_true(affinity_find(a, &ip, 1, 0, &b));
	assert_int_equal(b.slot, 6);
	assert_int_equal(ip_parse("2001:db8:0:200::1", &ip), 0);
	assert_false(affinity_find(a, &ip, 1, 0, &b));
	affinity_free(a);
}

static void test_time_to_live_counts_from_the_last_use(void **state)
{
	struct affinity *a = make(10, 100);

	(void)state;
	put(a, 1, 7, 1000);
	assert_int_equal(find(a, 1, 1099), 7); /* a use */
	assert_int_equal(find(a, 1, 1198), 7);
	assert_int_equal(find(a, 1, 1298), -1); /* checked on read: nothing was collected */
	assert_int_equal(affinity_counts(a).expirations, 1);
	assert_int_equal(affinity_counts(a).entries, 0);
	put(a, 1, 8, 1298);
	put(a, 1, 8, 1350); /* so is a put */
	assert_int_equal(find(a, 1, 1449), 8);

	/* Another thread's clock may be a little behind. */
	assert_int_equal(find(a, 1, 1440), 8);
	assert_int_equal(find(a, 1, 1548), 8);
	affinity_free(a);
}

static void test_no_time_to_live_is_no_affinity(void **state)
{
	struct affinity *a = make(10, 0);
	struct ip ip = v4(1);

	(void)state;
	put(a, 1, 7, 1000);
	affinity_touch(a, &ip, 1, to(7), 1000);
	assert_int_equal(find(a, 1, 1000), -1);
	assert_int_equal(affinity_counts(a).entries, 0);
	affinity_free(a);
}

static void test_touch(void **state)
{
	struct affinity *a = make(10, 100);
	struct ip ip = v4(1);
	struct binding other = {.slot = 7, .generation = 1};

	(void)state;
	/* The session lasted until 1090. */
	put(a, 1, 7, 1000);
	affinity_touch(a, &ip, 1, to(7), 1090);
	assert_int_equal(find(a, 1, 1180), 7);

	/* Another backend meanwhile: left alone, and its time is not prolonged. */
	put(a, 1, 8, 2000);
	affinity_touch(a, &ip, 1, to(7), 2090);
	affinity_touch(a, &ip, 1, other, 2090);
	assert_int_equal(find(a, 1, 2150), -1);

	/* A session longer than the time to live, whose binding went or was not yet collected. */
	affinity_touch(a, &ip, 1, to(7), 5000);
	assert_int_equal(find(a, 1, 5099), 7);
	affinity_touch(a, &ip, 1, to(7), 9000);
	assert_int_equal(find(a, 1, 9099), 7);
	affinity_free(a);
}

static void test_least_recently_used_gives_way(void **state)
{
	struct affinity *a = make(3, 1000);

	(void)state;
	put(a, 1, 1, 0);
	put(a, 2, 2, 1);
	put(a, 3, 3, 2);
	assert_int_equal(find(a, 1, 3), 1);
	put(a, 4, 4, 4);
	assert_int_equal(find(a, 2, 5), -1);
	assert_int_equal(find(a, 1, 5), 1);
	assert_int_equal(find(a, 3, 5), 3);
	assert_int_equal(find(a, 4, 5), 4);
	assert_int_equal(affinity_counts(a).entries, 3);
	assert_int_equal(affinity_counts(a).evictions, 1);
	affinity_free(a);
}

/* In a table larger than that, one of the older half does but once in 65,536 times. */
static void test_what_is_used_stays(void **state)
{
	enum { FULL = 2000 };
	struct affinity *a = make(FULL, 1000000);
	unsigned lost = 0;

	(void)state;
	for (uint32_t i = 0; i < FULL; i++)
		put(a, i, i, 1);
	for (uint32_t round = 0; round < 8; round++) {
		for (uint32_t i = 0; i < FULL / 2; i++)
			lost += find(a, i, 10 + round) == -1;
		for (uint32_t i = 0; i < FULL / 8; i++)
			put(a, FULL * (round + 1) + i, i, 9 + round);
	}
	assert_int_equal(affinity_counts(a).evictions, FULL);
	assert_true(lost <= 2);
	affinity_free(a);
}

static void test_room_for_one(void **state)
{
	struct affinity *a = make(1, 1000);

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		put(a, i, i, i);
		assert_int_equal(find(a, i, i), i);
		assert_int_equal(affinity_counts(a).entries, 1);
	}
	assert_int_equal(find(a, 998, 1000), -1);
	affinity_free(a);
}

static void test_collect(void **state)
{
	struct affinity *a = make(5000, 100);

	(void)state;
	for (uint32_t i = 0; i < 3000; i++)
		put(a, i, i, 1000 + i);
	assert_int_equal(collect(a, 1000), 0);
	assert_int_equal(collect(a, 1100), 1);
	assert_int_equal(collect(a, 3000), 1900);
	assert_int_equal(affinity_counts(a).entries, 1099);
	assert_int_equal(affinity_counts(a).expirations, 1901);
	assert_int_equal(find(a, 1900, 3000), -1);
	assert_int_equal(find(a, 1901, 3000), 1901);
	assert_int_equal(collect(a, 1000000), 1099);
	assert_int_equal(affinity_counts(a).entries, 0);
	affinity_free(a);
}

/* --- against a model --- */

/* As many as are compared when one has to give way: so it is the least recently used one. */
enum { ROOM = 16, CLIENTS = 40 };

struct model {
	size_t max;
	uint64_t ttl_ms;
	size_t count;
	struct {
		uint32_t client;
		uint32_t slot;
		uint64_t used_ms;
	} entry[CLIENTS]; /* the least recently used first */
	uint64_t evictions;
	uint64_t expirations;
};

static void model_remove(struct model *m, size_t i)
{
	m->count--;
	memmove(&m->entry[i], &m->entry[i + 1], (m->count - i) * sizeof(m->entry[0]));
}

static size_t model_index(const struct model *m, uint32_t client)
{
	size_t i = 0;

	while (i < m->count && m->entry[i].client != client)
		i++;
	return i;
}

static void model_put(struct model *m, uint32_t client, uint32_t slot, uint64_t now_ms)
{
	size_t i = model_index(m, client);

	if (i < m->count) {
		model_remove(m, i);
	} else if (m->count == m->max) {
		model_remove(m, 0);
		m->evictions++;
	}
	m->entry[m->count].client = client;
	m->entry[m->count].slot = slot;
	m->entry[m->count++].used_ms = now_ms;
}

static int64_t model_find(struct model *m, uint32_t client, uint64_t now_ms)
{
	size_t i = model_index(m, client);
	uint32_t slot;

	if (i == m->count)
		return -1;
	slot = m->entry[i].slot;
	if (now_ms - m->entry[i].used_ms >= m->ttl_ms) {
		model_remove(m, i);
		m->expirations++;
		return -1;
	}
	model_put(m, client, slot, now_ms);
	return slot;
}

static void model_touch(struct model *m, uint32_t client, uint32_t slot, uint64_t now_ms)
{
	size_t i = model_index(m, client);

	if (i == m->count || m->entry[i].slot == slot)
		model_put(m, client, slot, now_ms);
}

static size_t model_collect(struct model *m, uint64_t now_ms)
{
	size_t n = 0;

	while (m->count > 0 && now_ms - m->entry[0].used_ms >= m->ttl_ms) {
		model_remove(m, 0);
		m->expirations++;
		n++;
	}
	return n;
}

static void run_against_model(struct rng *rng, size_t max)
{
	struct model m = {.max = max, .ttl_ms = 1 + rng_below(rng, 200)};
	struct affinity *a = make(m.max, m.ttl_ms);
	uint64_t now = 1000;

	for (int i = 0; i < 3000; i++) {
		uint32_t client = (uint32_t)rng_below(rng, CLIENTS);
		uint32_t slot = (uint32_t)rng_below(rng, 3);
		struct ip ip = v4(client);
		struct affinity_counts counts;

		now += 1 + rng_below(rng, 4);
		if (rng_below(rng, 500) == 0)
			now += 300;
		switch (rng_below(rng, 8)) {
		case 0:
		case 1:
		case 2:
			put(a, client, slot, now);
			model_put(&m, client, slot, now);
			break;
		case 3:
			affinity_touch(a, &ip, 1, to(slot), now);
			model_touch(&m, client, slot, now);
			break;
		case 4:
			if (rng_below(rng, 10) == 0)
				assert_int_equal(collect(a, now), model_collect(&m, now));
			break;
		default:
			assert_int_equal(find(a, client, now), model_find(&m, client, now));
			break;
		}
		counts = affinity_counts(a);
		assert_int_equal(counts.entries, m.count);
		assert_int_equal(counts.evictions, m.evictions);
		assert_int_equal(counts.expirations, m.expirations);
	}
	affinity_free(a);
}

static void test_against_a_model(void **state)
{
	struct rng rng = {.state = 17};

	(void)state;
	for (size_t max = 1; max <= ROOM; max++)
		run_against_model(&rng, max);
	run_against_model(&rng, CLIENTS); /* nobody has to */
}

/* --- in bulk --- */

static void test_total_never_passes_the_maximum(void **state)
{
	static const size_t sizes[] = {2047, 2048, 5000, 65536, 70001};

	(void)state;
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct affinity *a = make(sizes[k], 1000);
		struct affinity_counts counts;

		for (uint32_t i = 0; i < sizes[k] * 2; i++) {
			put(a, i, i, 0);
			if (i % 1000 == 0)
				assert_true(affinity_counts(a).entries <= sizes[k]);
		}
		counts = affinity_counts(a);
		/* With twice as many clients every shard is full. */
		assert_int_equal(counts.entries, sizes[k]);
		assert_int_equal(counts.evictions, sizes[k]);
		affinity_free(a);
	}
}

/* Many entries, of which random ones go by expiry on read: what is left is still found. */
static void test_growth_and_shrinking(void **state)
{
	enum { N = 50000 };
	struct affinity *a = make(1000000, 1000);
	struct rng rng = {.state = 23};

	(void)state;
	for (int round = 0; round < 3; round++) {
		uint64_t now = 1000000u * (uint64_t)(round + 1);
		size_t fresh = 0;

		for (uint32_t i = 0; i < N; i++)
			put(a, i, i, now);
		for (uint32_t i = 0; i < N; i++)
			assert_int_equal(find(a, i, now), i);
		now += 999;
		for (uint32_t i = 0; i < N; i++) {
			if (rng_below(&rng, 20) == 0)
				put(a, i, i + 1, now);
		}
		now += 500;
		for (uint32_t k = 0; k < N; k++) {
			uint32_t i = (uint32_t)((uint64_t)k * 7919 % N);
			int64_t slot = find(a, i, now);

			assert_true(slot == -1 || slot == i + 1);
			fresh += slot != -1;
		}
		assert_true(fresh > N / 40 && fresh < N / 10);
		assert_int_equal(affinity_counts(a).entries, fresh);
		now += 1000;
		assert_int_equal(collect(a, now), fresh);
		assert_int_equal(affinity_counts(a).entries, 0);
	}
	affinity_free(a);
}

static size_t resident_bytes(void)
{
	unsigned long resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*s %lu", &resident), 1);
	fclose(f);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_memory_goes_back(void **state)
{
	enum { N = 500000, BYTES = N * 40 };
	struct affinity *a = make(10000000, 1000);
	size_t full;
	size_t empty;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		put(a, i, i, 0);
	full = resident_bytes();
	assert_int_equal(collect(a, 5000), N);
	empty = resident_bytes();
	assert_true(empty + BYTES * 3 / 4 < full);

	/* And what was given back can be used again. */
	for (uint32_t i = 0; i < N; i++)
		put(a, i, i, 5000);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(find(a, i, 5000), i);
	affinity_free(a);
}

/* --- several threads --- */

enum { THREADS = 4, ROUNDS = 40000, SHARED = 3000 };

struct worker {
	struct affinity *affinity;
	unsigned number;
	unsigned wrong;
	uint64_t asked;
};

/* All threads use the same clients; the binding of a client is always one of a few of its own. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct rng rng = {.state = w->number};

	for (uint64_t now = 1000; now < 1000 + ROUNDS; now++) {
		uint32_t client = (uint32_t)rng_below(&rng, SHARED);
		struct ip ip = v4(client);
		struct binding b = to(client * 4 + (uint32_t)rng_below(&rng, 4));

		switch (rng_below(&rng, 4)) {
		case 0:
			affinity_put(w->affinity, &ip, 1, b, now);
			break;
		case 1:
			affinity_touch(w->affinity, &ip, 1, b, now);
			break;
		default:
			w->asked++;
			if (affinity_find(w->affinity, &ip, 1, now, &b))
				w->wrong += b.slot / 4 != client || b.generation != b.slot * 3 + 1;
			break;
		}
		if (now % 5000 == 0)
			(void)collect(w->affinity, now);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct affinity *a = make(2100, 500);
	struct worker worker[THREADS];
	struct affinity_counts counts;
	pthread_t thread[THREADS];
	uint64_t asked = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){.affinity = a, .number = i};
		assert_int_equal(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(worker[i].wrong, 0);
		asked += worker[i].asked;
	}
	counts = affinity_counts(a);
	assert_true(counts.entries <= 2100);
	assert_int_equal(counts.hits + counts.misses, asked);
	assert_true(counts.hits > 0 && counts.misses > 0 && counts.expirations > 0);
	assert_int_equal(collect(a, (uint64_t)INT64_MAX), counts.entries);
	affinity_free(a);
}

/* Everything that comes out of an export, by client; the mask of its slots is in ret. */
static size_t export_all(struct affinity *a, uint64_t since_ms, uint64_t now_ms, uint8_t *ret_seen,
                         void (*between)(struct affinity *a, unsigned call))
{
	static struct affinity_entry entries[AFFINITY_EXPORT_ENTRIES];
	struct affinity_cursor cursor = {0};
	unsigned call = 0;
	size_t total = 0;
	bool more;

	do {
		size_t n;

		more = affinity_export(a, &cursor, since_ms, now_ms, entries, &n);
		for (size_t i = 0; i < n; i++) {
			const uint8_t *b = entries[i].client.b + 12;
			uint32_t client = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 |
			                  (uint32_t)b[2] << 8 | b[3];

			assert_int_equal(entries[i].service, 1);
			assert_int_equal(entries[i].binding.generation,
			                 entries[i].binding.slot * 3 + 1);
			ret_seen[client]++;
		}
		total += n;
		if (between != NULL)
			between(a, call++);
	} while (more);
	return total;
}

#define EXPORTED 20000

static void test_export(void **state)
{
	struct affinity *a = make(100000, 1000);
	static uint8_t seen[EXPORTED];

	(void)state;
	memset(seen, 0, sizeof(seen));
	assert_int_equal(export_all(a, 0, 5, seen, NULL), 0);
	for (uint32_t i = 0; i < EXPORTED; i++)
		put(a, i, i % 7, 1000 + i / 20);
	/* The first half has expired by 2500. */
	assert_int_equal(export_all(a, 0, 2500, seen, NULL), EXPORTED / 2 - 20);
	for (uint32_t i = 0; i < EXPORTED; i++)
		assert_int_equal(seen[i], i / 20 > 500);
	memset(seen, 0, sizeof(seen));
	assert_int_equal(export_all(a, 1900, 1999, seen, NULL), EXPORTED / 10);
	for (uint32_t i = 0; i < EXPORTED; i++)
		assert_int_equal(seen[i], i / 20 >= 900);
	affinity_free(a);
}

/* Expired entries leave and new ones come while an export is under way. */
static void churn(struct affinity *a, unsigned call)
{
	(void)collect(a, 2100 + call * 100);
	for (uint32_t i = 0; i < 50; i++)
		put(a, EXPORTED + call * 50 + i, 3, 2600);
}

static void test_export_while_others_change(void **state)
{
	struct affinity *a = make(4000, 1000); /* two shards, each more than one call */
	static uint8_t seen[10 * EXPORTED];
	unsigned gone = 0;

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < 3000; i++)
		put(a, i, i % 7, 1000 + i % 1000);
	assert_true(export_all(a, 0, 2000, seen, churn) > 2000);
	/* Those that were there from the first call to the last. */
	for (uint32_t i = 0; i < 3000; i++) {
		assert_true(i % 1000 < 900 || seen[i] >= 1);
		gone += seen[i] == 0;
	}
	assert_true(gone > 0);
	affinity_free(a);
}

/* A use from before the clock's zero: this machine has booted meanwhile. */
static void test_the_past_of_a_young_clock(void **state)
{
	struct affinity *a = make(10, 1000);

	(void)state;
	put(a, 1, 1, UINT64_C(5) - 600);
	put(a, 2, 2, UINT64_C(5) - 1001);
	assert_int_equal(find(a, 2, 5), -1);
	assert_int_equal(find(a, 1, 5), 1);
	put(a, 1, 1, UINT64_C(5) - 700);
	assert_int_equal(find(a, 1, 1004), 1); /* an older use takes nothing away */
	affinity_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_find),
		cmocka_unit_test(test_each_service_has_its_own),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_time_to_live_counts_from_the_last_use),
		cmocka_unit_test(test_no_time_to_live_is_no_affinity),
		cmocka_unit_test(test_touch),
		cmocka_unit_test(test_least_recently_used_gives_way),
		cmocka_unit_test(test_what_is_used_stays),
		cmocka_unit_test(test_room_for_one),
		cmocka_unit_test(test_collect),
		cmocka_unit_test(test_against_a_model),
		cmocka_unit_test(test_total_never_passes_the_maximum),
		cmocka_unit_test(test_growth_and_shrinking),
		cmocka_unit_test(test_memory_goes_back),
		cmocka_unit_test(test_export),
		cmocka_unit_test(test_export_while_others_change),
		cmocka_unit_test(test_the_past_of_a_young_clock),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
