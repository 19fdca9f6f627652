/* The queue: order, bounds, whom a place will do for, hand-over, leaving; and that with many
 * threads nobody is lost, nobody overtakes, and no hard limit is passed. */
#include "route/queue.h"

#include "rows_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OWNERS = 3, MAX = 8 };

struct fixture {
	struct live *live;
	struct queue *queue;
	struct backend web;   /* hard_limit 1 */
	struct backend other; /* the same app, hard_limit 1 */
	struct backend ssh;
	struct waiter waiters[MAX + 2];
	struct tried tried;
};

static struct backend backend_of(struct live *live, const char *id, const char *app)
{
	struct backend b = {.id = id, .app = app, .hard_limit = 1};

	assert_int_equal(live_hold(live, id, &b.slot), 0);
	return b;
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.live = live_new();
	f.queue = queue_new(MAX, OWNERS);
	f.web = backend_of(f.live, "web", "web");
	f.other = backend_of(f.live, "other", "web");
	f.ssh = backend_of(f.live, "ssh", "ssh");
	tried_init(&f.tried);
	for (uint32_t i = 0; i < MAX + 2; i++)
		f.waiters[i] = (struct waiter){.app = "web", .owner = i % OWNERS};
	*state = &f;
	return f.live == NULL || f.queue == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < MAX + 2; i++)
		queue_leave(f->queue, &f->waiters[i]);
	queue_free(f->queue);
	live_free(f->live);
	tried_done(&f->tried);
	return 0;
}

static void join(struct fixture *f, int i)
{
	assert_int_equal(queue_join(f->queue, &f->waiters[i]), 0);
}

/* Frees a place at b; it goes to waiter i, whose owner takes it. */
static void expect_served(struct fixture *f, const struct backend *b, int i)
{
	struct waiter *w = &f->waiters[i];
	uint32_t slot = LIVE_NO_SLOT;

	assert_int_equal(queue_offer(f->queue, f->live, b), w->owner);
	assert_int_equal(live_connections(f->live, b->slot), 1);
	assert_ptr_equal(queue_take(f->queue, w->owner, &slot), w);
	assert_int_equal(slot, b->slot);
	assert_null(queue_take(f->queue, w->owner, &slot));
	live_release(f->live, b->slot);
}

static void expect_nobody(struct fixture *f, const struct backend *b)
{
	assert_int_equal(queue_offer(f->queue, f->live, b), QUEUE_NOBODY);
	assert_int_equal(live_connections(f->live, b->slot), 0);
}

static void test_first_come_first_served(void **state)
{
	struct fixture *f = *state;

	expect_nobody(f, &f->web);
	for (int i = 0; i < MAX; i++)
		join(f, i);
	assert_int_equal(queue_length(f->queue), MAX);
	for (int i = 0; i < MAX; i++)
		expect_served(f, i % 2 == 0 ? &f->web : &f->other, i);
	assert_int_equal(queue_length(f->queue), 0);
	expect_nobody(f, &f->web);
}

static void test_bounded(void **state)
{
	struct fixture *f = *state;
	struct queue *none = queue_new(0, 1);
	struct waiter w = {.app = "web"};
	uint32_t slot;

	for (int i = 0; i < MAX; i++)
		join(f, i);
	assert_int_equal(queue_join(f->queue, &f->waiters[MAX]), -ENOSPC);
	assert_int_equal(queue_length(f->queue), MAX);

	/* One who has left makes room; one who comes back from a place that was no good finds his,
	 * room or not. */
	assert_int_equal(queue_offer(f->queue, f->live, &f->web), f->waiters[0].owner);
	assert_ptr_equal(queue_take(f->queue, f->waiters[0].owner, &slot), &f->waiters[0]);
	live_release(f->live, slot);
	join(f, MAX);
	join(f, 0);
	assert_int_equal(queue_join(f->queue, &f->waiters[MAX + 1]), -ENOSPC);
	expect_served(f, &f->web, 0);

	assert_non_null(none);
	assert_int_equal(queue_join(none, &w), -ENOSPC);
	queue_free(none);
}

static void test_who_comes_back_is_before_who_came_later(void **state)
{
	struct fixture *f = *state;

	join(f, 0);
	join(f, 1);
	expect_served(f, &f->web, 0);
	expect_served(f, &f->web, 1);
	join(f, 2);
	join(f, 3);
	join(f, 1);
	join(f, 0);
	for (int i = 0; i < 4; i++)
		expect_served(f, &f->web, i);
}

