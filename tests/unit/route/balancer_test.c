/* The balancer: its terms against numbers worked out by hand, and its choice against a reference
 * that judges every backend, over thousands of random tables. */
#include "route/balancer.h"

#include "rows_fixture.h"

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
	struct table *table;
};

static int setup(void **state)
{
	static struct fixture f;

	f.live = live_new();
	f.table = NULL;
	route_rows_init(&f.rows);
	*state = &f;
	return f.live == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	table_unref(f->table);
	route_rows_done(&f->rows);
	live_free(f->live);
	return 0;
}

static void add(struct fixture *f, struct backend_row row, const char *country)
{
	snprintf(row.country, sizeof(row.country), "%s", country);
	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
}

static struct backend_row row_with(const char *id, const char *region, uint32_t weight,
                                   uint32_t soft_limit, uint32_t hard_limit)
{
	struct backend_row row = fixture_backend(id, "web", region);

	row.weight = weight;
	row.soft_limit = soft_limit;
	row.hard_limit = hard_limit;
	return row;
}

static void make(struct fixture *f, const char *local_region)
{
	struct table_options options = {.local_region = local_region};

	table_unref(f->table);
	f->table = NULL;
	assert_int_equal(table_new(&f->rows, &options, f->live, &f->table), 0);
}

static const struct backend *backend(const struct fixture *f, const char *id)
{
	for (uint32_t i = 0; i < f->table->backend_count; i++) {
		if (strcmp(f->table->backends[i].id, id) == 0)
			return &f->table->backends[i];
	}
	fail_msg("no backend %s", id);
	return NULL;
}

/* Sets a count to what would take too long to reserve one by one. */
static void set_connections(const struct fixture *f, const struct backend *b, uint32_t n)
{
	atomic_store((_Atomic uint32_t *)(uintptr_t)&live_counts(f->live)[b->slot], n);
}

static void load(const struct fixture *f, const char *id, uint32_t n)
{
	set_connections(f, backend(f, id), n);
}

static region_id region(const char *name)
{
	region_id id = REGION_NONE;

	assert_int_equal(region_intern(name, &id), 0);
	return id;
}

static struct balancer_query query(const char *country, const char *region_name_or_null)
{
	return (struct balancer_query){
		.app = "web",
		.country = country,
		.region = region_name_or_null == NULL ? REGION_NONE : region(region_name_or_null),
	};
}

static const char *pick(const struct fixture *f, const struct balancer_query *q)
{
	struct rng rng = {.state = 1};
	const struct backend *b = balancer_pick(f->table, q, &rng, NULL);

	return b == NULL ? "none" : b->id;
}

static void test_terms(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("BR", "sa");
	struct balancer_terms terms;

	add(f, row_with("br", "sa", 2, 10, 20), "BR");
	add(f, row_with("us", "us", 4, 8, 20), "US");
	add(f, row_with("eu", "eu", 1, 5, 20), "");
	make(f, "us");
	load(f, "br", 5);
	load(f, "us", 12);

	terms = balancer_judge(f->table, backend(f, "br"), &q);
	assert_int_equal(terms.exclusion, EXCLUDED_NOT);
	assert_int_equal(terms.region_score, 0);
	assert_int_equal(terms.connections, 5);
	assert_true(terms.load_factor == 0.5);
	assert_true(terms.score == 0.25);
	assert_true(terms.own_country);
	terms = balancer_judge(f->table, backend(f, "us"), &q);
	assert_int_equal(terms.region_score, 1);
	assert_true(terms.load_factor == 1.5);
	assert_true(terms.score == 100.375);
	assert_false(terms.own_country);
	terms = balancer_judge(f->table, backend(f, "eu"), &q);
	assert_int_equal(terms.region_score, 2);
	assert_true(terms.score == 200);

	/* Without a region nothing is near but the POP, and no country is the client's own. */
	q = query("BR", NULL);
	terms = balancer_judge(f->table, backend(f, "br"), &q);
	assert_int_equal(terms.region_score, 2);
	assert_false(terms.own_country);
	assert_string_equal(pick(f, &q), "us");

	/* The POP's region is the client's. */
	q = query("US", "us");
	assert_int_equal(balancer_judge(f->table, backend(f, "us"), &q).region_score, 0);

	/* No POP region either. */
	make(f, NULL);
	q = query("", NULL);
	for (uint32_t i = 0; i < f->table->backend_count; i++)
		assert_int_equal(balancer_judge(f->table, &f->table->backends[i], &q).region_score,
		                 2);
}

