/* The policy: where a client is, by each of the sources in their order; which backend it gets, by
 * affinity or the balancer; why it gets none; and that a race never passes a hard limit. */
#include "route/policy.h"

#include "rows_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct live *live;
	struct route_rows rows;
	struct table *table;
	struct affinity *affinity;
	struct service *service;
	struct ip client;
	struct place place;
	struct tried tried;
	struct rng rng;
};

static int setup(void **state)
{
	static struct fixture f;
	struct affinity_options options = {
		.max_entries = 100, .ttl_ms = 1000, .v4_bits = 32, .v6_bits = 64};
	struct endpoint listen = fixture_endpoint(80);

	memset(&f, 0, sizeof(f));
	special_init();
	f.live = live_new();
	f.affinity = affinity_new(&options);
	f.service = service_new(&listen, "web", false, 0, NULL);
	route_rows_init(&f.rows);
	tried_init(&f.tried);
	*state = &f;
	return f.live == NULL || f.affinity == NULL || f.service == NULL ||
	       ip_parse("203.0.113.9", &f.client) < 0 || region_intern("sa", &f.place.region) < 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	table_unref(f->table);
	route_rows_done(&f->rows);
	affinity_free(f->affinity);
	service_unref(f->service);
	tried_done(&f->tried);
	live_free(f->live);
	return 0;
}

static struct backend_row row_with(const char *id, const char *region, uint32_t hard_limit)
{
	struct backend_row row = fixture_backend(id, "web", region);

	row.hard_limit = hard_limit;
	return row;
}

static void add(struct fixture *f, struct backend_row row)
{
	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
}

/* A table of the rows so far, in the place of the one before. */
static void make(struct fixture *f)
{
	struct table_options options = {
		.local_region = "us", .services = &f->service, .service_count = 1};
	struct table *t;

	assert_int_equal(table_new(&f->rows, &options, f->live, &t), 0);
	table_unref(f->table);
	f->table = t;
}

static int choose_at(struct fixture *f, uint64_t now_ms, struct choice *ret_choice)
{
	struct policy_query q = {
		.table = f->table,
		.affinity = f->affinity,
		.service = f->service,
		.client = &f->client,
		.place = &f->place,
		.tried = &f->tried,
		.now_ms = now_ms,
		.rng = &f->rng,
	};

	return policy_choose(&q, ret_choice);
}

static struct choice choose(struct fixture *f)
{
	struct choice c;

	assert_int_equal(choose_at(f, 0, &c), 0);
	return c;
}

static void connected(struct fixture *f, const struct choice *c)
{
	affinity_put(f->affinity, &f->client, f->service->key, c->binding, 0);
}

static void release(struct fixture *f, const struct choice *c)
{
	live_release(f->live, c->backend->slot);
}

/* --- where a client is --- */

static struct place locate(const struct fixture *f, const struct geo_db *db, const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return policy_locate(f->table, db, &ip);
}

static void add_override(struct fixture *f, const char *cidr, const char *country,
                         const char *region)
{
	struct geo_override_row row = {.region = region};

	snprintf(row.country, sizeof(row.country), "%s", country);
	assert_int_equal(prefix_parse(cidr, &row.prefix), 0);
	assert_int_equal(route_rows_add_override(&f->rows, &row), 0);
}

static void assert_place(struct place p, const char *source, const char *country,
                         const char *region, const char *network)
{
	char text[PREFIX_TEXT_MAX];

	assert_string_equal(place_source_word(p.source), source);
	assert_string_equal(p.country, country);
	assert_string_equal(region_name(p.region), region);
	if (network != NULL)
		assert_string_equal(prefix_format(&p.network, text), network);
}

