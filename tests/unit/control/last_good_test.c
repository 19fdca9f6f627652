/* What is saved comes back the same; what is not whole does not come back at all. */
#include "control/last_good.h"

#include "control/store.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(text, false, &e), 0);
	return e;
}

static void add_backend(struct route_rows *rows, const char *id, const char *app)
{
	const struct backend_row row = {
		.id = id,
		.app = app,
		.region = "sa",
		.country = "BR",
		.addr = {.ip = ip_of("2001:db8::1"), .port = 65535},
		.healthy = true,
		.state = STATE_MAINT,
		.weight = 65535,
		.soft_limit = 1,
		.hard_limit = 1000000000,
	};

	assert_int_equal(route_rows_add_backend(rows, &row), 0);
}

/* One of everything, in the order in which the store reads. */
static void fill(struct route_rows *rows)
{
	struct service_row service = {.listen = endpoint_of("127.0.0.1:80"),
	                              .app = "x",
	                              .accept_proxy = true,
	                              .send_proxy = 2,
	                              .congestion = "reno"};
	struct geo_override_row override = {.country = "DE"};
	struct country_region_row country = {.country = "MX", .region = "sa"};
	const struct health_check_row all = {.type = CHECK_TCP,
	                                     .send_proxy = -1,
	                                     .grace_ms = -1,
	                                     .agent_port = 7,
	                                     .agent_inter_ms = 500};
	const struct health_check_row own = {
		.backend = "b",
		.type = CHECK_SCRIPT,
		.port = 1,
		.send_proxy = 0,
		.inter_ms = 100,
		.fastinter_ms = 200,
		.downinter_ms = 300,
		.timeout_ms = 400,
		.rise = 5,
		.fall = 6,
		.grace_ms = 0,
		.method = "M",
		.path = "/p",
		.host = "h",
		.expect_status = {.first = {200, 304}, .last = {299, 304}, .count = 2},
		.expect_body = "it's ok",
		.service = "s",
		.script = "x.sh",
	};
	struct access_rule_row rule = {.id = "a", .match = ACCESS_ALL};

	route_rows_init(rows);
	add_backend(rows, "a 'quoted' \"id\"; --", "x");
	add_backend(rows, "b", "x");
	add_backend(rows, "c", "y");
	rows->backends[1].deleted = true;
	rows->backends[1].healthy = false;
	rows->backends[1].country[0] = '\0';
	rows->backends[1].state = STATE_DRAIN;
	rows->backends[2].addr.ip = ip_of("10.0.0.1");
	rows->backends[2].state = STATE_READY;
	rows->backends[2].weight = 0;
	strcpy(rows->backends[2].congestion, "bbr");
	assert_int_equal(route_rows_add_service(rows, &service), 0);
	service = (struct service_row){.listen = endpoint_of("[::1]:443")};
	assert_int_equal(route_rows_add_service(rows, &service), 0);
	assert_int_equal(prefix_parse("192.0.2.0/24", &override.prefix), 0);
	assert_int_equal(route_rows_add_override(rows, &override), 0);
	override = (struct geo_override_row){.region = "eu"};
	assert_int_equal(prefix_parse("2001:db8::/32", &override.prefix), 0);
	assert_int_equal(route_rows_add_override(rows, &override), 0);
	assert_int_equal(route_rows_add_country_region(rows, &country), 0);
	assert_int_equal(route_rows_add_check(rows, &all), 0);
	assert_int_equal(route_rows_add_check(rows, &own), 0);
	assert_int_equal(route_rows_add_access_rule(rows, &rule), 0);
	rule = (struct access_rule_row){
		.id = "b", .app = "x", .match = ACCESS_COUNTRY, .country = "BR", .allow = true};
	assert_int_equal(route_rows_add_access_rule(rows, &rule), 0);
	rule = (struct access_rule_row){.id = "c", .match = ACCESS_CIDR};
	assert_int_equal(prefix_parse("2001:db8::/32", &rule.prefix), 0);
	assert_int_equal(route_rows_add_access_rule(rows, &rule), 0);
}

static void save(struct scratch *t, const struct route_rows *rows)
{
	char error[STORE_ERROR_MAX] = "";

	if (last_good_save(t->dir, rows, error) != 0)
		fail_msg("%s", error);
}

static void what_is_saved_comes_back(void **state)
{
	struct scratch *t = *state;
	struct route_rows rows, back;
	char error[STORE_ERROR_MAX];

	fill(&rows);
	for (int i = 0; i < 3; i++) {
		save(t, &rows);
		assert_int_equal(last_good_load(t->dir, "", &back, error), 0);
		assert_true(route_rows_equal(&back, &rows));
		route_rows_done(&back);
	}
	/* Nothing else is left in the folder. */
	shell(t, "test \"$(ls)\" = " LAST_GOOD_NAME);
	route_rows_done(&rows);
}

