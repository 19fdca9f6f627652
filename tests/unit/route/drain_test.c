/* Drain: verdicts on sessions, when the workers have to look, and graces. */
#include "route/drain.h"

#include "tables_fixture.h"

static const struct drain_rules none = {0};
static const struct drain_rules spread = {.close_spread_ms = 5000};
static const struct drain_rules at_once = {.shutdown_sessions = true};

static enum drain_verdict judge(const struct fixture *f, const struct drain_rules *rules,
                                uint32_t s)
{
	return drain_judge(rules, f->table, s, "web");
}

static void assert_verdicts(const struct fixture *f, uint32_t s, enum drain_verdict by_spread,
                            enum drain_verdict by_shutdown)
{
	assert_int_equal(judge(f, &none, s), DRAIN_STAY);
	assert_int_equal(judge(f, &spread, s), by_spread);
	assert_int_equal(judge(f, &at_once, s), by_shutdown);
}

static void test_verdicts(void **state)
{
	struct fixture *f = *state;
	uint32_t gone;

	add(f, "gone", "web");
	make(f);
	gone = slot(f, "gone");
	route_rows_done(&f->rows);
	add(f, "ready", "web");
	add(f, "drain", "web")->state = STATE_DRAIN;
	add(f, "maint", "web")->state = STATE_MAINT;
	add(f, "deleted", "web")->deleted = true;
	add(f, "unhealthy", "web")->healthy = false;
	add(f, "weightless", "web")->weight = 0;
	add(f, "down", "web");
	make(f);
	live_set_fault(f->live, slot(f, "down"), LIVE_CHECK_DOWN, true);

	assert_verdicts(f, slot(f, "ready"), DRAIN_STAY, DRAIN_STAY);
	assert_verdicts(f, slot(f, "drain"), DRAIN_STAY, DRAIN_STAY);
	assert_verdicts(f, slot(f, "weightless"), DRAIN_STAY, DRAIN_STAY);
	assert_verdicts(f, slot(f, "maint"), DRAIN_GONE, DRAIN_GONE);
	assert_verdicts(f, slot(f, "deleted"), DRAIN_GONE, DRAIN_GONE);
	assert_verdicts(f, gone, DRAIN_GONE, DRAIN_GONE);
	assert_verdicts(f, slot(f, "unhealthy"), DRAIN_STAY, DRAIN_DOWN);
	assert_verdicts(f, slot(f, "down"), DRAIN_STAY, DRAIN_DOWN);

	/* In panic nobody believes faults; what the row says is still so. */
	for (uint32_t i = 0; i < f->table->pool_count; i++)
		atomic_store(&f->table->pools[i].panic, true);
	assert_verdicts(f, slot(f, "down"), DRAIN_STAY, DRAIN_STAY);
	assert_verdicts(f, slot(f, "unhealthy"), DRAIN_STAY, DRAIN_DOWN);
}

static bool due(const struct fixture *f, const struct drain_rules *rules)
{
	return drain_is_due(rules, f->table, f->was);
}

static void test_when_to_look(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web");
	add(f, "b", "web");
	make(f);
	assert_false(due(f, &spread)); /* the first table takes nothing away */
	make(f);
	assert_false(due(f, &spread));
	f->rows.backends[0].state = STATE_MAINT;
	make(f);
	assert_false(due(f, &none));
	assert_true(due(f, &spread));
	assert_true(due(f, &at_once));
	make(f); /* the same again */
	assert_false(due(f, &spread));
	f->rows.backends[0].state = STATE_READY;
	f->rows.backends[1].healthy = false;
	make(f);
	assert_false(due(f, &spread));
	assert_true(due(f, &at_once));
	route_rows_done(&f->rows);
	add(f, "b", "web");
	make(f);
	assert_true(due(f, &spread));
}

static bool in_grace(const struct fixture *f, const char *id, uint64_t now_ms)
{
	return live_in_grace(f->live, slot(f, id), now_ms);
}

static void test_graces(void **state)
{
	struct fixture *f = *state;

	add(f, "a", "web")->state = STATE_DRAIN;
	add(f, "b", "web");
	make(f);
	drain_begin(f->table, NULL, 10000, 50000); /* found draining at the start */
	assert_true(in_grace(f, "a", 59999));
	assert_false(in_grace(f, "a", 60000));
	assert_false(in_grace(f, "b", 50000));

	/* It begins once, not with each table. */
	f->rows.backends[1].state = STATE_DRAIN;
	make(f);
	drain_begin(f->table, f->was, 10000, 55000);
	assert_false(in_grace(f, "a", 60000));
	assert_true(in_grace(f, "b", 64999));

	/* Ready, and drained again. */
	f->rows.backends[0].state = STATE_READY;
	make(f);
	drain_begin(f->table, f->was, 10000, 70000);
	f->rows.backends[0].state = STATE_DRAIN;
	make(f);
	drain_begin(f->table, f->was, 10000, 80000);
	assert_true(in_grace(f, "a", 89999));

	/* No grace at all. */
	f->rows.backends[1].state = STATE_READY;
	make(f);
	f->rows.backends[1].state = STATE_DRAIN;
	make(f);
	drain_begin(f->table, f->was, 0, 90500);
	assert_false(in_grace(f, "b", 90500));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_verdicts),
		TEST(test_when_to_look),
		TEST(test_graces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