static void test_overrides_come_first(void **state)
{
	struct fixture *f = *state;
	struct country_region_row country = {.country = "AR", .region = "south"};

	add_override(f, "10.0.0.0/8", "BR", NULL);
	add_override(f, "10.9.0.0/16", "BR", "us");
	add_override(f, "10.8.0.0/16", "", "eu");
	add_override(f, "10.7.0.0/16", "", NULL);
	add_override(f, "10.6.0.0/16", "AR", NULL);
	add_override(f, "8.8.8.0/24", "JP", NULL);
	add_override(f, "2001:db8::/32", "DE", NULL);
	assert_int_equal(route_rows_add_country_region(&f->rows, &country), 0);
	make(f);
	assert_place(locate(f, NULL, "10.1.2.3"), "override", "BR", "sa", "10.0.0.0/8");
	assert_place(locate(f, NULL, "10.9.2.3"), "override", "BR", "us", "10.9.0.0/16");
	assert_place(locate(f, NULL, "10.8.2.3"), "override", "", "eu", "10.8.0.0/16");
	assert_place(locate(f, NULL, "10.7.2.3"), "override", "", "", "10.7.0.0/16");
	assert_place(locate(f, NULL, "10.6.2.3"), "override", "AR", "south", "10.6.0.0/16");
	assert_place(locate(f, NULL, "8.8.8.8"), "override", "JP", "ap", "8.8.8.0/24");
	assert_place(locate(f, NULL, "2001:db8::1"), "override", "DE", "eu", "2001:db8::/32");
	assert_null(locate(f, NULL, "10.1.2.3").special);
}

static void test_special_ranges_have_no_country(void **state)
{
	struct fixture *f = *state;
	struct geo_db *db;
	char error[GEO_ERROR_MAX];

	make(f);
	assert_int_equal(geo_db_open_embedded(&db, error), 0);
	assert_place(locate(f, db, "10.1.2.3"), "special", "", "", "10.0.0.0/8");
	assert_place(locate(f, db, "127.0.0.1"), "special", "", "", "127.0.0.0/8");
	assert_place(locate(f, db, "::1"), "special", "", "", NULL);
	assert_string_equal(locate(f, db, "10.1.2.3").special->name, "Private-Use");
	geo_db_unref(db);
}

static void test_database(void **state)
{
	struct fixture *f = *state;
	struct geo_db *db;
	struct place p;
	struct ip ip;
	char error[GEO_ERROR_MAX];

	make(f);
	assert_int_equal(geo_db_open_embedded(&db, error), 0);
	p = locate(f, db, "8.8.8.8");
	assert_place(p, "database", "US", "us", NULL);
	assert_int_equal(ip_parse("8.8.8.8", &ip), 0);
	assert_true(prefix_contains(&p.network, &ip));
	assert_in_range(p.network.bits, 96 + 8, 128);
	assert_null(p.special);
	p = locate(f, db, "200.160.2.3");
	assert_place(p, "database", "BR", "sa", NULL);
	geo_db_unref(db);
}

static void test_unknown_is_no_region(void **state)
{
	struct fixture *f = *state;

	make(f);
	assert_place(locate(f, NULL, "8.8.8.8"), "unknown", "", "", NULL);
	assert_int_equal(locate(f, NULL, "8.8.8.8").region, REGION_NONE);
}

/* --- which backend it gets --- */

static void test_the_balancer_chooses_and_a_place_is_taken(void **state)
{
	struct fixture *f = *state;
	struct choice c;

	add(f, row_with("sa", "sa", 2));
	add(f, row_with("us", "us", 2));
	make(f);
	c = choose(f);
	assert_string_equal(c.backend->id, "sa");
	assert_false(c.from_affinity);
	assert_int_equal(c.binding.slot, c.backend->slot);
	assert_int_equal(c.binding.generation, live_generation(f->live, c.backend->slot));
	assert_int_equal(c.terms.connections, 0);
	assert_int_equal(live_connections(f->live, c.backend->slot), 1);
	c = choose(f);
	assert_string_equal(c.backend->id, "sa");
	assert_int_equal(c.terms.connections, 1);
	assert_string_equal(choose(f).backend->id, "us");
	assert_int_equal(affinity_counts(f->affinity).entries, 0); /* not before the connect */
}

