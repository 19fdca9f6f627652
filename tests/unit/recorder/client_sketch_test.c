/* The sketch against exact counts: its error bound for any input, decay, prefixes, takeovers. */
#include "recorder/client_sketch.h"

#include "base/rng.h"
#include "route/live.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HALF_LIFE_MS 1000
#define KEYS 2000

static struct client_seen seen_of(unsigned key)
{
	const uint8_t bytes[4] = {10, (uint8_t)(key >> 8), (uint8_t)key, 7};

	return (struct client_seen){
		.client = ip_from_v4(bytes), .service = 1, .slot = key, .country = "BR"};
}

/* The key that an entry is about. */
static unsigned key_of(const struct client_entry *e)
{
	return (unsigned)e->prefix.ip.b[13] << 8 | e->prefix.ip.b[14];
}

/* Skewed: key k comes with a chance of about 1/k. */
static unsigned draw(struct rng *rng)
{
	double u = (double)(rng_next(rng) >> 11) * 0x1p-53;

	return (unsigned)(pow(KEYS, u)) - 1;
}

/* Whatever comes, at whatever times: the promises of the header hold. */
static void bounds_hold_for(uint64_t seed, size_t entries, uint64_t step_ms)
{
	struct client_sketch *s = client_sketch_new(entries, HALF_LIFE_MS, seed);
	struct rng rng = {.state = seed};
	double *exact = calloc(KEYS, sizeof(*exact));
	bool *has = calloc(KEYS, sizeof(*has));
	uint64_t now_ms = 5;
	double total = 0, bound;

	for (int i = 0; i < 20000; i++) {
		struct client_seen seen;
		unsigned key = draw(&rng);
		uint64_t step = rng_below(&rng, step_ms + 1);
		double decay = exp2(-(double)step / HALF_LIFE_MS);

		now_ms += step;
		for (unsigned k = 0; step > 0 && k < KEYS; k++)
			exact[k] *= decay;
		total = total * decay + 1;
		exact[key] += 1;
		seen = seen_of(key);
		client_sketch_note(s, &seen, now_ms);
	}
	bound = total / (double)entries;
	assert_true(fabs(client_sketch_total(s, now_ms) - total) < 1e-6 * total);
	assert_true(client_sketch_count(s) <= entries);
	for (size_t i = 0; i < client_sketch_count(s); i++) {
		struct client_entry e = client_sketch_entry(s, i, now_ms);
		double truth = exact[key_of(&e)];

		assert_false(has[key_of(&e)]);
		has[key_of(&e)] = true;
		assert_true(e.weight >= truth - 1e-6 * total);
		assert_true(e.weight <= truth + e.error + 1e-6 * total);
		assert_true(e.error <= bound + 1e-6 * total);
	}
	for (unsigned k = 0; k < KEYS; k++)
		assert_true(has[k] || exact[k] <= bound + 1e-6 * total);
	free(exact);
	free(has);
	client_sketch_free(s);
}

static void bounds_hold(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		bounds_hold_for(seed, 1, 0);
		bounds_hold_for(seed, 64, 0);
		bounds_hold_for(seed, 500, 0);
	}
	bounds_hold_for(9, 64, 1);
	bounds_hold_for(10, 300, 1);
}

static void decays_by_half(void **state)
{
	struct client_sketch *s = client_sketch_new(4, HALF_LIFE_MS, 1);
	struct client_seen seen = seen_of(3);

	(void)state;
	for (int i = 0; i < 8; i++)
		client_sketch_note(s, &seen, 1000);
	assert_true(fabs(client_sketch_entry(s, 0, 1000).weight - 8) < 1e-9);
	assert_true(fabs(client_sketch_entry(s, 0, 2000).weight - 4) < 1e-9);
	assert_true(fabs(client_sketch_total(s, 4000) - 1) < 1e-9);
	/* Long silences, far beyond what a double can raise two to. */
	client_sketch_note(s, &seen, 1000 + 5000 * HALF_LIFE_MS);
	assert_true(fabs(client_sketch_entry(s, 0, 1000 + 5000 * HALF_LIFE_MS).weight - 1) < 1e-9);
	assert_true(fabs(client_sketch_total(s, 1000 + 5000 * HALF_LIFE_MS) - 1) < 1e-9);
	client_sketch_free(s);
}

static void prefixes_and_services_are_told_apart(void **state)
{
	static const struct {
		const char *client;
		uint32_t service;
	} all[] = {{"192.0.2.1", 1},    {"192.0.2.200", 1}, {"192.0.3.1", 1},
	           {"192.0.2.1", 2},    {"2001:db8::1", 1}, {"2001:db8:0:ffff::1", 1},
	           {"2001:db8:1::1", 1}};
	struct client_sketch *s = client_sketch_new(16, HALF_LIFE_MS, 1);
	char text[PREFIX_TEXT_MAX];
	struct client_entry e;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct client_seen seen = {.service = all[i].service, .slot = LIVE_NO_SLOT};

		assert_int_equal(ip_parse(all[i].client, &seen.client), 0);
		client_sketch_note(s, &seen, 1);
	}
	assert_int_equal(client_sketch_count(s), 5);
	e = client_sketch_entry(s, 0, 1);
	assert_string_equal(prefix_format(&e.prefix, text), "192.0.2.0/24");
	assert_true(fabs(e.weight - 2) < 1e-9);
	e = client_sketch_entry(s, 3, 1);
	assert_string_equal(prefix_format(&e.prefix, text), "2001:db8::/48");
	client_sketch_free(s);
}

static void the_backend_is_that_of_the_latest_who_got_one(void **state)
{
	struct client_sketch *s = client_sketch_new(1, HALF_LIFE_MS, 1);
	struct client_seen seen = seen_of(5);

	(void)state;
	seen.slot = 42;
	seen.generation = 7;
	client_sketch_note(s, &seen, 1);
	seen.slot = LIVE_NO_SLOT;
	client_sketch_note(s, &seen, 2);
	assert_int_equal(client_sketch_entry(s, 0, 2).latest.slot, 42);
	assert_int_equal(client_sketch_entry(s, 0, 2).latest.generation, 7);
	assert_int_equal(client_sketch_entry(s, 0, 2).latest_ms, 2);
	/* Whoever takes the entry over has not had it. */
	seen = seen_of(6);
	seen.slot = LIVE_NO_SLOT;
	client_sketch_note(s, &seen, 3);
	assert_int_equal(client_sketch_entry(s, 0, 3).latest.slot, LIVE_NO_SLOT);
	assert_true(client_sketch_entry(s, 0, 3).error > 1.9);
	client_sketch_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(decays_by_half),
		cmocka_unit_test(prefixes_and_services_are_told_apart),
		cmocka_unit_test(the_backend_is_that_of_the_latest_who_got_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