static void test_exclusions(void **state)
{
	static const char *const order[] = {"deleted",     "unhealthy",   "maint",
	                                    "drain",       "weight-0",    "other-app",
	                                    "agent-maint", "agent-drain", "check-down",
	                                    "agent-down",  "ejected",     "hard-limit",
	                                    "failed"};
	const int n = (int)(sizeof(order) / sizeof(order[0]));
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	struct backend_row row[13];
	struct tried tried;

	/* Each has its own defect and all those that come later in the list. */
	tried_init(&tried);
	for (int i = 0; i < n; i++) {
		row[i] = row_with(order[i], "sa", i <= 4 ? 0 : 1, 1, i <= 11 ? 1 : 2);
		row[i].deleted = i == 0;
		row[i].healthy = i > 1;
		row[i].state = i <= 2 ? STATE_MAINT : i == 3 ? STATE_DRAIN : STATE_READY;
		row[i].app = i <= 5 ? "ssh" : "web";
		add(f, row[i], "");
	}
	make(f, "sa");
	for (int i = 0; i < n; i++) {
		uint32_t slot = backend(f, order[i])->slot;

		assert_int_equal(tried_add(&tried, slot), 0);
		live_set_fault(f->live, slot, LIVE_AGENT_MAINT, i <= 6);
		live_set_fault(f->live, slot, LIVE_AGENT_DRAIN, i <= 7);
		live_set_fault(f->live, slot, LIVE_CHECK_DOWN, i <= 8);
		live_set_fault(f->live, slot, LIVE_AGENT_DOWN, i <= 9);
		live_set_fault(f->live, slot, LIVE_EJECTED, i <= 10);
		load(f, order[i], 1);
	}
	q.tried = &tried;
	for (int i = 0; i < n; i++) {
		enum exclusion e = balancer_judge(f->table, backend(f, order[i]), &q).exclusion;

		assert_string_equal(exclusion_word(e), order[i]);
	}
	assert_string_equal(exclusion_word(EXCLUDED_NOT), "");
	assert_string_equal(pick(f, &q), "none");
	q.tried = NULL;
	assert_string_equal(pick(f, &q), "failed");
	tried_done(&tried);
}

/* None is taken for another, and none has another word as a reason than it has as a fault. */
static void test_each_fault_is_a_reason(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	const struct backend *b;

	add(f, row_with("one", "sa", 1, 1, 10), "");
	make(f, "sa");
	b = backend(f, "one");
	for (unsigned bit = 0; bit < LIVE_FAULTS; bit++) {
		live_set_fault(f->live, b->slot, 1U << bit, true);
		assert_string_equal(exclusion_word(balancer_judge(f->table, b, &q).exclusion),
		                    live_fault_word(bit));
		live_set_fault(f->live, b->slot, 1U << bit, false);
	}
}

/* Panic does not believe suspicions; a backend's own word it does. */
static void test_panic_and_statements(void **state)
{
	static const struct {
		enum live_fault fault;
		const char *in_panic;
	} cases[] = {
		{LIVE_CHECK_DOWN, "one"},   {LIVE_EJECTED, "one"},      {LIVE_AGENT_DOWN, "one"},
		{LIVE_AGENT_DRAIN, "none"}, {LIVE_AGENT_MAINT, "none"},
	};
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");

	add(f, row_with("one", "sa", 1, 1, 10), "");
	make(f, "sa");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		live_set_fault(f->live, backend(f, "one")->slot, cases[i].fault, true);
		assert_string_equal(pick(f, &q), "none");
		for (uint32_t k = 0; k < f->table->pool_count; k++)
			atomic_store(&f->table->pools[k].panic, true);
		assert_string_equal(pick(f, &q), cases[i].in_panic);
		assert_int_equal(balancer_judge(f->table, backend(f, "one"), &q).exclusion ==
		                         EXCLUDED_NOT,
		                 strcmp(cases[i].in_panic, "one") == 0);
		for (uint32_t k = 0; k < f->table->pool_count; k++)
			atomic_store(&f->table->pools[k].panic, false);
		live_set_fault(f->live, backend(f, "one")->slot, cases[i].fault, false);
	}
}

