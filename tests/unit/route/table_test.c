/* Tables: order, who is in which pool, slots, regions, overrides, services, and what is given back.
 */
#include "route/table.h"

#include "base/rng.h"
#include "rows_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct live *live;
	struct route_rows rows;
};

static int setup(void **state)
{
	static struct fixture f;

	f.live = live_new();
	route_rows_init(&f.rows);
	*state = &f;
	return f.live == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	route_rows_done(&f->rows);
	live_free(f->live);
	return 0;
}

static void add(struct fixture *f, const char *id, const char *app, const char *region)
{
	struct backend_row row = fixture_backend(id, app, region);

	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
}

static void add_service_row(struct fixture *f, const char *app)
{
	struct service_row row = {.listen = fixture_endpoint(80), .app = app};

	assert_int_equal(route_rows_add_service(&f->rows, &row), 0);
}

static struct table *make(struct fixture *f)
{
	struct table_options options = {.local_region = "sa"};
	struct table *t = NULL;

	assert_int_equal(table_new(&f->rows, &options, f->live, &t), 0);
	return t;
}

/* What must be true of any table. */
static void check_table(const struct table *t)
{
	uint32_t usable = 0;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];

		usable += backend_usable(b);
		assert_true(i == 0 || strcmp(t->backends[i - 1].id, b->id) < 0);
		assert_ptr_equal(table_backend_in_slot(t, b->slot), b);
		assert_string_equal(live_id(t->live, b->slot), b->id);
		assert_non_null(table_pool(t, b->app));
	}
	assert_int_equal(usable, t->usable_count);
	for (uint32_t k = 0; k < t->pool_count; k++) {
		const struct pool *p = &t->pools[k];
		uint32_t expected = 0;

		assert_ptr_equal(table_pool(t, p->app), p);
		for (uint32_t i = 0; i < t->backend_count; i++)
			expected += backend_usable(&t->backends[i]) &&
			            (p->app == NULL || strcmp(p->app, t->backends[i].app) == 0);
		assert_int_equal(p->member_count, expected);
		for (uint32_t i = 0; i < p->member_count; i++) {
			const struct backend *b = &t->backends[p->members[i]];

			assert_true(backend_usable(b));
			assert_true(p->app == NULL || strcmp(p->app, b->app) == 0);
			assert_int_equal(p->slots[i], b->slot);
		}
	}
}

static void test_empty(void **state)
{
	struct fixture *f = *state;
	struct table *t = make(f);

	check_table(t);
	assert_int_equal(t->backend_count, 0);
	assert_non_null(table_pool(t, NULL)); /* no services: explain asks for all */
	assert_int_equal(table_pool(t, NULL)->member_count, 0);
	assert_null(table_pool(t, "web"));
	assert_null(table_backend_in_slot(t, 0));
	assert_null(table_backend_in_slot(t, LIVE_NO_SLOT));
	table_unref(t);
	table_unref(NULL);
}

static void test_rows_may_go(void **state)
{
	struct fixture *f = *state;
	struct table *t;

	add(f, "b", "web", "us");
	add(f, "a", "ssh", "sa");
	t = make(f);
	route_rows_done(&f->rows);
	check_table(t);
	assert_string_equal(t->backends[0].id, "a");
	assert_string_equal(t->backends[0].app, "ssh");
	assert_string_equal(region_name(t->backends[0].region), "sa");
	assert_string_equal(t->backends[1].id, "b");
	assert_string_equal(region_name(t->local_region), "sa");
	table_unref(t);
}

static void test_every_field_arrives(void **state)
{
	struct fixture *f = *state;
	struct backend_row row = fixture_backend("a", "web", "us");
	const struct backend *b;
	struct table *t;

	memcpy(row.country, "US", 3);
	row.healthy = false;
	row.deleted = true;
	row.state = STATE_DRAIN;
	row.weight = 7;
	row.soft_limit = 8;
	row.hard_limit = 9;
	row.addr.port = 1234;
	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
	t = make(f);
	b = &t->backends[0];
	assert_string_equal(b->country, "US");
	assert_false(b->healthy);
	assert_true(b->deleted);
	assert_int_equal(b->state, STATE_DRAIN);
	assert_int_equal(b->weight, 7);
	assert_int_equal(b->soft_limit, 8);
	assert_int_equal(b->hard_limit, 9);
	assert_true(endpoint_equal(&b->addr, &row.addr));
	assert_int_equal(t->usable_count, 0);
	assert_int_equal(table_pool(t, "web")->member_count, 0);
	table_unref(t);
}

static void test_versions_count_up(void **state)
{
	struct fixture *f = *state;
	struct table *first = make(f);
	struct table *second = make(f);

	assert_int_equal(second->version, first->version + 1);
	table_unref(first);
	table_unref(second);
}

