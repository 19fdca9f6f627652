/* Waiting for a place: who may, how it ends, and how long it was. The sessions here are in DIAL as
 * if they had found every backend full; the waiting is the test's, as it else is the dial's. */
#include "proxy/waiting.h"

#include "fixture.h"

/* A client that looked for a place in vain. */
struct client {
	struct session *s;
	struct waiting waiting;
	struct tried tried;
	int fd;
};

static void client_open(struct client *c, struct fixture *f)
{
	int fd[2];

	unix_pair(fd);
	*c = (struct client){.s = session_at(f, fd[0]), .fd = fd[1]};
	c->waiting.session = c->s;
	session_move(c->s, SESSION_DIAL);
}

/* As when its dial ends. */
static void client_close(struct client *c)
{
	waiting_leave(&c->waiting);
	tried_done(&c->tried);
	close(c->fd);
}

static void join(struct client *c)
{
	waiting_join(&c->waiting, &c->tried, false);
}

/* The backend of this name has a place for the first who waits: its owner. */
static uint32_t give(struct fixture *f, const char *id)
{
	return queue_offer(f->shared.queue, f->live, backend(f, id));
}

static void assert_closed(const struct client *c, enum close_reason reason)
{
	assert_int_equal(c->s->state, SESSION_CLOSED);
	assert_int_equal(c->s->reason, reason);
	assert_false(c->waiting.in);
	assert_false(c->s->queued);
}

static int setup_backends(void **state)
{
	int err = setup(state);
	struct fixture *f = *state;

	add(f, "a", "web", 10);
	add(f, "b", "web", 10);
	publish(f);
	return err;
}

#define WITH_BACKENDS(name) cmocka_unit_test_setup_teardown(name, setup_backends, teardown)

static void who_joins_waits(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_open(&c, f);
	f->config.queue_timeout_ms = 700;
	join(&c);
	assert_int_equal(c.s->state, SESSION_QUEUE);
	assert_true(c.waiting.in);
	assert_true(c.s->queued);
	assert_true(timer_armed(&c.s->timer));
	assert_int_equal(c.s->timer.expires_ms, f->w->now_ms + 700);
	assert_int_equal(queue_length(f->shared.queue), 1);
	assert_int_equal(f->w->waiting, 1);
	assert_int_equal(counter_read(&f->w->counters.queued), 1);
	client_close(&c);
	assert_int_equal(queue_length(f->shared.queue), 0);
	assert_int_equal(f->w->waiting, 0);
}

/* As long as somebody waits, all places are offered now and then. */
static void the_first_starts_the_offers(void **state)
{
	struct fixture *f = *state;
	struct timer *offers = &f->w->offer_all;
	struct client c[2];

	assert_false(timer_armed(offers));
	client_open(&c[0], f);
	join(&c[0]);
	assert_int_equal(offers->expires_ms, f->w->now_ms + WAITING_RETRY_MS);
	later(f, 10);
	client_open(&c[1], f);
	join(&c[1]);
	assert_int_equal(offers->expires_ms, f->w->now_ms - 10 + WAITING_RETRY_MS);
	assert_int_equal(f->w->waiting, 2);
	client_close(&c[0]);
	client_close(&c[1]);
}

static void where_nobody_may_wait(void **state)
{
	struct fixture *f = *state;
	struct client c[2];

	f->config.queue_max = 0;
	client_open(&c[0], f);
	join(&c[0]);
	assert_closed(&c[0], CLOSE_BACKENDS_FULL);
	/* It is the failed tries that it ends with. */
	client_open(&c[1], f);
	c[1].s->retries = 1;
	join(&c[1]);
	assert_closed(&c[1], CLOSE_CONNECT_FAILED);
	assert_int_equal(counter_read(&f->w->counters.queued), 0);
	assert_int_equal(f->w->waiting, 0);
	client_close(&c[0]);
	client_close(&c[1]);
}

static void a_full_queue(void **state)
{
	struct fixture *f = *state;
	struct client c[2];

	queue_free(f->shared.queue);
	f->shared.queue = queue_new(1, FIXTURE_WORKERS);
	client_open(&c[0], f);
	client_open(&c[1], f);
	join(&c[0]);
	join(&c[1]);
	assert_int_equal(c[0].s->state, SESSION_QUEUE);
	assert_closed(&c[1], CLOSE_QUEUE_FULL);
	assert_int_equal(f->w->waiting, 1);
	assert_int_equal(counter_read(&f->w->counters.queued), 1); /* who waited */
	client_close(&c[0]);
	client_close(&c[1]);
}

