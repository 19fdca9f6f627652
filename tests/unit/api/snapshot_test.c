/* Which backends a snapshot shows. */
#include "api/snapshot.h"

#include "../route/tables_fixture.h"

#define MANY 1000

static const struct backend *shown[SNAPSHOT_BACKENDS];

static void connect_to(struct fixture *f, const char *id, int times)
{
	while (times-- > 0)
		assert_true(live_reserve(f->live, slot(f, id), 1000000));
}

static void disconnect(struct fixture *f, const char *id)
{
	while (live_connections(f->live, slot(f, id)) > 0)
		live_release(f->live, slot(f, id));
}

static void test_few_are_all_shown(void **state)
{
	struct fixture *f = *state;

	add(f, "b", "web");
	add(f, "a", "web");
	add(f, "gone", "web")->deleted = true;
	make(f);
	assert_int_equal(snapshot_busiest(f->table, shown, SNAPSHOT_BACKENDS), 2);
	assert_string_equal(shown[0]->id, "a");
	assert_string_equal(shown[1]->id, "b");
	assert_int_equal(snapshot_busiest(f->table, shown, 0), 0);
}

static void test_of_many_the_busiest(void **state)
{
	struct fixture *f = *state;
	char id[16];

	for (int i = 0; i < MANY; i++) {
		snprintf(id, sizeof(id), "b%04d", i);
		add(f, id, "web")->soft_limit = 100;
	}
	make(f);
	f->table->backends[900].soft_limit = 1; /* one connection is much there */
	connect_to(f, "b0500", 50);
	connect_to(f, "b0777", 3);
	connect_to(f, "b0900", 1);
	assert_int_equal(snapshot_busiest(f->table, shown, 2), 2);
	assert_string_equal(shown[0]->id, "b0500");
	assert_string_equal(shown[1]->id, "b0900");
	/* Where nothing tells them apart, the first. */
	assert_int_equal(snapshot_busiest(f->table, shown, 5), 5);
	assert_string_equal(shown[0]->id, "b0000");
	assert_string_equal(shown[1]->id, "b0001");
	assert_string_equal(shown[2]->id, "b0500");
	assert_string_equal(shown[3]->id, "b0777");
	assert_string_equal(shown[4]->id, "b0900");
	assert_int_equal(snapshot_busiest(f->table, shown, SNAPSHOT_BACKENDS), SNAPSHOT_BACKENDS);
	disconnect(f, "b0500");
	disconnect(f, "b0777");
	disconnect(f, "b0900");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_few_are_all_shown),
		TEST(test_of_many_the_busiest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
