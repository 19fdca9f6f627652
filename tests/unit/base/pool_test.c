/* Object pools: zeroed and separate objects, chunks that come and go, misuse that is caught. */
#include "base/pool.h"

#include "aborts.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static size_t list_length(const struct list *head)
{
	size_t n = 0;

	for (const struct list *node = head->next; node != head; node = node->next)
		n++;
	return n;
}

static void test_objects_are_zeroed_and_aligned(void **state)
{
	struct object_pool p;

	(void)state;
	for (size_t size = 1; size < 300; size += 7) {
		object_pool_init(&p, size);
		for (int round = 0; round < 3; round++) {
			unsigned char *object = object_pool_get(&p);

			assert_non_null(object);
			assert_int_equal((uintptr_t)object % POOL_ALIGN, 0);
			for (size_t i = 0; i < size; i++)
				assert_int_equal(object[i], 0);
			memset(object, 0xff, size);
			object_pool_put(&p, object);
		}
		object_pool_done(&p);
	}
}

/* Random gets and puts: every object keeps its contents, and the books agree. */
static void test_random_traffic(void **state)
{
	enum { SLOTS = 1000, SIZE = 72 };
	static unsigned char *held[SLOTS];
	struct rng rng = {.state = 11};
	struct object_pool p;
	size_t in_use = 0;

	(void)state;
	object_pool_init(&p, SIZE);
	for (int i = 0; i < 50000; i++) {
		size_t k = rng_below(&rng, SLOTS);

		if (held[k] == NULL) {
			held[k] = object_pool_get(&p);
			assert_non_null(held[k]);
			memset(held[k], (int)(k % 251) + 1, SIZE);
			in_use++;
		} else {
			for (int b = 0; b < SIZE; b++)
				assert_int_equal(held[k][b], k % 251 + 1);
			object_pool_put(&p, held[k]);
			held[k] = NULL;
			in_use--;
		}
		assert_int_equal(p.in_use, in_use);
	}
	for (size_t k = 0; k < SLOTS; k++) {
		if (held[k] != NULL)
			object_pool_put(&p, held[k]);
	}
	assert_int_equal(p.in_use, 0);
	object_pool_done(&p);
}

static void test_chunks_come_and_go(void **state)
{
	enum { CHUNKS = 5, SIZE = 40 };
	static void *held[CHUNKS * POOL_CHUNK_BYTES / SIZE];
	struct object_pool p;
	unsigned objects;

	(void)state;
	object_pool_init(&p, SIZE);
	objects = CHUNKS * p.per_chunk;
	/* Next to nothing beside the objects. */
	assert_in_range(p.per_chunk * SIZE, POOL_CHUNK_BYTES - 200, POOL_CHUNK_BYTES);
	for (unsigned i = 0; i < objects; i++)
		held[i] = object_pool_get(&p);
	assert_int_equal(list_length(&p.full), CHUNKS);
	assert_int_equal(list_length(&p.partial), 0);

	/* One object less in a chunk: it is the next to be used. */
	object_pool_put(&p, held[3]);
	assert_int_equal(list_length(&p.full), CHUNKS - 1);
	assert_int_equal(list_length(&p.partial), 1);
	assert_ptr_equal(object_pool_get(&p), held[3]);
	assert_int_equal(list_length(&p.full), CHUNKS);

	for (unsigned i = 0; i < objects; i++)
		object_pool_put(&p, held[i]);
	assert_int_equal(list_length(&p.full), 0);
	assert_int_equal(list_length(&p.partial), 0);
	assert_non_null(p.spare);

	/* The spare is what the next get uses. */
	held[0] = object_pool_get(&p);
	assert_null(p.spare);
	object_pool_put(&p, held[0]);
	assert_non_null(p.spare);
	object_pool_done(&p);
}

static void put_twice(void *arg)
{
	struct object_pool *p = arg;
	void *object = object_pool_get(p);

	object_pool_get(p); /* keeps the chunk */
	object_pool_put(p, object);
	object_pool_put(p, object);
}

static void put_inside(void *arg)
{
	struct object_pool *p = arg;
	char *object = object_pool_get(p);

	object_pool_put(p, object + POOL_ALIGN);
}

/* Beyond the last object, in the rest of the chunk. */
static void put_beyond(void *arg)
{
	struct object_pool *p = arg;
	char *object = object_pool_get(p);

	object_pool_put(p, object + p->per_chunk * p->object_size);
}

static void done_in_use(void *arg)
{
	struct object_pool *p = arg;

	object_pool_get(p);
	object_pool_done(p);
}

static void test_misuse_is_caught(void **state)
{
	struct object_pool p;

	(void)state;
	object_pool_init(&p, 200); /* each process has one of its own */
	assert_aborts(put_twice, &p);
	assert_aborts(put_inside, &p);
	assert_aborts(put_beyond, &p);
	assert_aborts(done_in_use, &p);
	object_pool_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects_are_zeroed_and_aligned),
		cmocka_unit_test(test_random_traffic),
		cmocka_unit_test(test_chunks_come_and_go),
		cmocka_unit_test(test_misuse_is_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
