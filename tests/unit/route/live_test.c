/* Live state: slots that stay while anybody needs them, limits that hold with any number of
 * threads, misuse that is caught. */
#include "route/live.h"

#include "../base/aborts.h"
#include "route/limits.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
	*state = live_new();
	return *state == NULL;
}

static int teardown(void **state)
{
	live_free(*state);
	return 0;
}

static uint32_t hold(struct live *l, const char *id)
{
	uint32_t slot = LIVE_NO_SLOT;

	assert_int_equal(live_hold(l, id, &slot), 0);
	assert_true(slot < live_slot_end(l));
	assert_string_equal(live_id(l, slot), id);
	return slot;
}

static void test_one_slot_an_id(void **state)
{
	struct live *l = *state;
	char id[] = "a";
	uint32_t a = hold(l, id);
	uint32_t b = hold(l, "b");

	assert_int_not_equal(a, b);
	id[0] = 'x';
	assert_string_equal(live_id(l, a), "a");
	assert_int_equal(hold(l, "a"), a);
	assert_int_equal(live_slot_end(l), 2);
	assert_int_not_equal(live_generation(l, a), 0);
	assert_int_equal(live_connections(l, a), 0);
}

static void test_taken_back_when_nobody_holds(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t generation = live_generation(l, a);

	hold(l, "a");
	live_let_go(l, a);
	assert_int_equal(live_collect(l), 0);
	live_let_go(l, a);
	assert_int_equal(live_collect(l), 1);
	assert_int_equal(live_collect(l), 0);

	/* The slot goes to another backend, under another generation. */
	assert_int_equal(hold(l, "b"), a);
	assert_int_not_equal(live_generation(l, a), generation);
	assert_int_not_equal(hold(l, "a"), a);
}

static void test_connections_keep_a_slot(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t generation = live_generation(l, a);

	assert_true(live_reserve(l, a, 5));
	live_let_go(l, a);
	assert_int_equal(live_collect(l), 0);
	assert_string_equal(live_id(l, a), "a");
	assert_int_not_equal(hold(l, "b"), a);

	/* It comes back with a later table: the same slot, the connection still counted. */
	assert_int_equal(hold(l, "a"), a);
	assert_int_equal(live_generation(l, a), generation);
	assert_int_equal(live_connections(l, a), 1);
	live_let_go(l, a);
	live_release(l, a);
	assert_int_equal(live_collect(l), 1);
}

static void test_back_before_the_collection(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t generation = live_generation(l, a);

	live_let_go(l, a);
	assert_int_equal(hold(l, "a"), a);
	assert_int_equal(live_generation(l, a), generation);
	assert_int_equal(live_collect(l), 0);
}

/* Every slot there is, and then some: the index grows, is emptied, and is used again. */
static void test_all_slots(void **state)
{
	struct live *l = *state;
	uint32_t slot = 7;
	char id[32];

	for (uint32_t i = 0; i < LIVE_SLOTS_MAX; i++) {
		snprintf(id, sizeof(id), "backend-%u", i);
		assert_int_equal(live_hold(l, id, &slot), 0);
		assert_int_equal(slot, i);
	}
	assert_int_equal(live_hold(l, "one-more", &slot), -ENOSPC);
	assert_int_equal(live_slot_end(l), LIVE_SLOTS_MAX);
	for (uint32_t i = 0; i < LIVE_SLOTS_MAX; i += 1000) {
		snprintf(id, sizeof(id), "backend-%u", i);
		assert_int_equal(hold(l, id), i);
		live_let_go(l, i);
	}

	/* Where all are given out it looks itself whether some are free. */
	live_let_go(l, 4711);
	assert_int_equal(hold(l, "one-more"), 4711);
	live_let_go(l, 4711);
	for (uint32_t i = 0; i < LIVE_SLOTS_MAX; i++) {
		if (i != 4711)
			live_let_go(l, i);
	}
	assert_int_equal(live_collect(l), LIVE_SLOTS_MAX);
	hold(l, "backend-1");
	hold(l, "backend-2");
	assert_int_equal(live_slot_end(l), LIVE_SLOTS_MAX);
}

