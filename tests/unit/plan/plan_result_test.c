/* The backends of a plan: those of either side, once, with what is known of them now. */
#include "plan/plan_result.h"

#include "plan_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct route_rows rows[PLAN_SIDES];
	struct plan_input input;
	struct plan_result result;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	plan_fixture_init(f.rows, &f.input);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	plan_fixture_done(f->rows);
	plan_result_done(&f->result);
	return 0;
}

static void add(struct fixture *f, enum plan_side side, const char *id, const char *app,
                const char *region)
{
	struct backend_row row = fixture_backend(id, app, region);

	assert_int_equal(route_rows_add_backend(&f->rows[side], &row), 0);
}

static void a_backend_of_both_sides_is_one(void **state)
{
	struct fixture *f = *state;
	const struct plan_backend *b;

	add(f, PLAN_NOW, "stays", "app", "sa");
	add(f, PLAN_NOW, "goes", "app", "eu");
	add(f, PLAN_THEN, "comes", "app", "us");
	add(f, PLAN_THEN, "stays", "app", "ap");
	assert_int_equal(plan_result_init(&f->result, &f->input), 0);
	assert_int_equal(f->result.backend_count, 3);
	assert_string_equal(f->result.backends[0].id, "comes");
	assert_string_equal(f->result.backends[1].id, "goes");
	assert_string_equal(f->result.backends[2].id, "stays");

	b = plan_result_backend(&f->result, "stays");
	assert_ptr_equal(b, &f->result.backends[2]);
	assert_ptr_equal(b->row[PLAN_NOW], &f->rows[PLAN_NOW].backends[0]);
	assert_ptr_equal(b->row[PLAN_THEN], &f->rows[PLAN_THEN].backends[1]);
	assert_string_equal(b->region, "ap");
	b = plan_result_backend(&f->result, "goes");
	assert_null(b->row[PLAN_THEN]);
	assert_string_equal(b->region, "eu");
	b = plan_result_backend(&f->result, "comes");
	assert_null(b->row[PLAN_NOW]);
	assert_null(plan_result_backend(&f->result, "nobody"));
}

static void connections_are_those_of_now(void **state)
{
	static const struct plan_live live[] = {
		{.id = "a1", .connections = 3},
		{.id = "a2", .connections = 4},
		{.id = "b1", .connections = 50},
		{.id = "new", .connections = 600},  /* of a row that has just been deleted, say */
		{.id = "gone", .connections = 7000} /* has no row at all */
	};
	struct fixture *f = *state;

	add(f, PLAN_NOW, "a1", "a", "sa");
	add(f, PLAN_NOW, "a2", "a", "sa");
	add(f, PLAN_NOW, "b1", "b", "sa");
	add(f, PLAN_THEN, "new", "a", "sa");
	f->input.live = live;
	f->input.live_count = sizeof(live) / sizeof(live[0]);
	assert_int_equal(plan_result_init(&f->result, &f->input), 0);
	assert_int_equal(plan_result_backend(&f->result, "a2")->connections, 4);
	assert_true(plan_result_connections(&f->result, "a") == 7);
	assert_true(plan_result_connections(&f->result, "b") == 50);
	assert_true(plan_result_connections(&f->result, NULL) == 57);
	assert_true(plan_result_connections(&f->result, "c") == 0);
}

static void without_backends_there_is_none(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(plan_result_init(&f->result, &f->input), 0);
	assert_int_equal(f->result.backend_count, 0);
	assert_null(plan_result_backend(&f->result, "a"));
	assert_true(plan_result_connections(&f->result, NULL) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_backend_of_both_sides_is_one, setup, teardown),
		cmocka_unit_test_setup_teardown(connections_are_those_of_now, setup, teardown),
		cmocka_unit_test_setup_teardown(without_backends_there_is_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