static void test_affinity_goes_first(void **state)
{
	struct fixture *f = *state;
	struct choice c;

	add(f, row_with("sa", "sa", 9));
	add(f, row_with("us", "us", 2));
	make(f);
	assert_int_equal(tried_add(&f->tried, f->table->backends[0].slot), 0);
	c = choose(f);
	assert_string_equal(c.backend->id, "us");
	connected(f, &c);
	tried_done(&f->tried);

	/* The nearer one is there again, and the client keeps what it had. */
	c = choose(f);
	assert_string_equal(c.backend->id, "us");
	assert_true(c.from_affinity);
	assert_int_equal(c.terms.region_score, 1);
	assert_int_equal(c.terms.connections, 1);
	assert_int_equal(live_connections(f->live, c.backend->slot), 2);

	/* Never past its hard limit. */
	c = choose(f);
	assert_string_equal(c.backend->id, "sa");
	assert_false(c.from_affinity);

	/* Another client and another service have nothing to do with it. */
	live_release(f->live, f->table->backends[1].slot);
	assert_int_equal(ip_parse("203.0.113.10", &f->client), 0);
	assert_string_equal(choose(f).backend->id, "sa");
	assert_int_equal(ip_parse("203.0.113.9", &f->client), 0);
	f->service->key++;
	assert_string_equal(choose(f).backend->id, "sa");
	f->service->key--;
	assert_string_equal(choose(f).backend->id, "us");
}

static void test_affinity_ends_with_its_time(void **state)
{
	struct fixture *f = *state;
	struct choice c;

	add(f, row_with("sa", "sa", 9));
	make(f);
	c = choose(f);
	connected(f, &c);
	assert_int_equal(choose_at(f, 999, &c), 0);
	assert_true(c.from_affinity);
	assert_int_equal(choose_at(f, 1999, &c), 0);
	assert_false(c.from_affinity);
}

/* A client of "us" whose backend changes so that it takes no clients: it goes elsewhere. */
static void expect_elsewhere(struct fixture *f, void (*change)(struct backend_row *))
{
	struct choice c;

	add(f, row_with("sa", "sa", 9));
	add(f, row_with("us", "us", 9));
	make(f);
	connected(f, &(struct choice){
			     .binding = {f->table->backends[1].slot,
	                                 live_generation(f->live, f->table->backends[1].slot)}});
	c = choose(f);
	assert_true(c.from_affinity);
	release(f, &c);
	change(&f->rows.backends[1]);
	make(f);
	c = choose(f);
	assert_string_equal(c.backend->id, "sa");
	assert_false(c.from_affinity);
}

static void make_unhealthy(struct backend_row *row)
{
	row->healthy = false;
}

static void make_deleted(struct backend_row *row)
{
	row->deleted = true;
}

static void make_draining(struct backend_row *row)
{
	row->state = STATE_DRAIN;
}

static void make_weightless(struct backend_row *row)
{
	row->weight = 0;
}

static void make_other_app(struct backend_row *row)
{
	row->app = "ssh";
}

static void make_another(struct backend_row *row)
{
	row->id = "vs";
}

static void test_affinity_to_unhealthy(void **state)
{
	expect_elsewhere(*state, make_unhealthy);
}

static void test_affinity_to_deleted(void **state)
{
	expect_elsewhere(*state, make_deleted);
}

static void test_affinity_to_draining(void **state)
{
	expect_elsewhere(*state, make_draining);
}

static void test_affinity_to_weightless(void **state)
{
	expect_elsewhere(*state, make_weightless);
}

static void test_affinity_to_other_app(void **state)
{
	expect_elsewhere(*state, make_other_app);
}

static void test_affinity_to_one_that_is_gone(void **state)
{
	expect_elsewhere(*state, make_another);
}