static void test_which_pools_are_made(void **state)
{
	struct fixture *f = *state;
	struct table *t;

	add(f, "a", "web", "sa");
	add_service_row(f, "ssh");
	t = make(f);
	assert_non_null(table_pool(t, "web"));
	assert_non_null(table_pool(t, "ssh"));
	assert_int_equal(table_pool(t, "ssh")->member_count, 0);
	assert_null(table_pool(t, NULL)); /* nobody serves every app */
	assert_null(table_pool(t, ""));
	assert_null(table_pool(t, "we"));
	assert_null(table_pool(t, "webb"));
	check_table(t);
	table_unref(t);

	add_service_row(f, NULL);
	t = make(f);
	assert_int_equal(table_pool(t, NULL)->member_count, 1);
	check_table(t);
	table_unref(t);
}

static void test_services_are_shared(void **state)
{
	struct fixture *f = *state;
	struct endpoint listen = fixture_endpoint(8080);
	struct service *service[2] = {service_new(&listen, "dns", false, 0, NULL),
	                              service_new(&listen, NULL, true, 2, NULL)};
	struct table_options options = {.services = service, .service_count = 1};
	struct table *t;

	assert_string_equal(service[0]->name, "dns@127.0.0.1:8080");
	assert_string_equal(service[1]->name, "127.0.0.1:8080");
	assert_int_equal(service[0]->key, service[1]->key);
	assert_string_equal(service[1]->app, "");
	assert_int_equal(service[1]->send_proxy, 2);
	add(f, "a", "web", "sa");
	assert_int_equal(table_new(&f->rows, &options, f->live, &t), 0);
	assert_int_equal(t->local_region, REGION_NONE);
	assert_non_null(table_pool(t, "dns"));
	assert_null(table_pool(t, NULL));
	assert_int_equal(t->service_count, 1);
	assert_ptr_equal(t->services[0], service[0]);
	service_unref(service[0]); /* the table keeps it */
	assert_string_equal(t->services[0]->name, "dns@127.0.0.1:8080");
	table_unref(t);

	options.services = &service[1];
	assert_int_equal(table_new(&f->rows, &options, f->live, &t), 0);
	assert_int_equal(table_pool(t, NULL)->member_count, 1);
	service_unref(service[1]);
	table_unref(t);
	service_unref(NULL);
}

static void test_service_keys_differ(void **state)
{
	struct endpoint a = fixture_endpoint(80);
	struct endpoint b = fixture_endpoint(81);
	struct service *x = service_new(&a, NULL, false, 0, NULL);
	struct service *y = service_new(&b, NULL, false, 0, NULL);

	(void)state;
	assert_int_not_equal(x->key, y->key);
	/* The same in every process and version, because it outlives an upgrade: FNV-1a of the
	 * address and port in network order, mixed, the low 32 bits. */
	assert_int_equal(x->key, 0xb09b4acbu);
	service_unref(x);
	service_unref(y);
}

static void test_references(void **state)
{
	struct fixture *f = *state;
	struct table *t;

	add(f, "a", "web", "sa");
	add(f, "b", "web", "sa");
	t = make(f);
	assert_ptr_equal(table_ref(t), t);
	table_unref(t);
	assert_int_equal(live_collect(f->live), 0);
	assert_string_equal(t->backends[0].id, "a");
	table_unref(t);
	assert_int_equal(live_collect(f->live), 2);
}

static void test_slots_stay_from_table_to_table(void **state)
{
	struct fixture *f = *state;
	struct table *first;
	struct table *second;
	uint32_t slot;

	add(f, "b", "web", "sa");
	first = make(f);
	slot = first->backends[0].slot;
	add(f, "a", "web", "sa");
	second = make(f);
	assert_int_equal(second->backends[1].slot, slot);
	assert_null(table_backend_in_slot(first, second->backends[0].slot));
	table_unref(first);
	assert_int_equal(live_collect(f->live), 0);
	check_table(second);
	table_unref(second);
}

static void test_countries_and_regions(void **state)
{
	struct fixture *f = *state;
	struct country_region_row moved = {.country = "BR", .region = "us"};
	struct country_region_row made = {.country = "AQ", .region = "pole"};
	struct table *t = make(f);

	assert_string_equal(region_name(table_region_of_country(t, "BR")), "sa");
	assert_string_equal(region_name(table_region_of_country(t, "DE")), "eu");
	assert_string_equal(region_name(table_region_of_country(t, "de")), "eu");
	assert_int_equal(table_region_of_country(t, ""), REGION_NONE);
	assert_int_equal(table_region_of_country(t, "1A"), REGION_NONE);
	assert_int_equal(table_region_of_country(t, "QQ"), REGION_NONE);
	table_unref(t);

	assert_int_equal(route_rows_add_country_region(&f->rows, &moved), 0);
	assert_int_equal(route_rows_add_country_region(&f->rows, &made), 0);
	t = make(f);
	assert_string_equal(region_name(table_region_of_country(t, "BR")), "us");
	assert_string_equal(region_name(table_region_of_country(t, "AQ")), "pole");
	assert_string_equal(region_name(table_region_of_country(t, "AR")), "sa");
	table_unref(t);
}

