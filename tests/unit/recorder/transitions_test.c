/* What changed of backends, from table to table and by what was seen of them. */
#include "recorder/transitions.h"

#include "../route/tables_fixture.h"

static const struct transition *latest(struct transitions *t, struct fixture *f, uint64_t wall_ms)
{
	transitions_look(t, f->table, wall_ms);
	return transitions_find(t, 0);
}

static void check(const struct transition *k, const char *id, const char *from, const char *to)
{
	assert_non_null(k);
	assert_string_equal(k->backend, id);
	assert_string_equal(k->from, from);
	assert_string_equal(k->to, to);
}

static void test_faults(void **state)
{
	struct transitions *t = transitions_new();
	struct fixture *f = *state;

	add(f, "a", "web");
	add(f, "b", "web");
	make(f);
	assert_null(latest(t, f, 1)); /* the first look only remembers */
	live_set_fault(f->live, slot(f, "b"), LIVE_CHECK_DOWN, true);
	check(latest(t, f, 2), "b", "up", "check-down");
	assert_int_equal(transitions_find(t, 0)->at_ms, 2);
	assert_null(transitions_find(t, 1));
	latest(t, f, 3);
	assert_null(transitions_find(t, 1)); /* nothing is told twice */
	live_set_fault(f->live, slot(f, "b"), LIVE_EJECTED, true);
	assert_int_equal(latest(t, f, 4)->at_ms, 2); /* down is what it is called already */
	live_set_fault(f->live, slot(f, "b"), LIVE_CHECK_DOWN, false);
	check(latest(t, f, 5), "b", "check-down", "ejected");
	check(transitions_find(t, 1), "b", "up", "check-down");
	transitions_free(t);
}

static void test_rows(void **state)
{
	struct transitions *t = transitions_new();
	struct fixture *f = *state;

	add(f, "a", "web");
	add(f, "b", "web");
	make(f);
	assert_null(latest(t, f, 1));
	f->rows.backends[0].state = STATE_DRAIN;
	make(f);
	check(latest(t, f, 2), "a", "up", "drain");
	add(f, "c", "web");
	make(f);
	check(latest(t, f, 3), "c", "new", "up");
	f->rows.backends[1].deleted = true;
	make(f);
	check(latest(t, f, 4), "b", "up", "gone");
	f->rows.backend_count = 2; /* c has no row any more; b's says that it is deleted */
	make(f);
	check(latest(t, f, 5), "c", "up", "gone");
	check(transitions_find(t, 1), "b", "up", "gone");
	f->rows.backends[1].deleted = false;
	make(f);
	check(latest(t, f, 6), "b", "new", "up");
	transitions_free(t);
}

/* A slot that is free again may be another backend's: it must not pass for a change of the old. */
static void test_slots_are_not_mixed_up(void **state)
{
	struct transitions *t = transitions_new();
	struct fixture *f = *state;

	add(f, "a", "web");
	make(f);
	assert_null(latest(t, f, 1));
	route_rows_done(&f->rows);
	route_rows_init(&f->rows);
	add(f, "z", "web");
	make(f);
	make(f); /* the fixture's own reference to the first table goes */
	live_collect(f->live);
	check(latest(t, f, 2), "z", "new", "up");
	check(transitions_find(t, 1), "a", "up", "gone");
	transitions_free(t);
}

static void test_only_the_latest_are_kept(void **state)
{
	struct transitions *t = transitions_new();
	struct fixture *f = *state;

	add(f, "a", "web");
	make(f);
	latest(t, f, 0);
	for (uint64_t i = 1; i <= 2 * TRANSITIONS_KEPT; i++) {
		live_set_fault(f->live, slot(f, "a"), LIVE_EJECTED, i % 2 == 1);
		assert_int_equal(latest(t, f, i)->at_ms, i);
	}
	assert_int_equal(transitions_find(t, TRANSITIONS_KEPT - 1)->at_ms, TRANSITIONS_KEPT + 1);
	assert_null(transitions_find(t, TRANSITIONS_KEPT));
	transitions_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_faults),
		TEST(test_rows),
		TEST(test_slots_are_not_mixed_up),
		TEST(test_only_the_latest_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