static void it_is_a_routing_database(void **state)
{
	struct scratch *t = *state;
	struct route_rows rows, back;
	size_t quarantined;
	char path[128], error[STORE_ERROR_MAX];
	struct store *s;

	fill(&rows);
	save(t, &rows);
	snprintf(path, sizeof(path), "%s/" LAST_GOOD_NAME, t->dir);
	assert_int_equal(store_new(path, &s), 0);
	assert_int_equal(store_read(s, &(struct store_read_options){0}, &back, &quarantined, error),
	                 0);
	assert_int_equal(quarantined, 0);
	assert_true(route_rows_equal(&back, &rows));
	store_free(s);
	route_rows_done(&back);
	route_rows_done(&rows);
}

static void one_app_alone(void **state)
{
	struct scratch *t = *state;
	struct route_rows rows, back;
	char error[STORE_ERROR_MAX];

	fill(&rows);
	save(t, &rows);
	assert_int_equal(last_good_load(t->dir, "y", &back, error), 0);
	assert_int_equal(back.backend_count, 1);
	assert_string_equal(back.backends[0].id, "c");
	route_rows_done(&back);
	route_rows_done(&rows);
}

static void no_rows_are_rows_too(void **state)
{
	struct scratch *t = *state;
	struct route_rows rows, back;
	char error[STORE_ERROR_MAX];

	route_rows_init(&rows);
	save(t, &rows);
	assert_int_equal(last_good_load(t->dir, "", &back, error), 0);
	assert_int_equal(back.backend_count, 0);
	route_rows_done(&back);
}

static void nothing_was_saved(void **state)
{
	struct scratch *t = *state;
	struct route_rows back;
	char error[STORE_ERROR_MAX] = "", dir[128];

	assert_int_equal(last_good_load(t->dir, "", &back, error), -ENOENT);
	snprintf(dir, sizeof(dir), "%s/missing", t->dir);
	assert_int_equal(last_good_load(dir, "", &back, error), -ENOENT);
}

static void any_damage_is_seen(void **state)
{
	struct scratch *t = *state;
	struct route_rows rows, back;
	char error[STORE_ERROR_MAX], path[128];
	struct stat st;
	int fd;

	fill(&rows);
	save(t, &rows);
	route_rows_done(&rows);
	snprintf(path, sizeof(path), "%s/" LAST_GOOD_NAME, t->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	/* One bit at a time, in free space as well as in rows, the seal (60..63) included. */
	for (off_t at = 0; at < st.st_size; at += at < 128 ? 1 : 97) {
		unsigned char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(last_good_load(t->dir, "", &back, error), -EBADMSG);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_int_equal(last_good_load(t->dir, "", &back, error), 0);
	route_rows_done(&back);
	assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
	assert_int_equal(last_good_load(t->dir, "", &back, error), -EBADMSG);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(last_good_load(t->dir, "", &back, error), -EBADMSG);
	assert_non_null(strstr(error, "damaged"));
	close(fd);
}

static void a_folder_that_cannot_be_written(void **state)
{
	struct scratch *t = *state;
	struct route_rows rows;
	char error[STORE_ERROR_MAX] = "", dir[PATH_MAX + 10];

	fill(&rows);
	snprintf(dir, sizeof(dir), "%s/missing", t->dir);
	assert_true(last_good_save(dir, &rows, error) < 0);
	assert_non_null(strstr(error, "missing"));
	memset(dir, 'x', sizeof(dir));
	dir[sizeof(dir) - 1] = '\0';
	assert_int_equal(last_good_save(dir, &rows, error), -ENAMETOOLONG);
	assert_true(error[0] != '\0');
	/* What was there before stays, and nothing is left lying about. */
	save(t, &rows);
	shell(t, "mkdir sub && cd sub && mkdir " LAST_GOOD_NAME);
	snprintf(dir, sizeof(dir), "%s/sub", t->dir);
	assert_true(last_good_save(dir, &rows, error) < 0);
	shell(t, "test \"$(ls sub)\" = " LAST_GOOD_NAME);
	route_rows_done(&rows);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_saved_comes_back),
		TEST(it_is_a_routing_database),
		TEST(one_app_alone),
		TEST(no_rows_are_rows_too),
		TEST(nothing_was_saved),
		TEST(any_damage_is_seen),
		TEST(a_folder_that_cannot_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