static void test_apps(void **state)
{
	struct fixture *f = *state;

	f->waiters[1].app = "ssh";
	f->waiters[2].app = "";
	f->waiters[4].app = "";
	join(f, 0);
	assert_true(queue_wanted(f->queue, "web"));
	assert_false(queue_wanted(f->queue, "ssh"));
	for (int i = 1; i < 5; i++)
		join(f, i);
	assert_true(queue_wanted(f->queue, "ssh"));
	expect_served(f, &f->ssh, 1);
	expect_served(f, &f->ssh, 2); /* of every app, since it came before the next of web */
	expect_served(f, &f->web, 0);
	expect_served(f, &f->web, 3);
	assert_true(queue_wanted(f->queue, "anything"));
	expect_served(f, &f->web, 4);
	expect_nobody(f, &f->ssh);
}

/* Names with the same hash share a line, and nothing else. */
static void test_many_apps(void **state)
{
	enum { APPS = 1000 };
	static struct waiter waiters[APPS];
	static char names[APPS][8];
	struct fixture *f = *state;
	struct queue *q = queue_new(APPS, 1);
	uint32_t slot;

	for (int i = 0; i < APPS; i++) {
		snprintf(names[i], sizeof(names[i]), "app%d", i);
		waiters[i] = (struct waiter){.app = names[i]};
		assert_int_equal(queue_join(q, &waiters[i]), 0);
	}
	for (int i = APPS - 1; i >= 0; i--) {
		f->web.app = names[i];
		assert_int_equal(queue_offer(q, f->live, &f->web), 0);
		assert_ptr_equal(queue_take(q, 0, &slot), &waiters[i]);
		assert_int_equal(queue_offer(q, f->live, &f->web), QUEUE_NOBODY);
		live_release(f->live, slot);
	}
	queue_free(q);
}

static void test_what_was_tried_will_not_do(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tried_add(&f->tried, f->web.slot), 0);
	f->waiters[0].tried = &f->tried;
	join(f, 0);
	expect_nobody(f, &f->web);
	join(f, 1);
	expect_served(f, &f->web, 1);
	expect_served(f, &f->other, 0);
}

static void test_a_full_backend_serves_nobody(void **state)
{
	struct fixture *f = *state;

	join(f, 0);
	assert_true(live_reserve(f->live, f->web.slot, 1));
	assert_int_equal(queue_offer(f->queue, f->live, &f->web), QUEUE_NOBODY);
	assert_int_equal(live_connections(f->live, f->web.slot), 1);
	assert_int_equal(queue_length(f->queue), 1);
}

static void test_a_reserved_place_is_passed_on(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	assert_true(live_reserve(f->live, f->web.slot, 1));
	assert_int_equal(queue_pass(f->queue, &f->web), QUEUE_NOBODY);
	join(f, 1);
	assert_int_equal(queue_pass(f->queue, &f->web), f->waiters[1].owner);
	assert_int_equal(live_connections(f->live, f->web.slot), 1);
	assert_ptr_equal(queue_take(f->queue, f->waiters[1].owner, &slot), &f->waiters[1]);
}

static void test_leaving(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	/* One that was never in. */
	assert_int_equal(queue_leave(f->queue, &f->waiters[0]), LIVE_NO_SLOT);
	for (int i = 0; i < 3; i++)
		join(f, i);
	assert_int_equal(queue_leave(f->queue, &f->waiters[0]), LIVE_NO_SLOT);
	assert_int_equal(queue_length(f->queue), 2);

	/* One that has been given a place, and leaves before its owner hears of it. */
	assert_int_equal(queue_offer(f->queue, f->live, &f->web), f->waiters[1].owner);
	assert_int_equal(queue_length(f->queue), 1);
	assert_int_equal(queue_leave(f->queue, &f->waiters[1]), f->web.slot);
	assert_null(queue_take(f->queue, f->waiters[1].owner, &slot));
	live_release(f->live, f->web.slot);
	expect_served(f, &f->web, 2);
}

/* --- threads --- */

enum { THREADS = 4, BACKENDS = 3, LIMIT = 2, ROUNDS = 3000 };

