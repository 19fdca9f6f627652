/* The country database's file: replaced, rewritten, broken, gone. */
#include "control/geo_watch.h"

#include "scratch.h"

#include <errno.h>

#define COUNTRY TEST_DATA_DIR "/maxmind-country.mmdb"
#define OTHER TEST_DATA_DIR "/plain-country.mmdb"
#define BROKEN TEST_DATA_DIR "/broken-truncated.mmdb"

struct fixture {
	struct geo_watch *watch;
	struct geo_db *db; /* a worker's */
	int published;
	uint64_t now_ms;
	char path[128];
	char type[64];
};

static void publish(void *arg, struct geo_db *db)
{
	struct fixture *f = arg;
	struct geo_db *old = f->db;

	f->db = geo_db_ref(db);
	geo_db_unref(old);
	f->published++;
	snprintf(f->type, sizeof(f->type), "%s", geo_db_type(db));
}

static int start(struct fixture *f, const char *path, char error[GEO_ERROR_MAX])
{
	const struct geo_watch_options options = {.path = path, .publish = publish, .arg = f};

	return geo_watch_start(&options, &f->watch, error);
}

static void stop(struct fixture *f)
{
	geo_watch_free(f->watch);
	geo_db_unref(f->db);
}

static void begin(struct fixture *f, struct scratch *t)
{
	char error[GEO_ERROR_MAX] = "";

	memset(f, 0, sizeof(*f));
	f->now_ms = 1000;
	snprintf(f->path, sizeof(f->path), "%s/geo.mmdb", t->dir);
	shell(t, "cp " COUNTRY " geo.mmdb");
	if (start(f, f->path, error) != 0)
		fail_msg("%s", error);
	assert_int_equal(f->published, 1);
}

static void ticks(struct fixture *f, int n)
{
	for (int i = 0; i < n; i++) {
		f->now_ms += GEO_WATCH_SETTLE_MS;
		geo_watch_tick(f->watch, f->now_ms);
	}
}

static void the_embedded_one(void **state)
{
	struct fixture f = {0};
	char error[GEO_ERROR_MAX] = "";

	(void)state;
	assert_int_equal(start(&f, "", error), 0);
	assert_int_equal(f.published, 1);
	assert_ptr_equal(geo_watch_db(f.watch), f.db);
	ticks(&f, 5);
	geo_watch_now(f.watch, f.now_ms);
	assert_int_equal(f.published, 1);
	stop(&f);
}

static void a_wrong_path_stops_the_start(void **state)
{
	struct scratch *t = *state;
	struct fixture f = {0};
	char error[GEO_ERROR_MAX] = "", path[128];

	snprintf(path, sizeof(path), "%s/nothing.mmdb", t->dir);
	assert_true(start(&f, path, error) < 0);
	assert_non_null(strstr(error, "nothing.mmdb"));
	error[0] = '\0';
	assert_true(start(&f, BROKEN, error) < 0);
	assert_true(error[0] != '\0');
	assert_int_equal(f.published, 0);
}

static void a_replaced_file(void **state)
{
	struct fixture f;
	char first[64];

	begin(&f, *state);
	snprintf(first, sizeof(first), "%s", f.type);
	ticks(&f, 10);
	assert_int_equal(f.published, 1);
	shell(*state, "cp " OTHER " new && mv new geo.mmdb");
	ticks(&f, 1); /* it may still be growing */
	assert_int_equal(f.published, 1);
	ticks(&f, 1);
	assert_int_equal(f.published, 2);
	assert_string_not_equal(f.type, first);
	assert_ptr_equal(geo_watch_db(f.watch), f.db);
	ticks(&f, 10);
	assert_int_equal(f.published, 2);
	stop(&f);
}

static void a_file_that_grows(void **state)
{
	struct fixture f;

	begin(&f, *state);
	for (int i = 0; i < 5; i++) {
		shell(*state, "head -c %d " OTHER " > geo.mmdb", 100 + i);
		ticks(&f, 1);
	}
	shell(*state, "cat " OTHER " > geo.mmdb");
	ticks(&f, 3);
	assert_int_equal(f.published, 2);
	stop(&f);
}

static void a_broken_file_keeps_the_old_one(void **state)
{
	struct fixture f;
	struct geo_db *first;

	begin(&f, *state);
	first = f.db;
	shell(*state, "cp " BROKEN " new && mv new geo.mmdb");
	ticks(&f, 10);
	shell(*state, "truncate -s 0 geo.mmdb");
	ticks(&f, 10);
	shell(*state, "rm geo.mmdb");
	ticks(&f, 10);
	shell(*state, "mkdir geo.mmdb");
	ticks(&f, 10);
	geo_watch_now(f.watch, f.now_ms);
	assert_int_equal(f.published, 1);
	assert_ptr_equal(geo_watch_db(f.watch), first);
	shell(*state, "rmdir geo.mmdb && cp " OTHER " geo.mmdb");
	ticks(&f, 3);
	assert_int_equal(f.published, 2);
	stop(&f);
}

static void an_operator_asks(void **state)
{
	struct fixture f;

	begin(&f, *state);
	shell(*state, "cp " OTHER " new && mv new geo.mmdb");
	geo_watch_now(f.watch, f.now_ms);
	assert_int_equal(f.published, 2);
	ticks(&f, 10);
	assert_int_equal(f.published, 2);
	stop(&f);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_embedded_one),
		TEST(a_wrong_path_stops_the_start),
		TEST(a_replaced_file),
		TEST(a_file_that_grows),
		TEST(a_broken_file_keeps_the_old_one),
		TEST(an_operator_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