static void test_reserve_up_to_the_limit(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t b = hold(l, "b");

	for (int i = 0; i < 3; i++)
		assert_true(live_reserve(l, a, 3));
	assert_false(live_reserve(l, a, 3));
	assert_int_equal(live_connections(l, a), 3);
	assert_int_equal(live_connections(l, b), 0);
	assert_int_equal(live_counts(l)[a], 3);

	/* A limit that was lowered under the count: nothing more, nothing less. */
	assert_false(live_reserve(l, a, 1));
	assert_true(live_reserve(l, a, 4));
	for (int i = 0; i < 4; i++)
		live_release(l, a);
	assert_int_equal(live_connections(l, a), 0);
	assert_true(live_reserve(l, a, 1));
	assert_false(live_reserve(l, b, 0));
}

static void test_total(void **state)
{
	struct live *l = *state;

	assert_true(live_reserve_total(l, 2));
	assert_true(live_reserve_total(l, 2));
	assert_false(live_reserve_total(l, 2));
	assert_int_equal(live_total(l), 2);
	live_release_total(l);
	assert_int_equal(live_total(l), 1);
	assert_true(live_reserve_total(l, 2));
}

static void test_faults(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t b = hold(l, "b");

	assert_int_equal(live_faults(l, a), 0);
	live_set_fault(l, a, LIVE_CHECK_DOWN, true);
	live_set_fault(l, a, LIVE_EJECTED, true);
	live_set_fault(l, a, LIVE_EJECTED, true);
	assert_int_equal(live_faults(l, a), LIVE_CHECK_DOWN | LIVE_EJECTED);
	assert_int_equal(live_faults(l, b), 0);
	live_set_fault(l, a, LIVE_CHECK_DOWN, false);
	assert_int_equal(live_faults(l, a), LIVE_EJECTED);

	assert_int_equal(live_weight_percent(l, a), 100);
	live_set_weight_percent(l, a, 30);
	assert_int_equal(live_weight_percent(l, a), 30);
	assert_int_equal(live_weight_percent(l, b), 100);

	/* Whoever gets the slot next is not at fault. */
	live_let_go(l, a);
	assert_int_equal(live_collect(l), 1);
	assert_int_equal(hold(l, "c"), a);
	assert_int_equal(live_faults(l, a), 0);
	assert_int_equal(live_weight_percent(l, a), 100);
}

static void test_the_version_of_faults(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t before = live_fault_version(l);

	live_set_fault(l, a, LIVE_EJECTED, false);
	assert_int_equal(live_fault_version(l), before);
	live_set_fault(l, a, LIVE_EJECTED, true);
	assert_int_equal(live_fault_version(l), before + 1);
	live_set_fault(l, a, LIVE_EJECTED, true);
	assert_int_equal(live_fault_version(l), before + 1);
	live_set_fault(l, a, LIVE_CHECK_DOWN, true);
	live_set_fault(l, a, LIVE_EJECTED, false);
	assert_int_equal(live_fault_version(l), before + 3);
}

/* What is kept for a later process (control/state_file.c) is saved when this has changed. */
static void test_the_version_of_marks(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");
	uint32_t before = live_mark_version(l);

	live_set_weight_percent(l, a, 100);
	live_set_ramp(l, a, LIVE_NO_RAMP);
	live_set_grace(l, a, 0);
	live_set_fault(l, a, LIVE_EJECTED, false);
	assert_int_equal(live_mark_version(l), before);
	live_set_weight_percent(l, a, 50);
	assert_int_equal(live_mark_version(l), before + 1);
	live_set_weight_percent(l, a, 50);
	assert_int_equal(live_mark_version(l), before + 1);
	live_set_fault(l, a, LIVE_EJECTED, true);
	assert_int_equal(live_mark_version(l), before + 2);
	live_set_grace(l, a, 5000);
	assert_int_equal(live_mark_version(l), before + 3);
	live_set_ramp(l, a, 10);
	live_set_ramp(l, a, 11); /* time goes on, nothing is new */
	assert_int_equal(live_mark_version(l), before + 4);
	live_set_ramp(l, a, LIVE_NO_RAMP);
	assert_int_equal(live_mark_version(l), before + 5);
}

