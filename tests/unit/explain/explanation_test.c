/* An explanation says what the policy would do, and leaves everything as it was. */
#include "explain/explanation.h"

#include "../route/rows_fixture.h"
#include "explain/explanation_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS 5000

struct fixture {
	struct live *live;
	struct route_rows rows;
	struct table *table;
	struct affinity *affinity;
	struct service *service;
	struct queue *queue;
	struct client_limits *limits; /* NULL: none */
	struct ip client;
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
	f.queue = queue_new(10, 1);
	route_rows_init(&f.rows);
	*state = &f;
	return f.live == NULL || f.affinity == NULL || f.service == NULL || f.queue == NULL ||
	       ip_parse("203.0.113.9", &f.client) < 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	table_unref(f->table);
	route_rows_done(&f->rows);
	affinity_free(f->affinity);
	queue_free(f->queue);
	client_limits_free(f->limits);
	service_unref(f->service);
	live_free(f->live);
	return 0;
}

static void add(struct fixture *f, const char *id, const char *region, uint32_t hard_limit)
{
	struct backend_row row = fixture_backend(id, "web", region);

	row.hard_limit = hard_limit;
	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
}

static void make(struct fixture *f)
{
	const struct table_options options = {
		.local_region = "sa", .services = &f->service, .service_count = 1};

	assert_int_equal(table_new(&f->rows, &options, f->live, &f->table), 0);
}

static uint32_t slot_of(const struct fixture *f, const char *id)
{
	for (uint32_t i = 0; i < f->table->backend_count; i++)
		if (strcmp(f->table->backends[i].id, id) == 0)
			return f->table->backends[i].slot;
	fail_msg("no backend %s", id);
	return 0;
}

static struct explanation ask(const struct fixture *f)
{
	struct explanation e;

	assert_int_equal(explain(&(struct explain_query){.table = f->table,
	                                                 .service = f->service,
	                                                 .client = &f->client,
	                                                 .now_ms = NOW_MS,
	                                                 .seed = 1,
	                                                 .affinity = f->affinity,
	                                                 .queue = f->queue,
	                                                 .limits = f->limits,
	                                                 .may_wait = true},
	                         &e),
	                 0);
	return e;
}

static void bind_to(struct fixture *f, const char *id)
{
	uint32_t slot = slot_of(f, id);

	affinity_put(f->affinity, &f->client, f->service->key,
	             (struct binding){slot, live_generation(f->live, slot)}, NOW_MS);
}

static void assert_winner(const struct fixture *f, const char *id)
{
	struct explanation e = ask(f);

	assert_int_equal(e.error, 0);
	assert_string_equal(e.winner->id, id);
	explanation_done(&e);
}

static void the_best_wins_and_nothing_is_taken(void **state)
{
	struct fixture *f = *state;

	add(f, "sa", "sa", 1);
	add(f, "us", "us", 1);
	make(f);
	for (int i = 0; i < 3; i++)
		assert_winner(f, "sa");
	assert_int_equal(live_connections(f->live, slot_of(f, "sa")), 0);
	assert_int_equal(affinity_counts(f->affinity).misses, 0);
	assert_true(live_reserve(f->live, slot_of(f, "sa"), 1));
	assert_winner(f, "us");
	live_release(f->live, slot_of(f, "sa"));
}

static void a_binding_goes_first_and_is_not_used(void **state)
{
	struct fixture *f = *state;
	struct binding b;
	struct explanation e;

	add(f, "sa", "sa", 2);
	add(f, "us", "us", 2);
	make(f);
	bind_to(f, "us");
	e = ask(f);
	assert_string_equal(e.winner->id, "us");
	assert_string_equal(e.bound->id, "us");
	assert_true(e.from_affinity);
	explanation_done(&e);
	assert_int_equal(affinity_counts(f->affinity).hits, 0);
	/* It expires as if nobody had looked. */
	assert_true(affinity_peek(f->affinity, &f->client, f->service->key, NOW_MS + 999, &b));
	assert_false(affinity_peek(f->affinity, &f->client, f->service->key, NOW_MS + 1000, &b));
	affinity_forget(f->affinity, &f->client, f->service->key);
	affinity_forget(f->affinity, &f->client, f->service->key);
	assert_int_equal(affinity_counts(f->affinity).entries, 0);
	assert_winner(f, "sa");
}