/* The slot of a backend that is gone has another one now: that was not the client's. */
static void test_affinity_to_a_slot_of_another(void **state)
{
	struct fixture *f = *state;
	struct choice c;
	uint32_t slot;

	add(f, row_with("old", "eu", 9));
	make(f);
	c = choose(f);
	connected(f, &c);
	release(f, &c);
	slot = c.backend->slot;
	table_unref(f->table);
	f->table = NULL;
	assert_int_equal(live_collect(f->live), 1);

	route_rows_done(&f->rows);
	add(f, row_with("new", "eu", 9));
	make(f);
	assert_int_equal(f->table->backends[0].slot, slot);
	c = choose(f);
	assert_string_equal(c.backend->id, "new");
	assert_false(c.from_affinity);
}

static void test_affinity_to_one_that_was_tried(void **state)
{
	struct fixture *f = *state;
	struct choice c;

	add(f, row_with("sa", "sa", 9));
	add(f, row_with("us", "us", 9));
	make(f);
	c = choose(f);
	connected(f, &c);
	assert_int_equal(tried_add(&f->tried, c.backend->slot), 0);
	assert_string_equal(choose(f).backend->id, "us");
}

static void test_without_an_affinity_table(void **state)
{
	struct fixture *f = *state;
	struct affinity *kept = f->affinity;

	add(f, row_with("sa", "sa", 9));
	make(f);
	f->affinity = NULL;
	assert_false(choose(f).from_affinity);
	f->affinity = kept;
}

static void test_a_service_of_every_app(void **state)
{
	struct fixture *f = *state;
	struct backend_row ssh = row_with("ssh", "sa", 9);
	struct endpoint listen = fixture_endpoint(81);
	struct choice c;

	service_unref(f->service);
	f->service = service_new(&listen, NULL, false, 0, NULL);
	ssh.app = "ssh";
	add(f, ssh);
	make(f);
	c = choose(f);
	assert_string_equal(c.backend->id, "ssh");
	connected(f, &c);
	assert_true(choose(f).from_affinity);
}

/* --- why it gets none --- */

static void test_none_takes_clients(void **state)
{
	struct fixture *f = *state;
	struct backend_row drained = row_with("drained", "sa", 9);
	struct backend_row ssh = row_with("ssh", "sa", 9);
	struct choice c = {.backend = NULL};

	make(f);
	assert_int_equal(choose_at(f, 0, &c), -ENOENT);
	drained.state = STATE_DRAIN;
	ssh.app = "ssh";
	add(f, drained);
	add(f, ssh);
	make(f);
	assert_int_equal(choose_at(f, 0, &c), -ENOENT);
	assert_null(c.backend);
}

static void test_all_full_or_tried(void **state)
{
	struct fixture *f = *state;
	struct choice a;
	struct choice b;
	struct choice c;

	add(f, row_with("sa", "sa", 1));
	add(f, row_with("us", "us", 1));
	make(f);
	a = choose(f);
	b = choose(f);
	assert_int_equal(choose_at(f, 0, &c), -EAGAIN);

	/* One has failed and has room, the other is full: that one is worth waiting for. */
	release(f, &a);
	assert_int_equal(tried_add(&f->tried, a.backend->slot), 0);
	assert_int_equal(choose_at(f, 0, &c), -EAGAIN);

	/* But not while it is down. */
	live_set_fault(f->live, b.backend->slot, LIVE_EJECTED, true);
	assert_int_equal(choose_at(f, 0, &c), -EHOSTUNREACH);
	live_set_fault(f->live, b.backend->slot, LIVE_EJECTED, false);

	/* Both have failed and have room. */
	release(f, &b);
	assert_string_equal(choose(f).backend->id, "us");
	release(f, &b);
	assert_int_equal(tried_add(&f->tried, b.backend->slot), 0);
	assert_int_equal(choose_at(f, 0, &c), -EHOSTUNREACH);

	/* Both have failed and are full meanwhile. */
	assert_true(live_reserve(f->live, a.backend->slot, 1));
	assert_true(live_reserve(f->live, b.backend->slot, 1));
	assert_int_equal(choose_at(f, 0, &c), -EHOSTUNREACH);

	/* For another client: one is full, the other down; then both are down. */
	tried_done(&f->tried);
	tried_init(&f->tried);
	live_set_fault(f->live, a.backend->slot, LIVE_CHECK_DOWN, true);
	assert_int_equal(choose_at(f, 0, &c), -EAGAIN);
	live_set_fault(f->live, b.backend->slot, LIVE_EJECTED, true);
	assert_int_equal(choose_at(f, 0, &c), -ENOENT);
}

