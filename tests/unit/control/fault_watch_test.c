/* What was seen of backends, from one process to the next: round trips through a state's bytes, the
 * time between, values that cannot be, backends that have moved or gone, damage. */
#include "control/fault_watch.h"

#include "../route/rows_fixture.h"
#include "base/clock.h"
#include "control/state.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define NAMES 6
#define DRAINING 4
static const char *const names[NAMES] = {"down", "agent", "ejected", "slow", "drains", "sound"};

/* A process: its backends, in an order of its own, and what watches their faults. */
struct life {
	struct config config;
	struct live *live;
	struct table *table;
	struct fault_watch *watch;
};

static int end_sessions(void *arg)
{
	(void)arg;
	return 0;
}

static void life_begin(struct life *l, bool reversed, const char *left_out, uint64_t now_ms)
{
	const struct table_options options = {.local_region = "sa"};
	struct route_rows rows;

	*l = (struct life){.live = live_new()};
	l->config.outlier_consecutive_failures = 3;
	l->config.outlier_max_ejection_percent = 50;
	l->config.outlier_interval_secs = 10;
	l->config.outlier_base_ejection_secs = 30;
	l->config.outlier_max_ejection_secs = 300;
	l->config.slowstart_secs = 100;
	l->config.drain_grace_secs = 60;
	route_rows_init(&rows);
	for (unsigned i = 0; i < NAMES; i++) {
		unsigned n = reversed ? NAMES - 1 - i : i;
		struct backend_row row = fixture_backend(names[n], "web", "sa");

		row.addr = fixture_endpoint((uint16_t)(9000 + n));
		if (n == DRAINING)
			row.state = STATE_DRAIN;
		if (left_out == NULL || strcmp(left_out, names[n]) != 0)
			assert_int_equal(route_rows_add_backend(&rows, &row), 0);
	}
	if (reversed) { /* other slots */
		uint32_t other;

		assert_int_equal(live_hold(l->live, "other", &other), 0);
	}
	assert_int_equal(table_new(&rows, &options, l->live, &l->table), 0);
	route_rows_done(&rows);
	assert_int_equal(
		fault_watch_new(&(struct fault_watch_options){.config = &l->config,
	                                                      .live = l->live,
	                                                      .end_sessions = end_sessions},
	                        now_ms, &l->watch),
		0);
	fault_watch_table(l->watch, l->table, now_ms);
}

static void life_end(struct life *l)
{
	fault_watch_free(l->watch);
	table_unref(l->table);
	live_free(l->live);
}

static uint32_t slot(const struct life *l, const char *name)
{
	uint32_t s = live_find(l->live, name);

	assert_int_not_equal(s, LIVE_NO_SLOT);
	return s;
}

/* One with something to say of every backend but the sound one. */
static void first_life(struct life *l, uint64_t now_ms)
{
	life_begin(l, false, NULL, now_ms - 20000);
	fault_watch_tick(l->watch, now_ms - 20000);
	live_set_fault(l->live, slot(l, "down"), LIVE_CHECK_DOWN, true);
	live_set_fault(l->live, slot(l, "agent"), LIVE_AGENT_DRAIN, true);
	live_set_weight_percent(l->live, slot(l, "agent"), 40);
	live_set_fault(l->live, slot(l, "slow"), LIVE_AGENT_DOWN, true);
	for (int i = 0; i < 3; i++)
		live_note_failure(l->live, slot(l, "ejected"));
	fault_watch_tick(l->watch, now_ms - 20000);
	live_set_fault(l->live, slot(l, "slow"), LIVE_AGENT_DOWN, false);
	fault_watch_tick(l->watch, now_ms - 20000);
	fault_watch_tick(l->watch, now_ms);
	assert_int_equal(live_faults(l->live, slot(l, "ejected")), LIVE_EJECTED);
	assert_int_equal(live_ramp(l->live, slot(l, "slow")), 20);
}

static int write_state(struct life *l)
{
	struct state_writer *w;
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(
		state_writer_new(fd, &(struct state_source){.live = l->live, .faults = l->watch},
	                         &w),
		0);
	assert_int_equal(state_writer_finish(w), 0);
	state_writer_free(w);
	return fd;
}

static int read_state(int fd, struct life *l, struct state_summary *ret)
{
	const struct state_import to = {.live = l->live, .ttl_ms = 1000, .faults = l->watch};
	char error[STATE_ERROR_MAX];

	return state_import(fd, &to, ret, error);
}

