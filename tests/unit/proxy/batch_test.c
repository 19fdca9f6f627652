/* Messages are held within bounds, and passed on in order. */
#include "proxy/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What was passed on; the batch asks nothing of a session. */
static struct {
	struct batch *batch;
	unsigned count;
	uint32_t last;
} seen;

static void note(struct session *s, unsigned side, const uint8_t *bytes, size_t length)
{
	uint32_t number;

	assert_null(batch_room(seen.batch)); /* not now */
	assert_true(length >= sizeof(number));
	memcpy(&number, bytes, sizeof(number));
	assert_int_equal(number, seen.last + 1);
	assert_int_equal(side, number % 2);
	assert_ptr_equal(s, (struct session *)(uintptr_t)(number * 8));
	for (size_t i = sizeof(number); i < length; i++)
		assert_int_equal(bytes[i], number & 0xff);
	seen.last = number;
	seen.count++;
}

static void begin(struct batch *b)
{
	assert_int_equal(batch_init(b), 0);
	b->open = true;
	memset(&seen, 0, sizeof(seen));
	seen.batch = b;
}

/* Reads message number into the room. */
static bool hold(struct batch *b, uint32_t number, uint32_t length)
{
	uint8_t *room = batch_room(b);

	assert_non_null(room);
	memset(room, (int)(number & 0xff), RELAY_CHUNK_BYTES); /* all of it is there */
	memcpy(room, &number, sizeof(number));
	return batch_hold(b, (struct session *)(uintptr_t)(number * 8), number % 2, length);
}

static void messages_are_passed_on_in_order(void **state)
{
	struct batch b;

	(void)state;
	begin(&b);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 1; i <= 10; i++)
			assert_false(hold(&b, round * 10 + i, 4 + i * 100));
		assert_int_equal(seen.count, round * 10);
		batch_deliver(&b, note);
		assert_int_equal(seen.count, (round + 1) * 10);
		batch_deliver(&b, note); /* nothing */
	}
	b.open = false;
	assert_null(batch_room(&b));
	batch_done(&b);
}

static void many_are_to_be_delivered(void **state)
{
	struct batch b;

	(void)state;
	begin(&b);
	for (uint32_t i = 1; i < BATCH_MESSAGES; i++)
		assert_false(hold(&b, i, 64));
	assert_true(hold(&b, BATCH_MESSAGES, 64));
	batch_deliver(&b, note);
	assert_int_equal(seen.count, BATCH_MESSAGES);
	batch_done(&b);
}

static void a_large_one_is_to_be_delivered_behind_the_others(void **state)
{
	struct batch b;

	(void)state;
	begin(&b);
	assert_false(hold(&b, 1, BATCH_SMALL_BYTES));
	assert_true(hold(&b, 2, BATCH_SMALL_BYTES + 1));
	batch_deliver(&b, note);
	assert_int_equal(seen.count, 2);
	batch_done(&b);
}

/* However much is held, there is room for a whole read behind it: the sanitizer watches. */
static void the_last_one_may_fill_the_room(void **state)
{
	struct batch b;
	uint32_t i = 1;

	(void)state;
	begin(&b);
	while (!hold(&b, i, BATCH_SMALL_BYTES))
		i++;
	assert_in_range(i * BATCH_SMALL_BYTES, BATCH_BYTES, BATCH_BYTES + BATCH_SMALL_BYTES);
	batch_deliver(&b, note);
	assert_int_equal(seen.count, i);
	while (batch_room(&b) < b.bytes + BATCH_BYTES - 2 * BATCH_SMALL_BYTES)
		assert_false(hold(&b, ++i, BATCH_SMALL_BYTES));
	assert_true(hold(&b, ++i, RELAY_CHUNK_BYTES));
	batch_deliver(&b, note);
	assert_int_equal(seen.count, i);
	batch_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_passed_on_in_order),
		cmocka_unit_test(many_are_to_be_delivered),
		cmocka_unit_test(a_large_one_is_to_be_delivered_behind_the_others),
		cmocka_unit_test(the_last_one_may_fill_the_room),
	};

	return cmocka_run_group_tests_name("proxy/batch", tests, NULL, NULL);
}
