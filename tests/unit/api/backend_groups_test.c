/* Sums by app and region that only grow, whatever becomes of the backends in them. */
#include "api/backend_groups.h"

#include "../route/tables_fixture.h"

static const struct backend_group *find(const struct backend_groups *g, const char *app,
                                        const char *region)
{
	for (size_t i = 1; i < backend_groups_count(g); i++) {
		const struct backend_group *group = backend_groups_get(g, i);

		if (strcmp(group->app, app) == 0 && strcmp(region_name(group->region), region) == 0)
			return group;
	}
	fail_msg("no group %s in %s", app, region);
	return NULL;
}

static void connect_to(struct fixture *f, const char *id, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		live_note_connect(f->live, slot(f, id), 1000);
}

static void groups_are_apps_in_regions(void **state)
{
	struct fixture *f = *state;
	struct backend_groups *g = backend_groups_new(f->live);
	const struct backend_group *group;

	assert_non_null(g);
	add(f, "a", "web");
	add(f, "b", "web")->hard_limit = 7;
	add(f, "c", "web")->region = "eu";
	add(f, "d", "db");
	add(f, "e", "web")->deleted = true;
	add(f, "f", "web")->state = STATE_DRAIN;
	make(f);
	assert_true(live_reserve(f->live, slot(f, "b"), 7));
	connect_to(f, "a", 2);
	connect_to(f, "b", 3);
	connect_to(f, "c", 5);
	live_note_failure(f->live, slot(f, "b"));
	live_set_fault(f->live, slot(f, "a"), LIVE_EJECTED, true);
	backend_groups_update(g, f->table);
	assert_int_equal(backend_groups_count(g), 1 + 3);
	group = find(g, "web", "sa");
	assert_int_equal(group->members, 3); /* a, b, f */
	assert_int_equal(group->connects, 5);
	assert_int_equal(group->errors, 1);
	assert_int_equal(group->active, 1);
	assert_int_equal(group->limit, 20 + 7 + 20);
	assert_int_equal(group->usable, 1);
	assert_int_equal(group->faults[1], 1);
	assert_int_equal(group->faults[0], 0);
	assert_int_equal(find(g, "web", "eu")->connects, 5);
	assert_int_equal(find(g, "db", "sa")->connects, 0);
	backend_groups_update(g, f->table);
	assert_int_equal(group->connects, 5); /* nothing is added twice */
	assert_int_equal(group->members, 3);
	live_release(f->live, slot(f, "b"));
	backend_groups_free(g);
}

static void what_has_gone_stays_counted(void **state)
{
	struct fixture *f = *state;
	struct backend_groups *g = backend_groups_new(f->live);
	uint32_t was;

	assert_non_null(g);
	add(f, "a", "web");
	add(f, "b", "web");
	make(f);
	connect_to(f, "a", 2);
	connect_to(f, "b", 3);
	backend_groups_update(g, f->table);
	was = slot(f, "b");
	f->rows.backend_count = 1;
	make(f);
	table_unref(f->was);
	f->was = NULL;
	assert_int_equal(live_collect(f->live), 1);
	backend_groups_update(g, f->table);
	assert_int_equal(find(g, "web", "sa")->connects, 5);
	assert_int_equal(find(g, "web", "sa")->members, 1);
	/* Another gets its slot, and begins at 0. */
	add(f, "c", "web");
	make(f);
	assert_int_equal(slot(f, "c"), was);
	connect_to(f, "c", 1);
	live_note_failure(f->live, was);
	backend_groups_update(g, f->table);
	assert_int_equal(find(g, "web", "sa")->connects, 6);
	assert_int_equal(find(g, "web", "sa")->errors, 1);
	backend_groups_free(g);
}

static void a_deleted_one_is_shown_while_it_has_connections(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web")->deleted = true;
	make(f);
	assert_false(backend_is_shown(f->live, &f->table->backends[0]));
	assert_true(live_reserve(f->live, slot(f, "a"), 7));
	assert_true(backend_is_shown(f->live, &f->table->backends[0]));
	assert_false(backend_takes_clients(f->live, &f->table->backends[0]));
	live_release(f->live, slot(f, "a"));
}

static void groups_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct backend_groups *g = backend_groups_new(f->live);
	const unsigned more = 10;

	assert_non_null(g);
	for (unsigned i = 0; i < BACKEND_GROUPS_MAX - 1 + more; i++) {
		char id[16];

		snprintf(id, sizeof(id), "%05u", i);
		add(f, id, id);
	}
	make(f);
	connect_to(f, "00000", 1);
	connect_to(f, "04099", 1);
	connect_to(f, "04100", 1);
	backend_groups_update(g, f->table);
	assert_int_equal(backend_groups_count(g), BACKEND_GROUPS_MAX);
	assert_int_equal(backend_groups_get(g, 0)->members, more);
	assert_int_equal(backend_groups_get(g, 0)->connects, 2);
	assert_int_equal(find(g, "00000", "sa")->connects, 1);
	backend_groups_update(g, f->table);
	assert_int_equal(backend_groups_get(g, 0)->members, more);
	backend_groups_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(groups_are_apps_in_regions),
		TEST(what_has_gone_stays_counted),
		TEST(a_deleted_one_is_shown_while_it_has_connections),
		TEST(groups_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
