/* Arenas: alignment, zeroes, pieces that do not overlap, large pieces, what cannot be had. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_aligned_and_zeroed(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a);
	for (size_t size = 0; size < 3000; size++) {
		unsigned char *p = arena_alloc(&a, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
	arena_done(&a);
}

static void test_pieces_do_not_overlap(void **state)
{
	enum { PIECES = 5000 };
	static unsigned char *piece[PIECES];
	struct arena a;

	(void)state;
	arena_init(&a);
	for (int i = 0; i < PIECES; i++) {
		piece[i] = arena_alloc(&a, (size_t)(i % 97) + 1);
		assert_non_null(piece[i]);
		memset(piece[i], i % 251, (size_t)(i % 97) + 1);
	}
	for (int i = 0; i < PIECES; i++) {
		for (int k = 0; k <= i % 97; k++)
			assert_int_equal(piece[i][k], i % 251);
	}
	arena_done(&a);
}

static void test_empty_pieces_differ(void **state)
{
	struct arena a;
	void *p;

	(void)state;
	arena_init(&a);
	p = arena_alloc(&a, 0);
	assert_non_null(p);
	assert_ptr_not_equal(p, arena_alloc(&a, 0));
	arena_done(&a);
}

/* Sizes at and around the ends of a chunk, and much larger ones, with small ones between. */
static void test_large_pieces(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a);
	for (size_t size = ARENA_CHUNK_BYTES / 4 - 40; size < ARENA_CHUNK_BYTES / 4 + 40; size++) {
		memset(arena_alloc(&a, size), 1, size);
		memset(arena_alloc(&a, 7), 2, 7);
	}
	for (size_t size = ARENA_CHUNK_BYTES - 64; size < ARENA_CHUNK_BYTES + 64; size++) {
		unsigned char *p = arena_alloc(&a, size);

		assert_non_null(p);
		assert_int_equal(p[0], 0);
		assert_int_equal(p[size - 1], 0);
		memset(p, 3, size);
	}
	memset(arena_alloc(&a, 10u << 20), 4, 10u << 20);
	arena_done(&a);
}

/* A large piece does not make the room left in the current chunk go to waste. */
static void test_large_piece_keeps_current_chunk(void **state)
{
	struct arena a;
	struct arena_chunk *current;

	(void)state;
	arena_init(&a);
	assert_non_null(arena_alloc(&a, 10));
	current = a.chunks;
	assert_non_null(arena_alloc(&a, 1u << 20));
	assert_ptr_equal(a.chunks, current);
	assert_non_null(arena_alloc(&a, 10));
	assert_ptr_equal(a.chunks, current);
	arena_done(&a);
}

static void test_impossible_sizes(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 16));
	assert_non_null(arena_alloc(&a, 1));
	arena_done(&a);
}

static void test_strdup(void **state)
{
	struct arena a;
	char text[64];
	const char *copies[2000];

	(void)state;
	arena_init(&a);
	for (int i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "%s%d", i % 2 ? "" : "a somewhat longer text ", i);
		copies[i] = arena_strdup(&a, text);
		assert_non_null(copies[i]);
		/* What comes after a text of any length is aligned again. */
		assert_int_equal((uintptr_t)arena_alloc(&a, 1) % _Alignof(max_align_t), 0);
	}
	for (int i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "%s%d", i % 2 ? "" : "a somewhat longer text ", i);
		assert_string_equal(copies[i], text);
	}
	assert_string_equal(arena_strdup(&a, ""), "");
	arena_done(&a);
}

static void test_done_leaves_it_usable(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a);
	arena_done(&a);
	assert_non_null(arena_alloc(&a, 5));
	arena_done(&a);
	arena_done(&a);
	assert_null(a.chunks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aligned_and_zeroed),
		cmocka_unit_test(test_pieces_do_not_overlap),
		cmocka_unit_test(test_empty_pieces_differ),
		cmocka_unit_test(test_large_pieces),
		cmocka_unit_test(test_large_piece_keeps_current_chunk),
		cmocka_unit_test(test_impossible_sizes),
		cmocka_unit_test(test_strdup),
		cmocka_unit_test(test_done_leaves_it_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