static void test_trials(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");

	assert_true(live_admit(l, a));
	live_set_fault(l, a, LIVE_EJECTED, true);
	assert_true(live_is_shut(l, a));
	assert_false(live_admit(l, a));
	live_set_trials(l, a, 2);
	assert_false(live_is_shut(l, a));
	assert_true(live_admit(l, a));
	assert_true(live_admit(l, a));
	assert_false(live_admit(l, a));
	assert_true(live_is_shut(l, a));
	live_set_trials(l, a, 2);
	live_set_fault(l, a, LIVE_CHECK_DOWN, true);
	assert_true(live_is_shut(l, a));
	assert_false(live_admit(l, a));
	live_set_fault(l, a, LIVE_CHECK_DOWN, false);
	live_set_fault(l, a, LIVE_EJECTED, false);
	assert_false(live_is_shut(l, a));
}

static void test_outcomes(void **state)
{
	struct live *l = *state;
	uint32_t a = 0;
	char id[16];

	for (int i = 0; i <= 130; i++) {
		snprintf(id, sizeof(id), "b%d", i);
		a = hold(l, id);
	}
	assert_int_equal(a, 130);
	live_note_success(l, a);
	assert_int_equal(live_take_failed(l, 128), 0);
	live_note_failure(l, a);
	live_note_failure(l, a);
	live_note_failure(l, 0);
	assert_int_equal(live_take_failed(l, 0), 1);
	assert_int_equal(live_take_failed(l, 64), 0);
	assert_int_equal(live_take_failed(l, 128), 4);
	assert_int_equal(live_take_failed(l, 128), 0);
	assert_int_equal(live_outcomes(l, a).successes, 1);
	assert_int_equal(live_outcomes(l, a).failures, 2);
	assert_int_equal(live_outcomes(l, a).failures_in_a_row, 2);
	live_note_success(l, a);
	assert_int_equal(live_outcomes(l, a).failures_in_a_row, 0);
	live_note_failure(l, a);
	live_forgive(l, a);
	assert_int_equal(live_outcomes(l, a).failures, 3);
	assert_int_equal(live_outcomes(l, a).failures_in_a_row, 0);
}

/* Nothing that was known of a backend is known of the next in its slot. */
static void test_marks_end_with_the_slot(void **state)
{
	struct live *l = *state;
	uint32_t a = hold(l, "a");

	live_note_success(l, a);
	live_note_failure(l, a);
	live_set_ramp(l, a, 30);
	live_set_grace(l, a, 1500);
	assert_int_equal(live_ramp(l, a), 30);
	assert_true(live_in_grace(l, a, 1999));
	assert_false(live_in_grace(l, a, 2000));
	live_let_go(l, a);
	assert_int_equal(live_collect(l), 1);
	assert_int_equal(hold(l, "b"), a);
	assert_int_equal(live_ramp(l, a), LIVE_NO_RAMP);
	assert_false(live_in_grace(l, a, 0));
	assert_int_equal(live_outcomes(l, a).successes, 0);
	assert_int_equal(live_outcomes(l, a).failures, 0);
	assert_int_equal(live_outcomes(l, a).failures_in_a_row, 0);
}

static void release_below_zero(void *arg)
{
	struct live *l = arg;

	live_release(l, hold(l, "a"));
}

