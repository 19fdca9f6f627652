/* Places are given to whoever waits first: by a release, by who found one, or when all are offered.
 * Waiters stand in the queue by themselves here; a letter tells their worker. */
#include "proxy/places.h"

#include "fixture.h"
#include "route/queue.h"

/* Clients of both workers, by turns. */
#define WAITERS 6

struct waiters {
	struct queue *queue;
	struct waiter w[WAITERS];
};

static void wait_for(struct waiters *q, struct fixture *f, int i, const char *app)
{
	q->queue = f->shared.queue;
	q->w[i] = (struct waiter){.app = app, .owner = (uint32_t)i % FIXTURE_WORKERS};
	assert_int_equal(queue_join(q->queue, &q->w[i]), 0);
}

/* Where waiter i has been given a place, which it gives back; LIVE_NO_SLOT: nowhere. */
static uint32_t served(struct waiters *q, struct fixture *f, int i)
{
	uint32_t slot = queue_leave(q->queue, &q->w[i]);

	if (slot != LIVE_NO_SLOT)
		live_release(f->live, slot);
	return slot;
}

static uint32_t take(struct fixture *f, const char *id)
{
	const struct backend *b = backend(f, id);

	assert_true(live_reserve(f->live, b->slot, b->hard_limit));
	return b->slot;
}

static void a_place_that_nobody_wants(void **state)
{
	struct fixture *f = *state;
	uint32_t slot;

	add(f, "a", "web", 1);
	publish(f);
	slot = take(f, "a");
	places_release(f->w, slot);
	assert_int_equal(live_connections(f->live, slot), 0);
	slot = take(f, "a");
	assert_false(places_pass(f->w, backend(f, "a")));
	assert_int_equal(live_connections(f->live, slot), 1); /* still the caller's */
	places_offer_all(f->w);
	assert_int_equal(live_connections(f->live, slot), 1);
	live_release(f->live, slot);
	assert_int_equal(letters(&f->workers[0]) + letters(&f->workers[1]), 0);
}

/* Whoever's worker that is. */
static void a_release_is_for_the_first_who_waits(void **state)
{
	struct fixture *f = *state;
	struct waiters q;
	uint32_t slot;

	add(f, "a", "web", 1);
	publish(f);
	slot = take(f, "a");
	for (int i = 0; i < 3; i++)
		wait_for(&q, f, i, "web");
	for (int i = 0; i < 3; i++) {
		places_release(f->w, slot);
		assert_int_equal(live_connections(f->live, slot), 1); /* it never was free */
		assert_int_equal(queue_length(q.queue), 2 - i);
		assert_int_equal(letters(&f->workers[i % 2]), 1);
		assert_int_equal(letters(&f->workers[!(i % 2)]), 0);
		assert_int_equal(queue_leave(q.queue, &q.w[i]), slot);
	}
	places_release(f->w, slot);
	assert_int_equal(live_connections(f->live, slot), 0);
}

/* One that gets out of use while somebody waits. */
static void no_place_where_nobody_may_go(void **state)
{
	struct fixture *f = *state;
	struct backend_row *row = add(f, "a", "web", 1);
	struct waiters q;
	uint32_t slot;

	publish(f);
	slot = take(f, "a");
	wait_for(&q, f, 0, "web");

	row->state = STATE_DRAIN;
	publish(f);
	places_release(f->w, slot);
	assert_int_equal(live_connections(f->live, slot), 0);
	row->state = STATE_READY;
	publish(f);
	slot = take(f, "a");
	live_set_fault(f->live, slot, LIVE_CHECK_DOWN, true);
	places_release(f->w, slot);
	places_offer_all(f->w);
	assert_int_equal(live_connections(f->live, slot), 0);
	live_set_fault(f->live, slot, LIVE_CHECK_DOWN, false);
	/* Its row is gone. */
	slot = take(f, "a");
	f->rows.backend_count = 0;
	publish(f);
	places_release(f->w, slot);
	assert_int_equal(live_connections(f->live, slot), 0);

	assert_int_equal(letters(&f->workers[0]), 0);
	assert_int_equal(served(&q, f, 0), LIVE_NO_SLOT);
}