static void test_no_pool(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");

	make(f, "sa");
	assert_string_equal(pick(f, &q), "none");
	q.app = NULL;
	assert_string_equal(pick(f, &q), "none");
}

static void test_nearest_region_goes_first(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");

	add(f, row_with("sa", "sa", 1, 10, 20), "");
	add(f, row_with("eu", "eu", 1, 10, 20), "");
	add(f, row_with("us", "us", 1, 10, 20), "");
	make(f, "us");
	assert_string_equal(pick(f, &q), "sa");
	load(f, "sa", 19); /* over its soft limit, and still nearer */
	assert_string_equal(pick(f, &q), "sa");
	load(f, "sa", 20);
	assert_string_equal(pick(f, &q), "us");
	load(f, "us", 20);
	assert_string_equal(pick(f, &q), "eu");
	load(f, "eu", 20);
	assert_string_equal(pick(f, &q), "none");
}

/* The formula is the rule even where it is odd: a score over 100 loses to the next region. */
static void test_a_region_can_lose(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");

	add(f, row_with("sa", "sa", 1, 1, 1000), "");
	add(f, row_with("us", "us", 1, 10, 20), "");
	make(f, "us");
	load(f, "sa", 99);
	assert_string_equal(pick(f, &q), "sa");
	load(f, "sa", 101);
	assert_string_equal(pick(f, &q), "us");
	load(f, "us", 20);
	assert_string_equal(pick(f, &q), "sa");

	/* At exactly 100 each is as good as the other. */
	load(f, "sa", 100);
	load(f, "us", 0);
	for (unsigned met = 0, seed = 0; met != 3; seed++) {
		struct rng rng = {.state = seed};

		assert_true(seed < 100);
		met |= strcmp(balancer_pick(f->table, &q, &rng, NULL)->id, "sa") == 0 ? 1 : 2;
	}
}

static void test_own_country(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("BR", "sa");
	struct balancer_terms terms;
	struct rng rng = {.state = 1};

	add(f, row_with("ar", "sa", 1, 10, 20), "AR");
	add(f, row_with("br1", "sa", 1, 10, 20), "BR");
	add(f, row_with("br2", "sa", 1, 10, 20), "BR");
	add(f, row_with("xx", "sa", 1, 10, 20), "");
	add(f, row_with("us", "us", 1, 10, 20), "BR");
	make(f, "us");
	load(f, "br1", 9);
	load(f, "br2", 8);
	assert_string_equal(pick(f, &q), "br2");
	assert_non_null(balancer_pick(f->table, &q, &rng, &terms));
	assert_true(terms.own_country);
	load(f, "br2", 10);
	assert_string_equal(pick(f, &q), "br1");
	load(f, "br1", 10); /* both at their soft limit: like all others */
	load(f, "ar", 1);
	assert_string_equal(pick(f, &q), "xx");
	load(f, "xx", 15);
	load(f, "ar", 15);
	load(f, "br1", 14);
	assert_string_equal(pick(f, &q), "br2");
	assert_non_null(balancer_pick(f->table, &q, &rng, &terms));
	assert_false(terms.own_country);

	/* An unknown country is nobody's. */
	q = query("", "sa");
	load(f, "xx", 1);
	load(f, "ar", 0);
	assert_string_equal(pick(f, &q), "ar");
}