static void trials_are_left_for_clients(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	add(f, "sa", "sa", 2);
	add(f, "us", "us", 2);
	make(f);
	slot = slot_of(f, "sa");
	live_set_fault(f->live, slot, LIVE_EJECTED, true);
	assert_winner(f, "us");
	live_set_trials(f->live, slot, 1);
	for (int i = 0; i < 3; i++)
		assert_winner(f, "sa");
	assert_true(live_admit(f->live, slot));
	assert_winner(f, "us");
}

static void where_all_are_full_it_would_wait(void **state)
{
	struct fixture *f = *state;
	struct explanation e;
	char why[WHY_MAX];

	add(f, "sa", "sa", 1);
	make(f);
	assert_true(live_reserve(f->live, slot_of(f, "sa"), 1));
	e = ask(f);
	assert_int_equal(e.error, -EAGAIN);
	assert_null(e.winner);
	assert_non_null(strstr(explanation_why(&e, why), "would wait in the queue, behind 0"));
	explanation_done(&e);
	live_release(f->live, slot_of(f, "sa"));
}

/* A free place is the waiter's, not the next client's. */
static void nobody_overtakes_who_waits(void **state)
{
	struct fixture *f = *state;
	struct waiter w = {.app = "web"};
	struct explanation e;

	add(f, "sa", "sa", 1);
	make(f);
	assert_int_equal(queue_join(f->queue, &w), 0);
	e = ask(f);
	assert_int_equal(e.error, -EAGAIN);
	assert_int_equal(e.waiting, 1);
	explanation_done(&e);
	assert_int_equal(queue_leave(f->queue, &w), LIVE_NO_SLOT);
	assert_winner(f, "sa");
}

/* Before any backend is looked at, and after the access rules. */
static void who_is_at_his_limit_is_refused(void **state)
{
	struct fixture *f = *state;
	struct explanation e;
	char why[WHY_MAX];

	f->limits = client_limits_new(&(struct client_limits_options){
		.max_entries = 10, .max_conn = 1, .v4_bits = 32, .v6_bits = 64});
	assert_non_null(f->limits);
	add(f, "sa", "sa", 1);
	make(f);
	assert_winner(f, "sa");
	assert_int_equal(client_limits_enter(f->limits, &f->client, 0), CLIENT_COUNTED);
	e = ask(f);
	assert_int_equal(e.error, -EDQUOT);
	assert_null(e.winner);
	assert_int_equal(e.connections, 1);
	assert_non_null(strstr(explanation_why(&e, why), "client-conn-limit"));
	explanation_done(&e);
	client_limits_leave(f->limits, &f->client);
	assert_winner(f, "sa");
}

static void any_id_is_good_json(void **state)
{
	struct fixture *f = *state;
	struct explain_sources sources = {.db_path = "/tmp/\xff", .geoip_path = "", .most = 1};
	struct explanation e;
	json_t *json;
	char *text;

	add(f, "sa-\xff\xfe", "sa", 1);
	add(f, "us", "us", 1);
	make(f);
	e = ask(f);
	json = explanation_json(&e, &sources);
	assert_non_null(json);
	text = json_dumps(json, 0);
	assert_non_null(strstr(text, "\"winner\": \"sa-??\""));
	assert_int_equal(json_array_size(json_object_get(json, "backends")), 1);
	free(text);
	json_decref(json);
	explanation_done(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_best_wins_and_nothing_is_taken, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_binding_goes_first_and_is_not_used, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(trials_are_left_for_clients, setup, teardown),
		cmocka_unit_test_setup_teardown(where_all_are_full_it_would_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_overtakes_who_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_at_his_limit_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(any_id_is_good_json, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