/* One of the few that try whether an ejected backend is sound again. */
static void who_is_given_a_trial_takes_it(void **state)
{
	struct fixture *f = *state;
	struct waiters q;
	uint32_t slot;

	add(f, "a", "web", 10);
	publish(f);
	slot = backend(f, "a")->slot;
	live_set_fault(f->live, slot, LIVE_EJECTED, true);
	live_set_trials(f->live, slot, 2);
	for (int i = 0; i < 4; i++)
		wait_for(&q, f, i, "web");
	places_offer_all(f->w);
	assert_int_equal(live_connections(f->live, slot), 2);
	assert_true(live_is_shut(f->live, slot));
	for (int i = 0; i < 4; i++)
		assert_int_equal(served(&q, f, i), i < 2 ? slot : LIVE_NO_SLOT);
	assert_int_equal(letters(&f->workers[0]), 1);
	assert_int_equal(letters(&f->workers[1]), 1);
}

static void a_place_found_is_passed_on(void **state)
{
	struct fixture *f = *state;
	struct tried tried;
	struct waiters q;
	uint32_t slot;

	add(f, "a", "web", 1);
	add(f, "b", "web", 1);
	publish(f);
	wait_for(&q, f, 1, "web");
	slot = take(f, "a");
	assert_true(places_pass(f->w, backend(f, "a")));
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_int_equal(letters(&f->workers[0]), 0);
	assert_int_equal(letters(&f->workers[1]), 1);
	assert_int_equal(served(&q, f, 1), slot);

	/* It will not do for who has tried it. */
	tried_init(&tried);
	assert_int_equal(tried_add(&tried, slot), 0);
	q.w[0] = (struct waiter){.app = "web", .tried = &tried};
	assert_int_equal(queue_join(q.queue, &q.w[0]), 0);
	slot = take(f, "a");
	assert_false(places_pass(f->w, backend(f, "a")));
	places_release(f->w, slot);
	assert_int_equal(live_connections(f->live, slot), 0);
	slot = take(f, "b");
	assert_true(places_pass(f->w, backend(f, "b")));
	assert_int_equal(served(&q, f, 0), slot);
	assert_int_equal(letters(&f->workers[0]), 1);
	tried_done(&tried);
}

static void all_places_are_offered(void **state)
{
	struct fixture *f = *state;
	struct waiters q;
	uint32_t web, mail;

	add(f, "a", "web", 2);
	add(f, "b", "mail", 1);
	publish(f);
	web = take(f, "a"); /* one of two is taken */
	mail = backend(f, "b")->slot;
	wait_for(&q, f, 0, "web");
	wait_for(&q, f, 1, "web");
	wait_for(&q, f, 2, "other");
	wait_for(&q, f, 3, "mail");
	wait_for(&q, f, 4, ""); /* of every app */
	places_offer_all(f->w);
	assert_int_equal(live_connections(f->live, web), 2);
	assert_int_equal(live_connections(f->live, mail), 1);
	assert_int_equal(letters(&f->workers[0]), 1);
	assert_int_equal(letters(&f->workers[1]), 1);
	assert_int_equal(queue_length(q.queue), 3);
	places_offer_all(f->w); /* there are no more */
	assert_int_equal(queue_length(q.queue), 3);

	/* A larger limit: the one who waits for web was before the one for every app. */
	f->rows.backends[0].hard_limit = 4;
	publish(f);
	places_offer_all(f->w);
	assert_int_equal(live_connections(f->live, web), 4);
	assert_int_equal(served(&q, f, 0), web);
	assert_int_equal(served(&q, f, 1), web);
	assert_int_equal(served(&q, f, 2), LIVE_NO_SLOT);
	assert_int_equal(served(&q, f, 3), mail);
	assert_int_equal(served(&q, f, 4), web);
	assert_int_equal(letters(&f->workers[0]), 1);
	assert_int_equal(letters(&f->workers[1]), 1);
	live_release(f->live, web);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_place_that_nobody_wants),    TEST(a_release_is_for_the_first_who_waits),
		TEST(no_place_where_nobody_may_go), TEST(who_is_given_a_trial_takes_it),
		TEST(a_place_found_is_passed_on),   TEST(all_places_are_offered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