static void test_all_apps(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	struct backend_row ssh = row_with("ssh", "sa", 1, 10, 20);

	ssh.app = "ssh";
	add(f, ssh, "");
	add(f, row_with("web", "sa", 1, 10, 20), "");
	make(f, "sa");
	assert_string_equal(pick(f, &q), "web");
	q.app = "ssh";
	assert_string_equal(pick(f, &q), "ssh");
	q.app = NULL;
	load(f, "ssh", 1);
	assert_string_equal(pick(f, &q), "web");
	load(f, "web", 2);
	assert_string_equal(pick(f, &q), "ssh");
}

/* Of n picks with one stream of random numbers, how many go to each backend. */
static void count_picks(const struct fixture *f, const struct balancer_query *q, unsigned n,
                        unsigned *counts)
{
	struct rng rng = {.state = 42};

	memset(counts, 0, f->table->backend_count * sizeof(*counts));
	for (unsigned i = 0; i < n; i++)
		counts[balancer_pick(f->table, q, &rng, NULL) - f->table->backends]++;
}

static void assert_near(unsigned n, double expected)
{
	/* Five standard deviations and more of a binomial count. */
	double slack = 5 * __builtin_sqrt(expected) + 5;

	assert_true(n > expected - slack && n < expected + slack);
}

static void test_weights_hold_without_load(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", NULL);
	unsigned counts[5];
	unsigned n = 100000;

	add(f, row_with("a", "sa", 1, 10, 20), "");
	add(f, row_with("b", "us", 2, 77, 99), "");
	add(f, row_with("c", "sa", 3, 10, 20), "");
	add(f, row_with("d", "eu", 4, 1, 20), "");
	add(f, row_with("e", "sa", 0, 10, 20), "");
	make(f, NULL);
	count_picks(f, &q, n, counts);
	assert_near(counts[0], n * 0.1);
	assert_near(counts[1], n * 0.2);
	assert_near(counts[2], n * 0.3);
	assert_near(counts[3], n * 0.4);
	assert_int_equal(counts[4], 0);

	/* The same among equals that are under load, and nothing to the one that is behind. */
	load(f, "a", 10);
	load(f, "b", 154);
	set_connections(f, backend(f, "b"), 98);
	load(f, "c", 0);
	load(f, "d", 0);
	count_picks(f, &q, n, counts);
	assert_int_equal(counts[0] + counts[1], 0);
	assert_near(counts[2], n * 3 / 7.0);
	assert_near(counts[3], n * 4 / 7.0);
}

/* As if the rows had other weights: without load, by the shares; under load, by the score. */
static void test_an_agent_lowers_the_weight(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", NULL);
	unsigned counts[4];
	unsigned n = 100000;

	add(f, row_with("a", "sa", 1, 10, 20), "");
	add(f, row_with("b", "sa", 2, 10, 20), "");
	add(f, row_with("c", "sa", 4, 10, 20), "");
	add(f, row_with("d", "sa", 4, 10, 20), "");
	make(f, NULL);
	live_set_weight_percent(f->live, backend(f, "c")->slot, 25);
	live_set_weight_percent(f->live, backend(f, "d")->slot, 0);
	assert_int_equal(balancer_judge(f->table, backend(f, "d"), &q).exclusion, EXCLUDED_WEIGHT);
	count_picks(f, &q, n, counts);
	assert_near(counts[0], n * 0.25);
	assert_near(counts[1], n * 0.5);
	assert_near(counts[2], n * 0.25);
	assert_int_equal(counts[3], 0);

	load(f, "a", 1);
	load(f, "b", 2);
	load(f, "c", 1);
	assert_true(balancer_judge(f->table, backend(f, "c"), &q).score == 200.1);
	count_picks(f, &q, n, counts);
	assert_near(counts[0], n * 0.25);
	assert_near(counts[1], n * 0.5);
	assert_near(counts[2], n * 0.25);
	load(f, "a", 2);
	load(f, "b", 3);
	count_picks(f, &q, n, counts);
	assert_int_equal(counts[2], n);
}

static void test_extreme_weights(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	unsigned counts[2];

	add(f, row_with("large", "sa", WEIGHT_MAX, 10, 20), "");
	add(f, row_with("small", "sa", 1, 10, 20), "");
	make(f, "sa");
	count_picks(f, &q, 1000000, counts);
	assert_near(counts[1], 1000000.0 / (WEIGHT_MAX + 1.0));
	assert_true(counts[1] > 0);
}