static void test_affinity_in_the_grace_of_a_drain(void **state)
{
	struct fixture *f = *state;
	struct choice c;

	add(f, row_with("sa", "sa", 9));
	make(f);
	c = choose(f);
	connected(f, &c);
	f->rows.backends[0].state = STATE_DRAIN;
	make(f);
	live_set_grace(f->live, f->table->backends[0].slot, 1000);
	assert_int_equal(choose_at(f, 900, &c), 0);
	assert_true(c.from_affinity);
	assert_int_equal(choose_at(f, 1000, &c), -ENOENT);

	/* Not for others. */
	assert_int_equal(ip_parse("203.0.113.10", &f->client), 0);
	assert_int_equal(choose_at(f, 900, &c), -ENOENT);
}

/* As many clients as there are trials, whether they had it before or not. */
static void test_trials_are_taken(void **state)
{
	struct fixture *f = *state;
	struct choice c;
	uint32_t sa;

	add(f, row_with("sa", "sa", 9));
	add(f, row_with("us", "us", 9));
	make(f);
	sa = f->table->backends[0].slot;
	connected(f, &(struct choice){.binding = {sa, live_generation(f->live, sa)}});
	live_set_fault(f->live, sa, LIVE_EJECTED, true);
	assert_string_equal(choose(f).backend->id, "us");
	live_set_trials(f->live, sa, 2);
	c = choose(f);
	assert_string_equal(c.backend->id, "sa");
	assert_true(c.from_affinity);
	assert_int_equal(ip_parse("203.0.113.10", &f->client), 0);
	assert_string_equal(choose(f).backend->id, "sa");
	assert_string_equal(choose(f).backend->id, "us");
	assert_int_equal(live_connections(f->live, sa), 2);
}

static void test_panic(void **state)
{
	struct fixture *f = *state;
	struct choice c;
	uint32_t sa;

	add(f, row_with("sa", "sa", 2));
	make(f);
	sa = f->table->backends[0].slot;
	live_set_fault(f->live, sa, LIVE_EJECTED, true);
	assert_int_equal(choose_at(f, 0, &c), -ENOENT);
	for (uint32_t i = 0; i < f->table->pool_count; i++)
		atomic_store(&f->table->pools[i].panic, true);
	assert_string_equal(choose(f).backend->id, "sa"); /* no trial needed */
	assert_string_equal(choose(f).backend->id, "sa");
	assert_int_equal(choose_at(f, 0, &c), -EAGAIN); /* full, and no longer shut */
}

/* All are down, and the control thread has not noticed yet. */
static void test_panic_before_it_is_declared(void **state)
{
	struct fixture *f = *state;
	struct choice a, c;

	add(f, row_with("sa", "sa", 5));
	add(f, row_with("us", "us", 5));
	make(f);
	a = choose(f);
	live_set_fault(f->live, a.backend->slot, LIVE_CHECK_DOWN, true);
	c = choose(f); /* the other is sound */
	assert_string_equal(c.backend->id, "us");
	live_set_fault(f->live, c.backend->slot, LIVE_CHECK_DOWN, true);
	assert_int_equal(choose_at(f, 0, &c), -ENOENT); /* without a threshold: nobody */
	f->table->panics = true;
	assert_string_equal(choose(f).backend->id, "sa");
	live_set_fault(f->live, a.backend->slot, LIVE_AGENT_MAINT, true);
	assert_string_equal(choose(f).backend->id, "us");
}

/* --- races --- */

enum { THREADS = 4, BACKENDS = 5, LIMIT = 60, CLIENTS = 400 };