static void test_overrides(void **state)
{
	struct fixture *f = *state;
	struct geo_override_row wide = {.country = "BR"};
	struct geo_override_row narrow = {.country = "", .region = "us"};
	const struct prefix_entry *entry;
	struct table *t;
	struct ip ip;

	assert_int_equal(prefix_parse("10.0.0.0/8", &wide.prefix), 0);
	assert_int_equal(prefix_parse("10.1.0.0/16", &narrow.prefix), 0);
	assert_int_equal(route_rows_add_override(&f->rows, &wide), 0);
	assert_int_equal(route_rows_add_override(&f->rows, &narrow), 0);
	t = make(f);
	assert_int_equal(ip_parse("10.1.2.3", &ip), 0);
	entry = prefix_map_find(t->override_map, &ip);
	assert_non_null(entry);
	assert_string_equal(region_name(t->overrides[entry->value].region), "us");
	assert_string_equal(t->overrides[entry->value].country, "");
	assert_int_equal(ip_parse("10.2.2.3", &ip), 0);
	entry = prefix_map_find(t->override_map, &ip);
	assert_non_null(entry);
	assert_int_equal(t->overrides[entry->value].region, REGION_NONE);
	assert_string_equal(t->overrides[entry->value].country, "BR");
	assert_int_equal(ip_parse("11.0.0.1", &ip), 0);
	assert_null(prefix_map_find(t->override_map, &ip));
	table_unref(t);
}

/* Those that are new together have slots one after the other, in the order of decisions. */
static void test_groups_are_dense_at_first(void **state)
{
	struct fixture *f = *state;
	const struct pool *p;
	struct table *t;

	add(f, "a", "web", "us");
	add(f, "b", "ssh", "sa");
	add(f, "c", "web", "sa");
	add(f, "d", "web", "us");
	add(f, "e", "web", "sa");
	add_service_row(f, NULL);
	t = make(f);
	check_table(t);
	p = table_pool(t, "web");
	assert_int_equal(p->group_count, 2);
	assert_true(p->groups[0].dense);
	assert_true(p->groups[1].dense);
	table_unref(t);
}

/* A table that cannot be made leaves nothing behind. */
static void test_failure_gives_everything_back(void **state)
{
	struct fixture *f = *state;
	struct endpoint listen = fixture_endpoint(80);
	struct service *service = service_new(&listen, "web", false, 0, NULL);
	struct table_options options = {.services = &service, .service_count = 1};
	struct table *t = NULL;
	struct table *good;

	good = make(f);
	add(f, "a", "web", "sa");
	add(f, "b", "web", "not a region");
	assert_int_equal(table_new(&f->rows, &options, f->live, &t), -EINVAL);
	assert_null(t);
	assert_int_equal(live_collect(f->live), 0); /* not even a slot was taken */
	assert_int_equal(atomic_load(&service->refs), 1);
	service_unref(service);
	table_unref(good);
}

/* As large as it gets, in no order, with many apps, regions and countries. */
static void test_random_tables(void **state)
{
	static const char *const countries[] = {"", "BR", "DE", "JP", "US"};
	struct fixture *f = *state;
	struct rng rng = {.state = 5};
	char id[32];
	char app[32];
	char region[32];

	for (int round = 0; round < 30; round++) {
		struct backend_row row = fixture_backend(id, app, region);
		uint32_t n = (uint32_t)rng_below(&rng, round == 29 ? 20000 : 300);
		uint32_t apps = 1 + (uint32_t)rng_below(&rng, 12);
		struct table *t;

		route_rows_done(&f->rows);
		for (uint32_t i = 0; i < n; i++) {
			/* Odd multipliers reach every number once. */
			snprintf(id, sizeof(id), "id-%u", i * 2654435761u);
			snprintf(app, sizeof(app), "app%u", (uint32_t)rng_below(&rng, apps));
			snprintf(region, sizeof(region), "r%u", (uint32_t)rng_below(&rng, 6));
			snprintf(row.country, sizeof(row.country), "%s",
			         countries[rng_below(&rng, 5)]);
			row.weight = (uint32_t)rng_below(&rng, 4);
			row.healthy = rng_below(&rng, 5) != 0;
			row.soft_limit = 1 + (uint32_t)rng_below(&rng, LIMIT_MAX);
			assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
		}
		t = make(f);
		assert_int_equal(t->backend_count, n);
		assert_int_equal(t->usable_count, route_rows_usable(&f->rows));
		check_table(t);
		table_unref(t);
		assert_int_equal(live_collect(f->live), n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rows_may_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_field_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(test_versions_count_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_which_pools_are_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_services_are_shared, setup, teardown),
		cmocka_unit_test(test_service_keys_differ),
		cmocka_unit_test_setup_teardown(test_references, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots_stay_from_table_to_table, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(test_countries_and_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overrides, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups_are_dense_at_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_gives_everything_back, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(test_random_tables, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