/* Who has left need not wait, and who leaves need no longer. */
static void a_client_that_leaves(void **state)
{
	static const struct {
		bool failed, hangup, ends, speaks, has_request;
		bool left;
	} rows[] = {
		{.left = false},
		{.speaks = true, .left = false},
		{.failed = true, .left = true},
		{.failed = true, .speaks = true, .has_request = true, .left = true},
		/* The kernel has told of urgent data, say. */
		{.hangup = true, .left = false},
		/* It has ended its side: has it left something for a backend? */
		{.hangup = true, .ends = true, .left = true},
		{.hangup = true, .ends = true, .speaks = true, .left = false},
		{.hangup = true, .ends = true, .has_request = true, .left = false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int before = 0; before < 2; before++) {
			struct client c;

			client_open(&c, f);
			if (!before)
				waiting_join(&c.waiting, &c.tried, rows[i].has_request);
			if (rows[i].speaks)
				say(c.fd, "hello");
			if (rows[i].ends)
				shutdown(c.fd, SHUT_WR);
			c.s->end[CLIENT].failed = rows[i].failed;
			c.s->end[CLIENT].hangup = rows[i].hangup;
			if (before)
				waiting_join(&c.waiting, &c.tried, rows[i].has_request);
			else
				waiting_event(&c.waiting);
			assert_int_equal(c.s->state, rows[i].left ? SESSION_CLOSED : SESSION_QUEUE);
			if (rows[i].left)
				assert_int_equal(c.s->reason, CLOSE_CLIENT_GONE);
			assert_int_equal(c.waiting.in, !before || !rows[i].left);
			client_close(&c);
			assert_int_equal(f->w->waiting, 0);
		}
	}
}

static void a_reset_client_has_left(void **state)
{
	struct fixture *f = *state;
	struct client c;
	int fd[2];

	tcp_pair(fd);
	c = (struct client){.s = session_at(f, fd[0]), .fd = dup(fd[0])};
	c.waiting.session = c.s;
	session_move(c.s, SESSION_DIAL);
	join(&c);
	reset(fd[1]);
	until(fd[0], 0);
	c.s->end[CLIENT].hangup = true; /* and nobody has said that it failed */
	waiting_event(&c.waiting);
	assert_int_equal(c.s->state, SESSION_CLOSED);
	assert_int_equal(c.s->reason, CLOSE_CLIENT_GONE);
	client_close(&c);
}

static void a_wait_in_vain(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_open(&c, f);
	join(&c);
	later(f, f->config.queue_timeout_ms);
	assert_int_equal(waiting_timeout(&c.waiting), LIVE_NO_SLOT);
	assert_int_equal(c.s->state, SESSION_CLOSED);
	assert_int_equal(c.s->reason, CLOSE_QUEUE_TIMEOUT);
	assert_int_equal(queue_length(f->shared.queue), 0);
	client_close(&c);
	assert_int_equal(f->w->waiting, 0);
	assert_int_equal(c.s->queue_us, f->config.queue_timeout_ms * 1000);
}

/* The owner does not know yet that it has a place. */
static void a_place_in_the_last_moment(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = backend(f, "a")->slot, other;
	struct client c;

	client_open(&c, f);
	join(&c);
	later(f, 40);
	assert_int_equal(give(f, "a"), worker_number(f->w));
	assert_int_equal(waiting_timeout(&c.waiting), slot);
	assert_int_equal(c.s->state, SESSION_QUEUE); /* where it goes is the caller's to say */
	assert_int_equal(f->w->waiting, 0);
	assert_int_equal(c.s->queue_us, 40000);
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_null(waiting_take(f->w, &other)); /* nor is it told a second time */
	client_close(&c);
	assert_int_equal(f->w->waiting, 0);
	live_release(f->live, slot);
}

static void places_are_taken_in_turn(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = LIVE_NO_SLOT;
	struct client c[3];

	assert_null(waiting_take(f->w, &slot));
	for (int i = 0; i < 3; i++) {
		client_open(&c[i], f);
		join(&c[i]);
		later(f, 10);
	}
	assert_int_equal(give(f, "b"), 0);
	assert_int_equal(give(f, "a"), 0);
	assert_ptr_equal(waiting_take(f->w, &slot), c[0].s);
	assert_int_equal(slot, backend(f, "b")->slot);
	assert_ptr_equal(waiting_take(f->w, &slot), c[1].s);
	assert_int_equal(slot, backend(f, "a")->slot);
	assert_null(waiting_take(f->w, &slot));
	assert_int_equal(c[0].s->queue_us, 30000);
	assert_int_equal(c[1].s->queue_us, 20000);
	assert_int_equal(f->w->waiting, 1);
	assert_true(c[2].waiting.in);
	live_release(f->live, backend(f, "a")->slot);
	live_release(f->live, backend(f, "b")->slot);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
}