struct racer {
	struct fixture *f;
	unsigned number;
	unsigned chosen[BACKENDS];
	unsigned refused;
	unsigned wrong;
	atomic_bool *stop;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct rng rng = {.state = r->number};

	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint8_t bytes[4] = {10, (uint8_t)r->number, (uint8_t)(i >> 8), (uint8_t)i};
		struct ip client = ip_from_v4(bytes);
		struct policy_query q = {
			.table = r->f->table,
			.affinity = r->f->affinity,
			.service = r->f->service,
			.client = &client,
			.place = &r->f->place,
			.now_ms = 1,
			.rng = &rng,
		};
		struct choice c;
		int err = policy_choose(&q, &c);

		if (err == 0) {
			r->chosen[c.backend - r->f->table->backends]++;
			affinity_put(r->f->affinity, &client, r->f->service->key, c.binding, 1);
		} else {
			r->wrong += err != -EAGAIN;
			r->refused++;
		}
	}
	return NULL;
}

static void *watch(void *arg)
{
	struct racer *r = arg;

	while (!atomic_load(r->stop)) {
		for (uint32_t i = 0; i < BACKENDS; i++)
			r->wrong += live_connections(r->f->live, r->f->table->backends[i].slot) >
			            LIMIT;
	}
	return NULL;
}

/* More clients than places: every place is taken, by exactly one, and the rest are refused. */
static void test_races_fill_exactly_to_the_limits(void **state)
{
	struct fixture *f = *state;
	struct racer racer[THREADS + 1];
	pthread_t thread[THREADS + 1];
	atomic_bool stop = false;
	unsigned chosen[BACKENDS] = {0};
	unsigned refused = 0;
	char id[16];

	for (int i = 0; i < BACKENDS; i++) {
		snprintf(id, sizeof(id), "b%d", i);
		add(f, row_with(id, i < 3 ? "sa" : "us", LIMIT));
	}
	make(f);
	for (unsigned i = 0; i <= THREADS; i++) {
		racer[i] = (struct racer){.f = f, .number = i, .stop = &stop};
		assert_int_equal(
			pthread_create(&thread[i], NULL, i < THREADS ? race : watch, &racer[i]), 0);
	}
	for (unsigned i = 0; i <= THREADS; i++) {
		if (i == THREADS)
			atomic_store(&stop, true);
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(racer[i].wrong, 0);
		refused += racer[i].refused;
		for (int k = 0; k < BACKENDS; k++)
			chosen[k] += racer[i].chosen[k];
	}
	for (int k = 0; k < BACKENDS; k++) {
		assert_int_equal(chosen[k], LIMIT);
		assert_int_equal(live_connections(f->live, f->table->backends[k].slot), LIMIT);
	}
	assert_int_equal(refused, THREADS * CLIENTS - BACKENDS * LIMIT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_overrides_come_first),
		TEST(test_special_ranges_have_no_country),
		TEST(test_database),
		TEST(test_unknown_is_no_region),
		TEST(test_the_balancer_chooses_and_a_place_is_taken),
		TEST(test_affinity_goes_first),
		TEST(test_affinity_ends_with_its_time),
		TEST(test_affinity_to_unhealthy),
		TEST(test_affinity_to_deleted),
		TEST(test_affinity_to_draining),
		TEST(test_affinity_to_weightless),
		TEST(test_affinity_to_other_app),
		TEST(test_affinity_to_one_that_is_gone),
		TEST(test_affinity_to_a_slot_of_another),
		TEST(test_affinity_to_one_that_was_tried),
		TEST(test_without_an_affinity_table),
		TEST(test_a_service_of_every_app),
		TEST(test_none_takes_clients),
		TEST(test_all_full_or_tried),
		TEST(test_affinity_in_the_grace_of_a_drain),
		TEST(test_trials_are_taken),
		TEST(test_panic),
		TEST(test_panic_before_it_is_declared),
		TEST(test_races_fill_exactly_to_the_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