static bool recall(const struct life *l, const char *name, uint64_t now_ms, struct state_seen *ret)
{
	return fault_watch_recall(l->watch, slot(l, name), now_ms, ret);
}

static void test_round_trip(void **state)
{
	uint64_t now_ms = clock_now_ms();
	struct life old, new;
	struct state_summary s;
	struct state_seen a, b;
	int fd;

	(void)state;
	first_life(&old, now_ms);
	fd = write_state(&old);
	life_begin(&new, true, "down", now_ms);
	assert_int_equal(read_state(fd, &new, &s), 0);
	assert_int_equal(s.faults, 2);
	fault_watch_tick(new.watch, clock_now_ms());
	assert_int_equal(live_faults(new.live, slot(&new, "agent")), LIVE_AGENT_DRAIN);
	assert_int_equal(live_weight_percent(new.live, slot(&new, "agent")), 40);
	assert_int_equal(live_faults(new.live, slot(&new, "ejected")), LIVE_EJECTED);
	assert_int_equal(live_faults(new.live, slot(&new, "slow")), 0);
	assert_in_range(live_ramp(new.live, slot(&new, "slow")), 20, 30);
	assert_false(recall(&new, "sound", now_ms, &b));
	/* It says of itself what the other said, but for the time that this took. */
	now_ms = clock_now_ms();
	for (unsigned i = 1; i < NAMES - 1; i++) {
		assert_true(recall(&old, names[i], now_ms, &a));
		assert_true(recall(&new, names[i], now_ms, &b));
		assert_int_equal(a.port, b.port);
		assert_memory_equal(a.ip, b.ip, sizeof(a.ip));
		assert_int_equal(a.faults, b.faults);
		assert_int_equal(a.weight_percent, b.weight_percent);
		assert_int_equal(a.ejected, b.ejected);
		assert_int_equal(a.ejections, b.ejections);
		assert_int_equal(a.drains, b.drains);
		assert_in_range(b.ejection_left_ms + 500, a.ejection_left_ms,
		                a.ejection_left_ms + 1000);
		assert_in_range(b.ejected_ms + 500, a.ejected_ms, a.ejected_ms + 1000);
		assert_in_range(b.start_ms + 500, a.start_ms, a.start_ms + 1000);
		/* Whole seconds, rounded up twice. */
		assert_in_range(b.grace_left_ms + 2500, a.grace_left_ms, a.grace_left_ms + 5000);
	}
	assert_in_range(b.grace_left_ms, 30000, 42500);
	close(fd);
	life_end(&old);
	life_end(&new);
}

/* What the time between two processes does. */
static void test_age(void **state)
{
	uint64_t now_ms = 1000000;
	struct life l;
	struct state_seen seen = {.port = 9002, .ejected = 1, .ejections = 2};

	(void)state;
	life_begin(&l, false, NULL, now_ms);
	memcpy(seen.ip, fixture_endpoint(9002).ip.b, sizeof(seen.ip));
	seen.weight_percent = 100;
	seen.ejection_left_ms = 20000;
	assert_true(fault_watch_restore(l.watch, slot(&l, "ejected"), &seen, 15000, now_ms));
	fault_watch_tick(l.watch, now_ms + 4999);
	assert_true(live_is_shut(l.live, slot(&l, "ejected")));
	fault_watch_tick(l.watch, now_ms + 5000); /* the trial */
	assert_false(live_is_shut(l.live, slot(&l, "ejected")));
	life_end(&l);

	/* Longer than it lasted: the trial is due at once. */
	life_begin(&l, false, NULL, now_ms);
	assert_true(fault_watch_restore(l.watch, slot(&l, "ejected"), &seen, UINT64_MAX, now_ms));
	fault_watch_tick(l.watch, now_ms);
	assert_int_equal(live_faults(l.live, slot(&l, "ejected")), LIVE_EJECTED);
	assert_false(live_is_shut(l.live, slot(&l, "ejected")));
	live_note_success(l.live, slot(&l, "ejected"));
	fault_watch_tick(l.watch, now_ms + 50);
	assert_int_equal(live_faults(l.live, slot(&l, "ejected")), 0);
	life_end(&l);

	life_begin(&l, false, NULL, now_ms);
	seen = (struct state_seen){.drains = 1, .grace_left_ms = 30000};
	(void)fault_watch_restore(l.watch, slot(&l, "drains"), &seen, 40000, now_ms);
	assert_int_equal(live_grace_ms(l.live, slot(&l, "drains"), now_ms), 0);
	/* One that does not drain has none. */
	(void)fault_watch_restore(l.watch, slot(&l, "sound"), &seen, 0, now_ms);
	assert_int_equal(live_grace_ms(l.live, slot(&l, "sound"), now_ms), 0);
	life_end(&l);
}