/* Whoever is of another worker is not ours to take. */
static void each_worker_takes_its_own(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = LIVE_NO_SLOT;
	struct client c;

	f->w = &f->workers[1];
	client_open(&c, f);
	join(&c);
	assert_int_equal(give(f, "a"), 1);
	assert_null(waiting_take(&f->workers[0], &slot));
	assert_ptr_equal(waiting_take(&f->workers[1], &slot), c.s);
	live_release(f->live, slot);
	client_close(&c);
}

/* Closed before its worker knew that it had one. */
static void who_leaves_gives_its_place_to_the_next(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = backend(f, "a")->slot, got = LIVE_NO_SLOT;
	struct client c[2];

	for (int i = 0; i < 2; i++) {
		client_open(&c[i], f);
		join(&c[i]);
	}
	assert_int_equal(give(f, "a"), 0);
	session_close(c[0].s, CLOSE_CLIENT_GONE);
	waiting_leave(&c[0].waiting);
	assert_int_equal(letters(f->w), 1);
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_ptr_equal(waiting_take(f->w, &got), c[1].s);
	assert_int_equal(got, slot);
	live_release(f->live, slot);

	/* Nobody is next. */
	session_move(c[1].s, SESSION_DIAL);
	join(&c[1]);
	assert_int_equal(give(f, "a"), 0);
	waiting_leave(&c[1].waiting);
	assert_int_equal(live_connections(f->live, slot), 0);
	assert_int_equal(letters(f->w), 0);
	assert_int_equal(f->w->waiting, 0);
	waiting_leave(&c[1].waiting); /* twice is once */
	assert_int_equal(f->w->waiting, 0);
	client_close(&c[0]);
	client_close(&c[1]);
}

/* A place that was of no use: the client waits on, with its old ticket and its old deadline. */
static void time_adds_up_over_all_waiting(void **state)
{
	struct fixture *f = *state;
	uint64_t began_ms = f->w->now_ms;
	uint32_t slot;
	struct client c, rival;

	f->config.queue_timeout_ms = 1000;
	client_open(&c, f);
	join(&c);
	client_open(&rival, f);
	later(f, 300);
	join(&rival);
	assert_int_equal(give(f, "a"), 0);
	assert_ptr_equal(waiting_take(f->w, &slot), c.s);
	live_release(f->live, slot);
	session_move(c.s, SESSION_DIAL);
	later(f, 100); /* not in the queue */
	assert_int_equal(tried_add(&c.tried, slot), 0);
	join(&c);
	assert_int_equal(c.s->queue_us, 300000);
	assert_int_equal(counter_read(&f->w->counters.queued), 2); /* clients */
	assert_int_equal(c.s->timer.expires_ms, began_ms + 1000);
	later(f, 200);
	/* It is before those who came later, but not at a backend that it has tried. */
	assert_int_equal(give(f, "a"), 0);
	assert_ptr_equal(waiting_take(f->w, &slot), rival.s);
	live_release(f->live, slot);
	session_move(rival.s, SESSION_DIAL);
	join(&rival);
	assert_int_equal(give(f, "b"), 0);
	assert_ptr_equal(waiting_take(f->w, &slot), c.s);
	live_release(f->live, slot);
	assert_int_equal(c.s->queue_us, 500000);

	/* When its time is up, it does not begin again. */
	session_move(c.s, SESSION_DIAL);
	later(f, 400);
	join(&c);
	assert_int_equal(c.s->state, SESSION_CLOSED);
	assert_int_equal(c.s->reason, CLOSE_QUEUE_TIMEOUT);
	assert_int_equal(c.s->queue_us, 500000);
	client_close(&c);
	client_close(&rival);
}

static void the_time_has_a_limit(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_open(&c, f);
	c.s->queue_us = UINT32_MAX - 5;
	join(&c);
	later(f, 1);
	waiting_leave(&c.waiting);
	assert_int_equal(c.s->queue_us, UINT32_MAX);
	client_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_joins_waits),
		TEST(the_first_starts_the_offers),
		TEST(where_nobody_may_wait),
		TEST(a_full_queue),
		TEST(a_client_that_leaves),
		TEST(a_reset_client_has_left),
		TEST(a_wait_in_vain),
		WITH_BACKENDS(a_place_in_the_last_moment),
		WITH_BACKENDS(places_are_taken_in_turn),
		WITH_BACKENDS(each_worker_takes_its_own),
		WITH_BACKENDS(who_leaves_gives_its_place_to_the_next),
		WITH_BACKENDS(time_adds_up_over_all_waiting),
		TEST(the_time_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