static void test_same_seed_same_choice(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	unsigned different = 0;
	char id[16];

	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "b%d", i);
		add(f, row_with(id, "sa", 1, 10, 20), "");
	}
	make(f, "sa");
	for (unsigned seed = 0; seed < 200; seed++) {
		struct rng a = {.state = seed};
		struct rng b = {.state = seed};
		struct rng c = {.state = seed + 1000};
		const struct backend *first = balancer_pick(f->table, &q, &a, NULL);

		assert_ptr_equal(first, balancer_pick(f->table, &q, &b, NULL));
		different += first != balancer_pick(f->table, &q, &c, NULL);
	}
	assert_true(different > 150);
}

/* --- against the reference --- */

static const char *const some_regions[] = {"sa", "us", "eu", "ap"};
static const char *const some_countries[] = {"", "AR", "BR", "US"};
static const uint32_t some_weights[] = {0, 1, 1, 1, 2, 3, 10, 100, WEIGHT_MAX};
static const uint32_t some_limits[] = {1, 1, 2, 3, 10, 100, 999999999, LIMIT_MAX};

#define ANY(rng, array) ((array)[rng_below((rng), sizeof(array) / sizeof((array)[0]))])

static uint32_t any_load(struct rng *rng, const struct backend *b)
{
	switch (rng_below(rng, 8)) {
	case 0:
	case 1:
	case 2:
		return 0;
	case 3:
		return (uint32_t)rng_below(rng, 4);
	case 4:
		return b->soft_limit - (uint32_t)rng_below(rng, 2);
	case 5:
		return b->hard_limit - 1;
	case 6:
		return (uint32_t)rng_below(rng, (uint64_t)b->hard_limit + 1);
	default: /* often exactly one or two regions' worth */
		return (uint32_t)(((uint64_t)b->soft_limit * b->weight * 100 *
		                   (1 + rng_below(rng, 2))) %
		                  ((uint64_t)b->hard_limit + 1));
	}
}

static void random_table(struct fixture *f, struct rng *rng)
{
	uint32_t n = (uint32_t)rng_below(rng, rng_below(rng, 10) == 0 ? 60 : 9);
	bool alike = rng_below(rng, 3) == 0; /* many ties */
	char id[16];

	route_rows_done(&f->rows);
	for (uint32_t i = 0; i < n; i++) {
		struct backend_row row = fixture_backend(id, "web", ANY(rng, some_regions));

		snprintf(id, sizeof(id), "b%u", i * 37 % 64);
		row.app = rng_below(rng, 5) == 0 ? "ssh" : "web";
		row.weight = alike ? 1 : ANY(rng, some_weights);
		row.soft_limit = alike ? 2 : ANY(rng, some_limits);
		row.hard_limit = rng_below(rng, 2) == 0 ? LIMIT_MAX : ANY(rng, some_limits);
		row.healthy = rng_below(rng, 12) != 0;
		row.deleted = rng_below(rng, 12) == 0;
		row.state = rng_below(rng, 12) == 0 ? STATE_DRAIN : STATE_READY;
		add(f, row, ANY(rng, some_countries));
	}
	make(f, rng_below(rng, 6) == 0 ? NULL : ANY(rng, some_regions));
	for (uint32_t i = 0; i < n; i++) {
		const struct backend *b = &f->table->backends[i];

		set_connections(f, b, any_load(rng, b));
		live_set_fault(f->live, b->slot, LIVE_CHECK_DOWN, rng_below(rng, 8) == 0);
		live_set_fault(f->live, b->slot, LIVE_EJECTED, rng_below(rng, 8) == 0);
		if (rng_below(rng, 4) == 0)
			live_set_weight_percent(f->live, b->slot, (unsigned)rng_below(rng, 101));
		else
			live_set_weight_percent(f->live, b->slot, 100);
		live_set_trials(f->live, b->slot, (uint8_t)rng_below(rng, 2));
		live_set_ramp(f->live, b->slot,
		              rng_below(rng, 4) == 0 ? (uint8_t)(1 + rng_below(rng, 99))
		                                     : LIVE_NO_RAMP);
	}
	for (uint32_t i = 0; i < f->table->pool_count; i++)
		atomic_store(&f->table->pools[i].panic, rng_below(rng, 4) == 0);
}