static void release_total_below_zero(void *arg)
{
	live_release_total(arg);
}

static void let_go_too_often(void *arg)
{
	struct live *l = arg;
	uint32_t a = hold(l, "a");

	live_let_go(l, a);
	live_let_go(l, a);
}

static void test_misuse_is_caught(void **state)
{
	assert_aborts(release_below_zero, *state);
	assert_aborts(release_total_below_zero, *state);
	assert_aborts(let_go_too_often, *state);
}

enum { THREADS = 4, BACKENDS = 3, LIMIT = 7, TOTAL_LIMIT = 15, ROUNDS = 30000 };

struct race {
	struct live *live;
	uint32_t slot[BACKENDS];
	atomic_bool stop;
	atomic_uint over; /* times that a limit was seen passed */
	atomic_uint refused;
};

/* Reserves and releases in turn; ends holding what it could get of every backend. */
static void *racer(void *arg)
{
	struct race *r = arg;
	unsigned held[BACKENDS] = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned k = i % BACKENDS;

		if (!live_reserve_total(r->live, TOTAL_LIMIT)) {
			atomic_fetch_add(&r->refused, 1);
		} else if (live_reserve(r->live, r->slot[k], LIMIT)) {
			held[k]++;
		} else {
			atomic_fetch_add(&r->refused, 1);
			live_release_total(r->live);
		}
		if (held[k] > 0 && i % 7 < 3) {
			live_release(r->live, r->slot[k]);
			live_release_total(r->live);
			held[k]--;
		}
	}
	for (unsigned k = 0; k < BACKENDS; k++) {
		while (held[k] > 0) {
			live_release(r->live, r->slot[k]);
			live_release_total(r->live);
			held[k]--;
		}
	}
	for (unsigned k = 0; k < BACKENDS; k++) {
		while (live_reserve(r->live, r->slot[k], LIMIT))
			;
	}
	return NULL;
}

static void *watcher(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->stop)) {
		for (unsigned k = 0; k < BACKENDS; k++)
			atomic_fetch_add(&r->over, live_connections(r->live, r->slot[k]) > LIMIT);
		atomic_fetch_add(&r->over, live_total(r->live) > TOTAL_LIMIT);
	}
	return NULL;
}

static void test_limits_hold_under_threads(void **state)
{
	struct race r = {.live = *state};
	pthread_t thread[THREADS];
	pthread_t watch;

	r.slot[0] = hold(r.live, "a");
	r.slot[1] = hold(r.live, "b");
	r.slot[2] = hold(r.live, "c");
	assert_int_equal(pthread_create(&watch, NULL, watcher, &r), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, racer, &r), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	atomic_store(&r.stop, true);
	assert_int_equal(pthread_join(watch, NULL), 0);

	assert_int_equal(atomic_load(&r.over), 0);
	assert_true(atomic_load(&r.refused) > 0);
	assert_int_equal(live_total(r.live), 0);
	for (int k = 0; k < BACKENDS; k++)
		assert_int_equal(live_connections(r.live, r.slot[k]), LIMIT);
}

/* What a worker does with a slot after its table has gone: it reads the id, then releases. The main
 * thread is the control thread and takes slots back meanwhile. Made for the thread sanitizer. */
struct visitor {
	struct live *live;
	atomic_uint slot; /* LIVE_NO_SLOT: nothing to do */
	atomic_bool stop;
	unsigned visits; /* the visitor's until it is joined */
};

static void *visit(void *arg)
{
	struct visitor *v = arg;

	while (!atomic_load(&v->stop)) {
		uint32_t slot = atomic_load(&v->slot);

		if (slot == LIVE_NO_SLOT)
			continue;
		if (live_reserve(v->live, slot, 1)) {
			live_let_go(v->live, slot);
			v->visits += strlen(live_id(v->live, slot)) > 0;
			live_release(v->live, slot);
		}
		atomic_store(&v->slot, LIVE_NO_SLOT);
	}
	return NULL;
}