/* No value can make of a backend what this process could not have made of it. */
static void test_clamped(void **state)
{
	uint64_t now_ms = 1000000;
	struct life l;
	struct state_seen seen;

	(void)state;
	life_begin(&l, false, NULL, now_ms);
	for (unsigned i = 0; i < NAMES; i++) {
		uint32_t s = slot(&l, names[i]);

		memset(&seen, 0xff, sizeof(seen));
		seen.port = (uint16_t)(9000 + i);
		memcpy(seen.ip, fixture_endpoint(9000).ip.b, sizeof(seen.ip));
		assert_true(fault_watch_restore(l.watch, s, &seen, UINT64_MAX / 2, now_ms));
		assert_true(fault_watch_restore(l.watch, s, &seen, 0, now_ms)); /* twice */
		assert_int_equal(live_faults(l.live, s),
		                 LIVE_CHECK_DOWN | LIVE_EJECTED | LIVE_AGENT_DOWN |
		                         LIVE_AGENT_DRAIN | LIVE_AGENT_MAINT);
		assert_int_equal(live_weight_percent(l.live, s), 100);
		assert_int_equal(live_ramp(l.live, s), LIVE_NO_RAMP);
		assert_int_equal(live_grace_ms(l.live, s, now_ms), i == DRAINING ? 60000 : 0);
		assert_true(recall(&l, names[i], now_ms, &seen));
		assert_int_equal(seen.ejection_left_ms, 300000); /* the longest */
		assert_int_equal(seen.ejected_ms, now_ms);
	}
	fault_watch_tick(l.watch, now_ms);
	fault_watch_tick(l.watch, now_ms + 300000);
	assert_int_equal(live_ramp(l.live, slot(&l, "sound")), LIVE_NO_RAMP);
	life_end(&l);
}

static void test_moved_or_gone(void **state)
{
	uint64_t now_ms = 1000000;
	struct state_seen seen = {.port = 1, .faults = LIVE_CHECK_DOWN, .drains = 1};
	struct life l;
	uint32_t gone;

	(void)state;
	life_begin(&l, false, NULL, now_ms);
	memcpy(seen.ip, fixture_endpoint(9000).ip.b, sizeof(seen.ip));
	assert_false(fault_watch_restore(l.watch, slot(&l, "drains"), &seen, 0, now_ms));
	assert_int_equal(live_faults(l.live, slot(&l, "drains")), 0);
	assert_int_equal(live_grace_ms(l.live, slot(&l, "drains"), now_ms), 0);
	/* It has a slot because of a session, and no row. */
	assert_int_equal(live_hold(l.live, "gone", &gone), 0);
	assert_false(fault_watch_restore(l.watch, gone, &seen, 0, now_ms));
	assert_int_equal(live_faults(l.live, gone), 0);
	assert_false(fault_watch_recall(l.watch, gone, now_ms, &seen));
	life_end(&l);
}

static void test_damage(void **state)
{
	uint64_t now_ms = clock_now_ms();
	struct life old, new;
	struct state_summary s;
	uint8_t *data;
	size_t bytes;
	char error[STATE_ERROR_MAX];
	int fd;

	(void)state;
	first_life(&old, now_ms);
	fd = write_state(&old);
	life_begin(&new, true, NULL, now_ms);
	assert_int_equal(state_slurp(fd, &data, &bytes, error), 0);
	for (size_t i = 0; i < bytes; i++) {
		uint8_t wrong = data[i] ^ 0x04;

		assert_int_equal(pwrite(fd, &wrong, 1, (off_t)i), 1);
		assert_true(read_state(fd, &new, &s) < 0);
		assert_int_equal(pwrite(fd, &data[i], 1, (off_t)i), 1);
	}
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(live_faults(new.live, slot(&new, names[i])), 0);
	assert_int_equal(read_state(fd, &new, &s), 0);
	assert_int_equal(s.faults, 3);
	free(data);
	close(fd);
	life_end(&old);
	life_end(&new);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_age),
		cmocka_unit_test(test_clamped),    cmocka_unit_test(test_moved_or_gone),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