static bool goes_before(const struct balancer_terms *a, const struct balancer_terms *b)
{
	if (a->own_country != b->own_country)
		return a->own_country;
	return a->score < b->score;
}

/* Judges every backend: how many are equally best, and the terms of one of them. */
static unsigned reference(const struct table *t, const struct balancer_query *q,
                          struct balancer_terms *best)
{
	unsigned equals = 0;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		struct balancer_terms terms = balancer_judge(t, &t->backends[i], q);

		if (terms.exclusion != EXCLUDED_NOT)
			continue;
		if (equals == 0 || goes_before(&terms, best)) {
			*best = terms;
			equals = 1;
		} else if (!goes_before(best, &terms)) {
			equals++;
		}
	}
	return equals;
}

static void check_pick(const struct table *t, const struct balancer_query *q, struct rng *rng,
                       unsigned *ties)
{
	struct balancer_terms best = {0};
	struct balancer_terms terms;
	struct balancer_terms again;
	unsigned equals = reference(t, q, &best);
	const struct backend *b = balancer_pick(t, q, rng, &terms);

	assert_int_equal(b != NULL, equals > 0);
	if (b == NULL)
		return;
	again = balancer_judge(t, b, q);
	assert_int_equal(terms.exclusion, EXCLUDED_NOT);
	assert_int_equal(again.exclusion, EXCLUDED_NOT);
	assert_true(terms.score == best.score && again.score == best.score);
	assert_int_equal(terms.own_country, best.own_country);
	assert_int_equal(terms.connections, again.connections);
	assert_int_equal(terms.region_score, again.region_score);
	*ties += equals > 1;
}

static void test_against_the_reference(void **state)
{
	struct fixture *f = *state;
	struct rng rng = {.state = 2024};
	unsigned ties = 0;

	for (int round = 0; round < 6000; round++) {
		struct tried tried;

		random_table(f, &rng);
		tried_init(&tried);
		for (int i = 0; i < 6; i++) {
			const char *of = rng_below(&rng, 5) == 0 ? NULL : ANY(&rng, some_regions);
			struct balancer_query q = query(ANY(&rng, some_countries), of);

			if (rng_below(&rng, 4) == 0)
				q.app = NULL;
			if (i >= 3 && f->table->backend_count > 0) {
				uint32_t k = (uint32_t)rng_below(&rng, f->table->backend_count);

				assert_int_equal(tried_add(&tried, f->table->backends[k].slot), 0);
				q.tried = &tried;
			}
			check_pick(f->table, &q, &rng, &ties);
		}
		tried_done(&tried);
		for (uint32_t i = 0; i < f->table->backend_count; i++)
			set_connections(f, &f->table->backends[i], 0);
	}
	assert_true(ties > 1000);
}

/* Every backend that is as good as the best is chosen now and then. */
static void check_all_equals(const struct table *t, const struct balancer_query *q, struct rng *rng)
{
	struct balancer_terms best = {0};
	unsigned equals = reference(t, q, &best);
	uint64_t met = 0;

	assert_true(t->backend_count <= 64);
	for (unsigned i = 0; i < 40 * equals; i++)
		met |= (uint64_t)1 << (balancer_pick(t, q, rng, NULL) - t->backends);
	assert_int_equal(__builtin_popcountll(met), equals);
}

/* Scores that differ by less than single precision can tell, and ones that an added region makes
 * equal though they differ. */