static void test_collection_against_sessions(void **state)
{
	struct visitor v = {.live = *state};
	size_t collected = 0;
	pthread_t thread;
	char id[32];

	atomic_store(&v.slot, LIVE_NO_SLOT);
	assert_int_equal(pthread_create(&thread, NULL, visit, &v), 0);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(id, sizeof(id), "id-%u", i);
		atomic_store(&v.slot, hold(v.live, id));
		while (atomic_load(&v.slot) != LIVE_NO_SLOT)
			collected += live_collect(v.live);
		collected += live_collect(v.live);
	}
	atomic_store(&v.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	collected += live_collect(v.live);
	assert_int_equal(v.visits, 2000);
	assert_int_equal(collected, 2000);
	assert_int_equal(live_slot_end(v.live), 1);
}

/* Two processes, or what would be two: one hands over to the other. */
static void test_shared(void **state)
{
	struct live *old, *new;
	uint32_t slot, gap, other;

	(void)state;
	assert_int_equal(live_new_shared(-1, &old), 0);
	gap = hold(old, "gone");
	slot = hold(old, "a");
	live_let_go(old, gap);
	assert_int_equal(live_collect(old), 1);
	assert_true(live_reserve(old, slot, 3));
	assert_true(live_reserve_total(old, 10));

	assert_int_equal(live_new_shared(live_shared_fd(old), &new), 0);
	assert_int_equal(live_adopt(new, slot, live_generation(old, slot), "a"), 0);
	assert_int_equal(live_adopt(new, slot, 1, "b"), -EINVAL);
	assert_int_equal(live_adopt(new, slot + 1, 1, "a"), -EINVAL);
	assert_int_equal(live_adopt(new, slot + 1, 0, "b"), -EINVAL);
	assert_int_equal(live_adopt(new, LIVE_SLOTS_MAX, 1, "b"), -ENOSPC);
	assert_int_equal(hold(new, "a"), slot);
	assert_int_equal(live_generation(new, slot), live_generation(old, slot));
	assert_int_equal(hold(new, "b"), gap); /* what the old one had taken back */
	live_freeze(old, true);
	assert_int_equal(live_hold(old, "c", &other), -ENOSPC);
	assert_int_equal(live_hold(old, "a", &other), 0);

	/* One limit. */
	assert_true(live_reserve(new, slot, 3));
	assert_true(live_reserve_total(new, 10));
	assert_true(live_reserve(old, slot, 3));
	assert_false(live_reserve(new, slot, 3));
	assert_false(live_reserve(old, slot, 3));
	assert_int_equal(live_connections(new, slot), 3);
	assert_int_equal(live_total(new), 2);
	assert_int_equal(live_own_total(new), 1);
	live_release(old, slot);
	assert_int_equal(live_connections(new, slot), 2);

	/* Death: what it held is given back, and only that. */
	assert_int_equal(live_bury(new, live_own_fd(old)), 1);
	assert_int_equal(live_connections(new, slot), 1);
	assert_int_equal(live_total(new), 1);
	live_release(new, slot);
	live_release_total(new);
	assert_int_equal(live_total(new), 0);
	assert_int_equal(live_bury(new, -1), -EBADF);
	live_free(old);
	live_free(new);
}

static void test_shared_by_another_version(void **state)
{
	struct live *l;
	int fd = memfd_create("wrong", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(live_new_shared(fd, &l), -EPROTO);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_slot_an_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_back_when_nobody_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connections_keep_a_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_back_before_the_collection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reserve_up_to_the_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_total, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_version_of_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_version_of_marks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trials, setup, teardown),
		cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_marks_end_with_the_slot, setup, teardown),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_shared_by_another_version),
		cmocka_unit_test_setup_teardown(test_misuse_is_caught, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_hold_under_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_collection_against_sessions, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
