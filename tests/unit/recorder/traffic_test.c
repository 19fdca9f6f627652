/* The sums of the live page: countries, arcs, the window, and what happens when there are more arcs
 * than places. */
#include "recorder/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct traffic_arc arcs[TRAFFIC_ARCS_MAX];
static struct traffic_country countries[TRAFFIC_COUNTRIES];

static void note(struct traffic *t, const char *country, uint32_t slot, unsigned score, int times)
{
	struct flight_record r = {
		.kind = FLIGHT_ROUTED,
		.slot = slot,
		.generation = 1,
		.country = {country[0], country[0] != '\0' ? country[1] : '\0'},
		.region_score = (uint8_t)score,
	};

	while (times-- > 0)
		traffic_note(t, &r);
}

static uint64_t all_arcs(const struct traffic *t)
{
	uint64_t sum;
	size_t count = traffic_arcs(t, arcs, TRAFFIC_ARCS_MAX, &sum);

	for (size_t i = 0; i < count; i++)
		sum += arcs[i].clients;
	return sum;
}

static void sums_by_country_and_arc(void **state)
{
	struct traffic *t = traffic_new(1000);
	uint64_t rest;

	(void)state;
	note(t, "BR", 1, 0, 3);
	note(t, "BR", 2, 0, 1);
	note(t, "US", 1, 1, 5);
	note(t, "US", 1, 2, 2); /* another score: another arc */
	note(t, "", 1, 1, 1);
	note(t, "1!", 1, 1, 1); /* no country's letters */
	assert_int_equal(traffic_countries(t, countries, 10, &rest), 3);
	assert_int_equal(rest, 0);
	assert_string_equal(countries[0].country, "US");
	assert_int_equal(countries[0].clients, 7);
	assert_string_equal(countries[1].country, "BR");
	assert_string_equal(countries[2].country, "");
	assert_int_equal(countries[2].clients, 2);
	assert_int_equal(traffic_arcs(t, arcs, 2, &rest), 2);
	assert_int_equal(rest, 5);
	assert_string_equal(arcs[0].country, "US");
	assert_int_equal(arcs[0].region_score, 1);
	assert_int_equal(arcs[0].clients, 5);
	assert_string_equal(arcs[1].country, "BR");
	assert_int_equal(arcs[1].slot, 1);
	assert_int_equal(traffic_countries(t, countries, 1, &rest), 1);
	assert_int_equal(rest, 6);
	traffic_free(t);
}

/* A slot given to another backend is another arc. */
static void tells_generations_apart(void **state)
{
	struct traffic *t = traffic_new(0);
	struct flight_record r = {.kind = FLIGHT_ROUTED, .slot = 4, .generation = 1};
	uint64_t rest;

	(void)state;
	traffic_note(t, &r);
	r.generation = 2;
	traffic_note(t, &r);
	assert_int_equal(traffic_arcs(t, arcs, 10, &rest), 2);
	traffic_free(t);
}

static void counts_only_who_was_connected(void **state)
{
	struct traffic *t = traffic_new(0);
	struct flight_record r = {.kind = FLIGHT_FAILED, .country = {'B', 'R'}};
	uint64_t rest;

	(void)state;
	traffic_note(t, &r);
	r.kind = FLIGHT_ENDED;
	traffic_note(t, &r);
	assert_int_equal(traffic_countries(t, countries, 10, &rest), 0);
	assert_int_equal(traffic_arcs(t, arcs, 10, &rest), 0);
	traffic_free(t);
}

static void forgets_what_left_the_window(void **state)
{
	struct traffic *t = traffic_new(0);
	uint64_t rest;

	(void)state;
	note(t, "BR", 1, 0, 3);
	for (uint64_t now = 0; now < TRAFFIC_WINDOW_MS; now += TRAFFIC_STEP_MS) {
		traffic_tick(t, now);
		assert_int_equal(all_arcs(t), now == 0 ? 3 : 4);
		if (now == 0)
			note(t, "BR", 1, 0, 1);
	}
	traffic_tick(t, TRAFFIC_WINDOW_MS);
	assert_int_equal(all_arcs(t), 0);
	assert_int_equal(traffic_countries(t, countries, 10, &rest), 0);
	note(t, "BR", 1, 0, 2);
	traffic_tick(t, TRAFFIC_WINDOW_MS + TRAFFIC_STEP_MS);
	note(t, "BR", 1, 0, 1);
	traffic_tick(t, UINT64_C(2) * TRAFFIC_WINDOW_MS);
	assert_int_equal(all_arcs(t), 1); /* the older step is gone, the later is not */
	traffic_tick(t, UINT64_C(100) * TRAFFIC_WINDOW_MS); /* slept for long */
	assert_int_equal(all_arcs(t), 0);
	traffic_free(t);
}

/* More arcs than there is room for: nobody is lost from the sum, and those that matter stay. */
static void rare_arcs_give_way(void **state)
{
	struct traffic *t = traffic_new(0);
	uint64_t rest;

	(void)state;
	note(t, "BR", 7, 0, 1000);
	for (uint32_t slot = 100; slot < 100 + 20 * TRAFFIC_ARCS_MAX; slot++)
		note(t, "US", slot, 1, 1);
	assert_int_equal(all_arcs(t), 1000 + 20 * TRAFFIC_ARCS_MAX);
	assert_true(traffic_arcs(t, arcs, TRAFFIC_ARCS_MAX, &rest) <= TRAFFIC_ARCS_MAX);
	assert_true(rest >= 19 * TRAFFIC_ARCS_MAX);
	assert_int_equal(arcs[0].slot, 7);
	assert_int_equal(arcs[0].clients, 1000);
	traffic_tick(t, TRAFFIC_WINDOW_MS);
	assert_int_equal(all_arcs(t), 0);
	traffic_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_by_country_and_arc),
		cmocka_unit_test(tells_generations_apart),
		cmocka_unit_test(counts_only_who_was_connected),
		cmocka_unit_test(forgets_what_left_the_window),
		cmocka_unit_test(rare_arcs_give_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