static void test_near_ties(void **state)
{
	struct fixture *f = *state;
	struct rng rng = {.state = 7};
	unsigned ties = 0;
	char id[16];

	for (int i = 0; i < 64; i++) {
		struct backend_row row;

		snprintf(id, sizeof(id), "b%d", i);
		row = row_with(id, i % 2 ? "sa" : "us", WEIGHT_MAX - (uint32_t)(i % 3),
		               LIMIT_MAX - (uint32_t)(i % 5), LIMIT_MAX);
		add(f, row, "");
	}
	make(f, "us");
	for (int round = 0; round < 2000; round++) {
		uint32_t top = 2 + (uint32_t)rng_below(&rng, round % 3 == 0 ? 4 : 900000000);
		struct balancer_query q = query("", round % 2 ? "sa" : "eu");

		for (uint32_t i = 0; i < f->table->backend_count; i++)
			set_connections(f, &f->table->backends[i],
			                top - (uint32_t)rng_below(&rng, 3));
		check_pick(f->table, &q, &rng, &ties);
		if (round % 10 == 0)
			check_all_equals(f->table, &q, &rng);
	}
	assert_true(ties > 100);
}

/* ---- what has been seen of backends ---- */

static void eject(const struct fixture *f, const char *id, uint8_t trials)
{
	live_set_fault(f->live, backend(f, id)->slot, LIVE_EJECTED, true);
	live_set_trials(f->live, backend(f, id)->slot, trials);
}

static void test_an_ejected_backend_may_be_tried(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	const struct backend *a;

	add(f, row_with("a", "sa", 1, 10, 20), "");
	make(f, "sa");
	a = backend(f, "a");
	eject(f, "a", 0);
	assert_string_equal(pick(f, &q), "none");
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_EJECTED);
	eject(f, "a", 1);
	assert_string_equal(pick(f, &q), "a");
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_NOT);
	/* A trial is of no use while the health checks fail. */
	live_set_fault(f->live, a->slot, LIVE_CHECK_DOWN, true);
	assert_string_equal(pick(f, &q), "none");
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_CHECK_DOWN);
}

static void test_panic_ignores_faults_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	struct backend_row row = row_with("unhealthy", "sa", 1, 10, 20);

	row.healthy = false;
	add(f, row, "");
	add(f, row_with("weightless", "sa", 0, 10, 20), "");
	add(f, row_with("ejected", "sa", 1, 10, 20), "");
	add(f, row_with("down", "sa", 1, 10, 20), "");
	make(f, "sa");
	eject(f, "ejected", 0);
	live_set_fault(f->live, backend(f, "down")->slot, LIVE_CHECK_DOWN, true);
	assert_string_equal(pick(f, &q), "none");

	for (uint32_t i = 0; i < f->table->pool_count; i++)
		atomic_store(&f->table->pools[i].panic, true);
	load(f, "ejected", 1);
	assert_string_equal(pick(f, &q), "down");
	load(f, "down", 2);
	assert_string_equal(pick(f, &q), "ejected");
	assert_int_equal(balancer_judge(f->table, backend(f, "down"), &q).exclusion, EXCLUDED_NOT);
	load(f, "down", 20);
	load(f, "ejected", 20);
	assert_string_equal(pick(f, &q), "none");
}

/* ---- slow start ---- */

static void test_the_score_of_a_ramp(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	struct balancer_terms terms;

	add(f, row_with("a", "us", 2, 8, 20), "");
	make(f, "us");
	load(f, "a", 3);
	live_set_ramp(f->live, backend(f, "a")->slot, 25);
	terms = balancer_judge(f->table, backend(f, "a"), &q);
	assert_int_equal(terms.ramp, 25);
	assert_true(terms.load_factor == 0.375);
	assert_true(terms.score == 101); /* 100 + (4 / 8) / (2 * 0.25) */
	live_set_ramp(f->live, backend(f, "a")->slot, LIVE_NO_RAMP);
	assert_true(balancer_judge(f->table, backend(f, "a"), &q).score == 100.1875);
}

/* Clients that come and stay: each backend ends with its share of them. */
static void test_a_ramp_shares_by_its_part(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	uint32_t n[2] = {0};

	add(f, row_with("cold", "sa", 1, 1000, 100000), "");
	add(f, row_with("warm", "sa", 1, 1000, 100000), "");
	make(f, "sa");
	live_set_ramp(f->live, backend(f, "cold")->slot, 25);
	for (int i = 0; i < 1000; i++) {
		n[strcmp(pick(f, &q), "warm") == 0]++;
		load(f, "cold", n[0]);
		load(f, "warm", n[1]);
	}
	assert_in_range(n[0], 195, 205); /* 1 of 5 */
}