struct crowd {
	struct live *live;
	struct queue *queue;
	struct backend backends[BACKENDS];
	atomic_uint open[BACKENDS];
	atomic_uint served, left, too_many;
};

struct member {
	struct crowd *c;
	uint32_t number;
	struct waiter waiters[4];
	uint64_t last_ticket;
};

static void use_place(struct member *m, uint32_t slot)
{
	struct crowd *c = m->c;

	for (int i = 0; i < BACKENDS; i++) {
		if (c->backends[i].slot != slot)
			continue;
		if (atomic_fetch_add(&c->open[i], 1) >= LIMIT)
			atomic_fetch_add(&c->too_many, 1);
		sched_yield();
		atomic_fetch_sub(&c->open[i], 1);
		live_release(c->live, slot);
		if (queue_length(c->queue) != 0)
			queue_offer(c->queue, c->live, &c->backends[i]);
	}
	atomic_fetch_add(&c->served, 1);
}

/* As proxy/dial.c: a place that is found goes to the first who waits. 0: it is ours. */
static int find_place(struct crowd *c, uint32_t *ret_slot)
{
	for (int i = 0; i < BACKENDS; i++) {
		while (live_reserve(c->live, c->backends[i].slot, LIMIT)) {
			*ret_slot = c->backends[i].slot;
			if (queue_pass(c->queue, &c->backends[i]) == QUEUE_NOBODY)
				return 0;
		}
	}
	return -EAGAIN;
}

static void take_all(struct member *m, unsigned *waiting)
{
	struct waiter *w;
	uint32_t slot;

	while ((w = queue_take(m->c->queue, m->number, &slot)) != NULL) {
		(*waiting)--;
		use_place(m, slot);
		w->ticket = 0;
	}
}

static void *take_part(void *arg)
{
	struct member *m = arg;
	struct crowd *c = m->c;
	unsigned waiting = 0;
	uint32_t slot;

	for (int round = 0; round < ROUNDS; round++) {
		struct waiter *w = &m->waiters[round % 4];

		take_all(m, &waiting);
		if (w->ticket != 0) { /* has waited for four rounds */
			if (round % 16 != 0) {
				sched_yield();
				continue;
			}
			slot = queue_leave(c->queue, w);
			waiting--;
			w->ticket = 0;
			if (slot != LIVE_NO_SLOT)
				use_place(m, slot);
			else
				atomic_fetch_add(&c->left, 1);
		}
		if (find_place(c, &slot) == 0) {
			use_place(m, slot);
			continue;
		}
		*w = (struct waiter){.app = "web", .owner = m->number};
		assert_int_equal(queue_join(c->queue, w), 0);
		waiting++;
		if (find_place(c, &slot) == 0)
			use_place(m, slot);
	}
	/* Whoever still waits is served, without any help but the releases of others. */
	while (waiting > 0) {
		take_all(m, &waiting);
		sched_yield();
	}
	return NULL;
}

static void test_nobody_is_lost_in_a_crowd(void **state)
{
	static struct crowd c;
	static struct member members[THREADS];
	static const char *const ids[BACKENDS] = {"a", "b", "c"};
	pthread_t threads[THREADS];

	(void)state;
	c = (struct crowd){.live = live_new(), .queue = queue_new(100, THREADS)};
	for (int i = 0; i < BACKENDS; i++) {
		c.backends[i] = backend_of(c.live, ids[i], "web");
		c.backends[i].hard_limit = LIMIT;
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		members[i] = (struct member){.c = &c, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, take_part, &members[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&c.too_many), 0);
	assert_int_equal(queue_length(c.queue), 0);
	for (int i = 0; i < BACKENDS; i++)
		assert_int_equal(live_connections(c.live, c.backends[i].slot), 0);
	queue_free(c.queue);
	live_free(c.live);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_first_come_first_served),
		TEST(test_bounded),
		TEST(test_who_comes_back_is_before_who_came_later),
		TEST(test_apps),
		TEST(test_many_apps),
		TEST(test_what_was_tried_will_not_do),
		TEST(test_a_full_backend_serves_nobody),
		TEST(test_a_reserved_place_is_passed_on),
		TEST(test_leaving),
		cmocka_unit_test(test_nobody_is_lost_in_a_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
