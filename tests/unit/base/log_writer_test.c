/* A writer whose other side fails, is slow, or takes a part: nothing is lost without being counted.
 */
#include "base/log_writer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* The other side. Its fields but for the counts are the thread's. */
struct side {
	_Atomic ssize_t answer; /* 0: takes all; > 0: takes so many; < 0: fails */
	atomic_uint calls;
	atomic_uint wakes;
	atomic_ulong taken;
	atomic_ulong told;
	char text[256];
	size_t len;
};

static ssize_t take(void *arg, const char *lines, size_t len)
{
	struct side *s = arg;
	ssize_t answer = atomic_load(&s->answer);
	size_t n = answer > 0 && (size_t)answer < len ? (size_t)answer : len;

	if (len == 0) {
		atomic_fetch_add(&s->wakes, 1);
		return 0;
	}
	atomic_fetch_add(&s->calls, 1);
	if (answer < 0)
		return answer;
	if (s->len + n <= sizeof(s->text)) {
		memcpy(s->text + s->len, lines, n);
		s->len += n;
	}
	atomic_fetch_add(&s->taken, n);
	return (ssize_t)n;
}

static void tell(void *arg, uint64_t lines)
{
	struct side *s = arg;

	atomic_fetch_add(&s->told, lines);
}

static struct side side;
static struct log_writer writer;

static int begin_writing(ssize_t (*write)(void *arg, const char *lines, size_t len))
{
	memset(&side, 0, sizeof(side));
	log_writer_init(&writer);
	return log_writer_start(&writer, &(struct log_writer_options){
						 .name = "test",
						 .write = write,
						 .dropped = tell,
						 .dropped_every_ms = 1000,
						 .arg = &side,
					 });
}

static int begin(void **state)
{
	(void)state;
	return begin_writing(take);
}

static void until_called(unsigned calls)
{
	static const struct timespec moment = {.tv_nsec = 1000000};

	for (int i = 0; i < 60000 && atomic_load(&side.calls) < calls; i++)
		nanosleep(&moment, NULL);
	assert_true(atomic_load(&side.calls) >= calls);
}

static void put(const char *line)
{
	log_writer_put(&writer, line, strlen(line), false);
}

static void what_was_not_taken_comes_again(void **state)
{
	(void)state;
	atomic_store(&side.answer, 3);
	put("one\n");
	put("two\n");
	put("three\n");
	assert_true(log_writer_stop(&writer));
	assert_int_equal(side.len, 14);
	assert_memory_equal(side.text, "one\ntwo\nthree\n", 14);
	assert_int_equal(log_writer_dropped(&writer), 0);
}

static void a_failure_is_tried_again_and_a_wake_cuts_the_wait_short(void **state)
{
	(void)state;
	atomic_store(&side.answer, -ENOSPC);
	put("one\n");
	until_called(2);
	put("two\n");
	atomic_store(&side.answer, 0);
	log_writer_wake(&writer);
	until_called(3);
	assert_true(log_writer_stop(&writer));
	assert_memory_equal(side.text, "one\ntwo\n", 8);
	assert_int_equal(log_writer_dropped(&writer), 0);
}

static void a_wake_without_lines(void **state)
{
	static const struct timespec moment = {.tv_nsec = 1000000};

	(void)state;
	log_writer_wake(&writer);
	for (int i = 0; i < 60000 && atomic_load(&side.wakes) == 0; i++)
		nanosleep(&moment, NULL);
	assert_int_equal(atomic_load(&side.wakes), 1);
	assert_true(log_writer_stop(&writer));
	assert_int_equal(atomic_load(&side.calls), 0);
}

/* It fails, or is slow: at the end what is left is counted and told. */
static void what_is_left_at_the_end_is_counted(void **state)
{
	atomic_store(&side.answer, *(ssize_t *)*state);
	put("one\n");
	until_called(1);
	put("two\n");
	put("three\n");
	assert_true(log_writer_stop(&writer));
	assert_int_equal(side.len, 0);
	assert_int_equal(log_writer_dropped(&writer), 3);
	assert_int_equal(atomic_load(&side.told), 3);
}

static ssize_t take_all_but_one(void *arg, const char *lines, size_t len)
{
	struct side *s = arg;

	if (len == 0 || lines[0] != 'o')
		return take(arg, lines, len);
	atomic_fetch_add(&s->calls, 1);
	return -ENOSPC;
}

static int begin_with_one_stuck(void **state)
{
	(void)state;
	if (begin_writing(take_all_but_one) != 0)
		return -1;
	put("one\n");
	return 0;
}

/* Part of the line that was given up may have been taken: nothing may come behind that. */
static void what_was_given_up_is_the_end(void **state)
{
	(void)state;
	until_called(1);
	put("two\n");
	assert_true(log_writer_stop(&writer));
	assert_int_equal(side.len, 0);
	assert_int_equal(log_writer_dropped(&writer), 2);
	assert_int_equal(atomic_load(&side.told), 2);
}

static ssize_t failing = -EIO, behind = -EAGAIN;

static int begin_with(void **state, ssize_t *answer)
{
	*state = answer;
	return begin(state);
}

static int begin_failing(void **state)
{
	return begin_with(state, &failing);
}

static int begin_behind(void **state)
{
	return begin_with(state, &behind);
}

static void all_that_was_put_is_taken_or_counted(void **state)
{
	static char line[1000];
	const unsigned count = 5000; /* more than both buffers hold */
	unsigned long taken;

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\n';
	atomic_store(&side.answer, -EIO);
	for (unsigned i = 0; i < count; i++)
		log_writer_put(&writer, line, sizeof(line), i % 2 == 0);
	assert_true(log_writer_dropped(&writer) > 0);
	atomic_store(&side.answer, 0);
	log_writer_wake(&writer);
	assert_true(log_writer_stop(&writer));
	taken = atomic_load(&side.taken);
	assert_int_equal(taken % sizeof(line), 0);
	assert_int_equal(taken / sizeof(line) + log_writer_dropped(&writer), count);
	assert_int_equal(atomic_load(&side.told), log_writer_dropped(&writer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_was_not_taken_comes_again, begin),
		cmocka_unit_test_setup(a_failure_is_tried_again_and_a_wake_cuts_the_wait_short,
	                               begin),
		cmocka_unit_test_setup(a_wake_without_lines, begin),
		cmocka_unit_test_setup(what_is_left_at_the_end_is_counted, begin_failing),
		cmocka_unit_test_setup(what_is_left_at_the_end_is_counted, begin_behind),
		cmocka_unit_test_setup(what_was_given_up_is_the_end, begin_with_one_stuck),
		cmocka_unit_test_setup(all_that_was_put_is_taken_or_counted, begin),
	};

	return cmocka_run_group_tests_name("base/log_writer", tests, NULL, NULL);
}