/* Clients that come and go at once, while others stay elsewhere: the empty backend that has just
 * come back is no better than one with a connection. */
static void test_a_ramp_does_not_swallow_every_client(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	unsigned counts[3];
	unsigned n = 10000;

	add(f, row_with("cold", "sa", 1, 64, 1000), "");
	add(f, row_with("warm1", "sa", 1, 64, 1000), "");
	add(f, row_with("warm2", "sa", 1, 64, 1000), "");
	make(f, "sa");
	live_set_ramp(f->live, backend(f, "cold")->slot, 25);
	count_picks(f, &q, n, counts); /* all idle */
	assert_int_equal(counts[0], 0);
	load(f, "warm1", 3);
	load(f, "warm2", 3);
	count_picks(f, &q, n, counts); /* 1 at a quarter of the weight weighs as much as 4 */
	assert_int_equal(counts[0], 0);
	load(f, "warm1", 4);
	load(f, "warm2", 4);
	count_picks(f, &q, n, counts); /* equals */
	assert_near(counts[0], n / 3.0);
	load(f, "warm1", 5);
	load(f, "warm2", 5);
	assert_string_equal(pick(f, &q), "cold");
	/* It is the last resort like any other. */
	load(f, "warm1", 1000);
	load(f, "warm2", 1000);
	load(f, "cold", 999);
	assert_string_equal(pick(f, &q), "cold");
}

/* Its own country fills it only up to its part of the soft limit. */
static void test_a_ramp_in_the_own_country(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("BR", "sa");

	add(f, row_with("br", "sa", 1, 20, 100), "BR");
	add(f, row_with("ar", "sa", 1, 20, 100), "AR");
	make(f, "sa");
	live_set_ramp(f->live, backend(f, "br")->slot, 25);
	load(f, "br", 4);
	assert_true(balancer_judge(f->table, backend(f, "br"), &q).own_country);
	assert_string_equal(pick(f, &q), "br");
	load(f, "br", 5);
	assert_false(balancer_judge(f->table, backend(f, "br"), &q).own_country);
	assert_string_equal(pick(f, &q), "ar");
	live_set_ramp(f->live, backend(f, "br")->slot, LIVE_NO_RAMP);
	load(f, "br", 19);
	assert_string_equal(pick(f, &q), "br");
}

static void test_a_bound_client_in_grace(void **state)
{
	struct fixture *f = *state;
	struct balancer_query q = query("", "sa");
	struct backend_row row = row_with("a", "sa", 1, 10, 20);
	const struct backend *a;

	row.state = STATE_DRAIN;
	add(f, row, "");
	make(f, "sa");
	a = backend(f, "a");
	live_set_grace(f->live, a->slot, 5000);
	q.now_ms = 4999;
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_DRAIN);
	q.bound = true;
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_NOT);
	live_set_fault(f->live, a->slot, LIVE_CHECK_DOWN, true);
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_CHECK_DOWN);
	live_set_fault(f->live, a->slot, LIVE_CHECK_DOWN, false);
	q.now_ms = 5000;
	assert_int_equal(balancer_judge(f->table, a, &q).exclusion, EXCLUDED_DRAIN);
	assert_string_equal(pick(f, &q), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_terms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exclusions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_fault_is_a_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(test_panic_and_statements, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nearest_region_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_region_can_lose, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_country, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_apps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_weights_hold_without_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_agent_lowers_the_weight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extreme_weights, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_seed_same_choice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_against_the_reference, setup, teardown),
		cmocka_unit_test_setup_teardown(test_near_ties, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_ejected_backend_may_be_tried, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(test_panic_ignores_faults_and_nothing_else, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(test_the_score_of_a_ramp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ramp_shares_by_its_part, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ramp_does_not_swallow_every_client, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(test_a_ramp_in_the_own_country, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_bound_client_in_grace, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
