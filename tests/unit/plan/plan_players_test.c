/* Who decides how often, and with what load; and which clients are of one class. */
#include "plan/plan_players.h"

#include "geo/special.h"
#include "plan_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS_MAX 8

struct fixture {
	struct route_rows rows[PLAN_SIDES];
	struct plan_client clients[CLIENTS_MAX];
	struct plan_input input;
	struct plan_world worlds[PLAN_SIDES];
	struct plan_result result;
	struct plan_players players;
};

static int setup(void **state)
{
	static struct fixture f;

	special_init();
	memset(&f, 0, sizeof(f));
	plan_fixture_init(f.rows, &f.input);
	f.input.clients = f.clients;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	plan_players_done(&f->players);
	plan_result_done(&f->result);
	for (int side = 0; side < PLAN_SIDES; side++)
		plan_world_done(&f->worlds[side]);
	plan_fixture_done(f->rows);
	return 0;
}

static void add(struct fixture *f, const char *id, const char *app)
{
	struct backend_row row = fixture_backend(id, app, "sa");

	for (int side = 0; side < PLAN_SIDES; side++)
		assert_int_equal(route_rows_add_backend(&f->rows[side], &row), 0);
}

static void come(struct fixture *f, const char *client, const char *backend, double weight)
{
	struct plan_client *c = &f->clients[f->input.client_count++];

	*c = (struct plan_client){.listen = f->input.listen, .backend = backend, .weight = weight};
	assert_int_equal(ip_parse(client, &c->client), 0);
}

/* 10.1.0.0/16 is in eu, on one side. */
static void move_place(struct fixture *f, enum plan_side side)
{
	struct geo_override_row row = {.region = "eu"};

	assert_int_equal(prefix_parse("10.1.0.0/16", &row.prefix), 0);
	assert_int_equal(route_rows_add_override(&f->rows[side], &row), 0);
}

static const struct plan_players *play(struct fixture *f, double scale)
{
	for (int side = 0; side < PLAN_SIDES; side++)
		assert_int_equal(plan_world_init(&f->worlds[side], &f->input, (enum plan_side)side,
		                                 scale),
		                 0);
	assert_int_equal(plan_result_init(&f->result, &f->input), 0);
	assert_int_equal(plan_players_init(&f->players, &f->input, f->worlds, &f->result, scale),
	                 0);
	return &f->players;
}

static const struct plan_player *player(const struct fixture *f, uint32_t client)
{
	for (size_t i = 0; i < f->players.count; i++)
		if (f->players.all[i].client == client)
			return &f->players.all[i];
	fail_msg("no player for client %u", client);
	return NULL;
}

static void is(double value, double wanted)
{
	if (fabs(value - wanted) > 1e-9)
		fail_msg("%f is not %f", value, wanted);
}

static void turns_are_shares(void **state)
{
	struct fixture *f = *state;
	const struct plan_players *p;
	uint32_t seen[2] = {0};
	size_t changes = 0;

	come(f, "10.1.0.1", NULL, 3);
	come(f, "10.2.0.1", NULL, 1);
	p = play(f, 1);
	is(p->weight, 4);
	assert_int_equal(p->count, 2);
	assert_int_equal(player(f, 0)->turns, PLAN_DECISIONS * 3 / 4 + 1);
	assert_int_equal(player(f, 1)->turns, PLAN_DECISIONS / 4 + 1);
	is(player(f, 0)->turn_weight * player(f, 0)->turns, 0.75);
	for (size_t i = 0; i < p->turn_count; i++) {
		seen[p->turns[i]]++;
		changes += i > 0 && p->turns[i] != p->turns[i - 1];
	}
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(seen[i], p->all[i].turns);
	/* Shuffled: not one after the other. */
	assert_true(changes > PLAN_DECISIONS / 8);
}

static void who_hardly_weighs_has_a_turn(void **state)
{
	struct fixture *f = *state;

	come(f, "10.1.0.1", NULL, 1e9);
	come(f, "10.2.0.1", NULL, 1);
	play(f, 1);
	assert_int_equal(player(f, 1)->turns, 1);
}

static void an_app_s_connections_are_its_clients(void **state)
{
	static const struct plan_live live[] = {
		{.id = "a1", .connections = 30, .weight_percent = 100},
		{.id = "a2", .connections = 10, .weight_percent = 100},
		{.id = "b1", .connections = 5, .weight_percent = 100},
	};
	struct fixture *f = *state;

	add(f, "a1", "a");
	add(f, "a2", "a");
	add(f, "b1", "b");
	f->input.live = live;
	f->input.live_count = 3;
	come(f, "10.1.0.1", "a1", 3);
	come(f, "10.2.0.1", "b1", 8);
	come(f, "10.3.0.1", "a2", 1);
	come(f, "10.4.0.1", NULL, 4);
	come(f, "10.5.0.1", "gone", 4);
	play(f, 2);
	is(player(f, 0)->turn_load * player(f, 0)->turns, 2 * 30);
	is(player(f, 1)->turn_load * player(f, 1)->turns, 2 * 5);
	is(player(f, 2)->turn_load * player(f, 2)->turns, 2 * 10);
	is(player(f, 3)->turn_load, 0);
	is(player(f, 4)->turn_load, 0);
}

static void a_class_has_the_same_place_on_both_sides(void **state)
{
	struct fixture *f = *state;
	const struct plan_players *p;

	come(f, "10.1.0.1", NULL, 1);
	come(f, "10.2.0.1", NULL, 1);
	come(f, "10.1.0.2", NULL, 1);
	move_place(f, PLAN_THEN);
	p = play(f, 1);
	assert_int_equal(p->class_count, 2);
	assert_int_equal(player(f, 0)->class, player(f, 2)->class);
	assert_int_not_equal(player(f, 0)->class, player(f, 1)->class);
	for (size_t i = 1; i < p->count; i++)
		assert_true(p->all[i - 1].class <= p->all[i].class);
}

static void nobody_plays_where_nobody_comes(void **state)
{
	struct fixture *f = *state;
	const struct plan_players *p = play(f, 1);

	assert_true(p->count == 0 && p->turn_count == 0 && p->class_count == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(turns_are_shares, setup, teardown),
		cmocka_unit_test_setup_teardown(who_hardly_weighs_has_a_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(an_app_s_connections_are_its_clients, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_class_has_the_same_place_on_both_sides, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(nobody_plays_where_nobody_comes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
