/* Panic: the threshold, pool by pool, and that it is carried from table to table. */
#include "route/panic.h"

#include "tables_fixture.h"

struct seen {
	unsigned entered, left;
	uint32_t sound;
};

static void on_change(void *arg, const struct panic_change *change)
{
	struct seen *seen = arg;

	seen->entered += change->panic;
	seen->left += !change->panic;
	seen->sound = change->sound;
}

static struct seen update(struct fixture *f, uint32_t threshold)
{
	struct seen seen = {0};

	panic_update(f->table, f->table, threshold, on_change, &seen);
	return seen;
}

static void down(struct fixture *f, const char *id, bool on)
{
	live_set_fault(f->live, slot(f, id), LIVE_CHECK_DOWN, on);
}

static void test_the_threshold(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web");
	add(f, "b", "web");
	add(f, "c", "web")->healthy = false; /* not counted: nobody's member */
	make(f);
	down(f, "a", true);
	assert_int_equal(update(f, 50).entered, 0); /* 50 % are not less than 50 % */
	assert_false(table_in_panic(f->table, "web"));
	assert_int_equal(update(f, 51).entered, 2); /* web, and all */
	assert_true(table_in_panic(f->table, "web"));
	assert_true(table_in_panic(f->table, NULL));
	assert_int_equal(update(f, 51).entered, 0); /* told once */
	assert_int_equal(update(f, 50).left, 2);
	live_set_fault(f->live, slot(f, "b"), LIVE_EJECTED, true);
	assert_int_equal(update(f, 1).entered, 2);
	down(f, "a", false);
	assert_int_equal(update(f, 1).sound, 1);
	assert_false(table_in_panic(f->table, "web"));
}

/* A backend that wants no clients by its own word is neither sound nor down. */
static void test_statements_do_not_count(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web");
	add(f, "b", "web");
	add(f, "c", "web");
	make(f);
	live_set_fault(f->live, slot(f, "a"), LIVE_AGENT_DRAIN, true);
	live_set_fault(f->live, slot(f, "b"), LIVE_AGENT_MAINT, true);
	assert_int_equal(update(f, 50).entered, 0);
	down(f, "c", true);
	assert_int_equal(update(f, 50).entered, 2);
}

static void test_it_can_be_off(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web");
	make(f);
	down(f, "a", true);
	assert_int_equal(update(f, 0).entered, 0);
	assert_false(table_in_panic(f->table, "web"));
}

static void test_each_app_by_itself(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web");
	add(f, "b", "ssh");
	make(f);
	down(f, "a", true);
	assert_int_equal(update(f, 50).entered, 1);
	assert_true(table_in_panic(f->table, "web"));
	assert_false(table_in_panic(f->table, "ssh"));
	assert_false(table_in_panic(f->table, NULL));
	assert_false(table_in_panic(f->table, "unknown"));
}

static void test_an_empty_pool_is_not_in_panic(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web")->healthy = false;
	make(f);
	assert_int_equal(update(f, 100).entered, 0);
}

static void test_the_next_table(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};

	add(f, "a", "web");
	make(f);
	down(f, "a", true);
	assert_int_equal(update(f, 50).entered, 2);
	make(f);
	assert_false(table_in_panic(f->table, "web"));
	panic_update(f->table, f->was, 50, on_change, &seen);
	assert_true(table_in_panic(f->table, "web"));
	assert_int_equal(seen.entered + seen.left, 0); /* nothing new */
	add(f, "b", "web");
	make(f);
	panic_update(f->table, f->was, 50, on_change, &seen);
	assert_int_equal(seen.left, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_threshold),
		TEST(test_statements_do_not_count),
		TEST(test_it_can_be_off),
		TEST(test_each_app_by_itself),
		TEST(test_an_empty_pool_is_not_in_panic),
		TEST(test_the_next_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
