/* Two worlds and what moves between them: shares, limits, scores, bindings, and that nothing moves
 * where nothing has changed. */
#include "plan/plan_compare.h"

#include "plan_fixture.h"
#include "route/live.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS_MAX 64

struct fixture {
	struct route_rows rows[PLAN_SIDES];
	struct plan_client clients[CLIENTS_MAX];
	struct plan_live live[8];
	struct plan_input input;
	struct plan_result result;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	plan_fixture_init(f.rows, &f.input);
	f.input.clients = f.clients;
	f.input.live = f.live;
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

static struct backend_row *add(struct fixture *f, enum plan_side side, const char *id,
                               const char *region)
{
	struct backend_row row = fixture_backend(id, "app", region);

	assert_int_equal(route_rows_add_backend(&f->rows[side], &row), 0);
	return &f->rows[side].backends[f->rows[side].backend_count - 1];
}

/* Clients of a region, by an override on both sides. */
static void come(struct fixture *f, const char *cidr, const char *client, const char *country,
                 const char *region, const char *backend, double weight)
{
	struct geo_override_row row = {.region = region};
	struct plan_client *c = &f->clients[f->input.client_count++];

	memcpy(row.country, country, strlen(country) + 1);
	assert_int_equal(prefix_parse(cidr, &row.prefix), 0);
	for (int side = 0; side < PLAN_SIDES; side++)
		assert_int_equal(route_rows_add_override(&f->rows[side], &row), 0);
	*c = (struct plan_client){.listen = f->input.listen, .backend = backend, .weight = weight};
	assert_int_equal(ip_parse(client, &c->client), 0);
}

static void has(struct fixture *f, const char *id, uint32_t connections, unsigned faults)
{
	f->live[f->input.live_count++] = (struct plan_live){
		.id = id, .connections = connections, .faults = faults, .weight_percent = 100};
}

static const struct plan_result *compare(struct fixture *f)
{
	plan_result_done(&f->result);
	assert_int_equal(plan_compare(&f->input, &f->result), 0);
	return &f->result;
}

static void is(double value, double wanted)
{
	if (fabs(value - wanted) > 0.02)
		fail_msg("%f is not %f", value, wanted);
}

static const struct plan_backend *backend(const struct plan_result *r, const char *id)
{
	for (size_t i = 0; i < r->backend_count; i++)
		if (strcmp(r->backends[i].id, id) == 0)
			return &r->backends[i];
	fail_msg("no backend %s", id);
	return NULL;
}

static void three_backends(struct fixture *f)
{
	for (int side = 0; side < PLAN_SIDES; side++) {
		add(f, (enum plan_side)side, "a1", "sa");
		add(f, (enum plan_side)side, "a2", "sa");
		add(f, (enum plan_side)side, "e1", "eu");
	}
	come(f, "10.1.0.0/16", "10.1.0.1", "BR", "sa", "a1", 6);
	come(f, "10.2.0.0/16", "10.2.0.1", "DE", "eu", "e1", 2);
}

static void nothing_moves_where_nothing_changes(void **state)
{
	struct fixture *f = *state;
	const struct plan_result *r;

	three_backends(f);
	r = compare(f);
	assert_true(r->moved == 0 && r->move_count == 0 && r->newly_unserved == 0);
	is(backend(r, "a1")->share[PLAN_NOW], 0.375);
	is(backend(r, "e1")->share[PLAN_THEN], 0.25);
	is(r->bindings_kept, 1);
	has(f, "a1", 5, 0);
	has(f, "e1", 3, 0);
	r = compare(f);
	assert_true(r->moved == 0 && r->move_count == 0);
	is(backend(r, "a1")->expected[PLAN_NOW], 3);
	is(backend(r, "e1")->expected[PLAN_NOW], 2);
}

static void a_backend_that_goes_gives_its_clients_to_the_next(void **state)
{
	struct fixture *f = *state;
	const struct plan_result *r;

	three_backends(f);
	f->rows[PLAN_THEN].backends[2].healthy = false;
	r = compare(f);
	is(r->moved, 0.25);
	is(r->bindings_lost, 0.25);
	is(r->bindings_kept, 0.75);
	assert_int_equal(r->move_count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_string_equal(r->moves[i].country, "DE");
		assert_string_equal(r->backends[r->moves[i].from].id, "e1");
		is(r->moves[i].share, 0.125);
	}
	is(r->scores[PLAN_NOW][0], 1);
	is(r->scores[PLAN_THEN][0], 0.75);
	is(r->scores[PLAN_THEN][1], 0.25);
	assert_string_equal(r->countries[0].country, "BR");
	is(r->countries[1].moved, 0.25);
	is(r->countries[1].score[PLAN_THEN], 1);
	assert_false(r->would_be_held);
}

static void weights_and_limits_are_shares_under_load(void **state)
{
	struct fixture *f = *state;
	const struct plan_result *r;

	three_backends(f);
	has(f, "a1", 36, 0); /* 27 of them in sa, where each has room for 10 or at most 20 */
	f->rows[PLAN_THEN].backends[0].weight = 3;
	r = compare(f);
	is(backend(r, "a1")->expected[PLAN_NOW], 13.5);
	assert_true(backend(r, "a1")->passes_soft[PLAN_NOW]);
	/* Three times the weight: three times the connections, as far as the hard limit goes. */
	is(backend(r, "a1")->expected[PLAN_THEN], 20);
	is(backend(r, "a2")->expected[PLAN_THEN], 7);
	assert_true(backend(r, "a1")->reaches_hard[PLAN_THEN]);
	assert_false(backend(r, "a1")->reaches_hard[PLAN_NOW]);
	assert_false(backend(r, "a2")->passes_soft[PLAN_THEN]);
}

static void who_finds_no_room_is_unserved(void **state)
{
	struct fixture *f = *state;
	const struct plan_result *r;

	three_backends(f);
	has(f, "a1", 56, 0);
	r = compare(f);
	is(r->unserved[PLAN_NOW], 0);
	f->rows[PLAN_THEN].backends[1].hard_limit = 5;
	f->rows[PLAN_THEN].backends[0].hard_limit = 10;
	f->rows[PLAN_THEN].backends[2].hard_limit = 15;
	r = compare(f);
	assert_true(r->newly_unserved > 0.3);
	is(r->newly_unserved, r->unserved[PLAN_THEN]);
	is(backend(r, "e1")->expected[PLAN_THEN], 15);
}

static void faults_of_now_count_on_both_sides(void **state)
{
	struct fixture *f = *state;
	const struct plan_result *r;

	three_backends(f);
	has(f, "a1", 0, LIVE_EJECTED);
	r = compare(f);
	is(backend(r, "a1")->share[PLAN_NOW], 0);
	is(backend(r, "a2")->share[PLAN_THEN], 0.75);
	is(r->bindings_unknown, 0.75);
	/* In panic faults are not believed. */
	f->input.panic_percent = 90;
	r = compare(f);
	is(backend(r, "a1")->share[PLAN_NOW], 0.375);
}

static void rules_listeners_and_half_of_all(void **state)
{
	struct fixture *f = *state;
	struct access_rule_row rule = {
		.id = "no", .match = ACCESS_COUNTRY, .country = "DE", .allow = false};
	struct service_row service = {.listen = fixture_endpoint(9090), .app = "app"};
	const struct plan_result *r;

	three_backends(f);
	assert_int_equal(route_rows_add_access_rule(&f->rows[PLAN_THEN], &rule), 0);
	assert_int_equal(route_rows_add_service(&f->rows[PLAN_NOW], &service), 0);
	f->clients[0].listen = service.listen;
	f->rows[PLAN_THEN].backends[0].state = STATE_MAINT;
	f->rows[PLAN_THEN].backends[1].weight = 0;
	r = compare(f);
	is(r->denied[PLAN_THEN], 0.25);
	is(r->not_listening[PLAN_THEN], 0.75);
	is(r->not_listening[PLAN_NOW], 0);
	is(r->newly_unserved, 1);
	is(r->bindings_lost, 1);
	assert_true(r->would_be_held);
}

static void no_clients_are_no_error(void **state)
{
	struct fixture *f = *state;
	const struct plan_result *r = compare(f);

	assert_int_equal(r->backend_count, 0);
	add(f, PLAN_THEN, "new", "sa");
	r = compare(f);
	assert_true(r->moved == 0 && r->backend_count == 1);
	assert_null(r->backends[0].row[PLAN_NOW]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_moves_where_nothing_changes, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_backend_that_goes_gives_its_clients_to_the_next,
	                                        setup, teardown),
		cmocka_unit_test_setup_teardown(weights_and_limits_are_shares_under_load, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(who_finds_no_room_is_unserved, setup, teardown),
		cmocka_unit_test_setup_teardown(faults_of_now_count_on_both_sides, setup, teardown),
		cmocka_unit_test_setup_teardown(rules_listeners_and_half_of_all, setup, teardown),
		cmocka_unit_test_setup_teardown(no_clients_are_no_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
