/* The end of sessions: what each had is given back, once, and nobody takes a cut stream for a whole
 * one. The fixture looks for what was left when a test is over. */
#include "proxy/closing.h"

#include "fixture.h"
#include "proxy/admission.h"
#include "proxy/dial.h"

/* A session in state RELAY, with its peers. */
struct connection {
	struct session *s;
	int client, server;
};

static void relaying(struct connection *c, struct fixture *f, const char *id)
{
	const struct backend *b = backend(f, id);
	int client[2], server[2];

	tcp_pair(client);
	tcp_pair(server);
	*c = (struct connection){session_at(f, client[0]), client[1], server[0]};
	assert_true(live_reserve(f->live, b->slot, b->hard_limit));
	c->s->slot = b->slot;
	c->s->end[BACKEND].fd = server[1];
	c->s->connected = true;
	session_move(c->s, SESSION_DIAL);
	session_move(c->s, SESSION_RELAY);
}

static void close_session(struct session *s, enum close_reason reason)
{
	session_close(s, reason);
	closing_run(s->worker);
}

static int setup_backend(void **state)
{
	int err = setup(state);
	struct fixture *f = *state;

	add(f, "a", "web", 10);
	publish(f);
	return err;
}

#define WITH_BACKEND(name) cmocka_unit_test_setup_teardown(name, setup_backend, teardown)

static uint64_t ended_with(const struct fixture *f, enum close_reason reason)
{
	return counter_read(&f->w->counters.ended[reason]);
}

static unsigned length(const struct list *head)
{
	unsigned n = 0;

	for (const struct list *node = head->next; node != head; node = node->next)
		n++;
	return n;
}

static void done_is_an_end(void **state)
{
	struct fixture *f = *state;
	struct flight_record r;
	struct connection c;

	relaying(&c, f, "a");
	close_session(c.s, CLOSE_DONE);
	assert_int_equal(ended(c.client), 0);
	assert_int_equal(ended(c.server), 0);
	assert_int_equal(ended_with(f, CLOSE_DONE), 1);
	assert_int_equal(flight_take(&f->w->flight, &r, 1), 0);
}

/* Of both sides, whatever the reason. */
static void any_other_end_is_a_reset(void **state)
{
	struct fixture *f = *state;

	for (int reason = 0; reason < CLOSE_REASON_COUNT; reason++) {
		struct flight_record r;
		struct connection c;

		if (reason == CLOSE_DONE)
			continue;
		relaying(&c, f, "a");
		close_session(c.s, (enum close_reason)reason);
		assert_int_equal(ended(c.client), ECONNRESET);
		assert_int_equal(ended(c.server), ECONNRESET);
		assert_int_equal(ended_with(f, (enum close_reason)reason), 1);
		assert_int_equal(flight_take(&f->w->flight, &r, 1), 1);
		assert_int_equal(r.kind, FLIGHT_ENDED);
		assert_int_equal(r.detail, reason);
		assert_int_equal(r.slot, backend(f, "a")->slot);
	}
}

static void everything_is_given_back_once(void **state)
{
	const struct client_limits_options limits = {
		.max_entries = 10, .max_conn = 5, .v4_bits = 32, .v6_bits = 64};
	const struct place nowhere = {.country = "", .region = REGION_NONE};
	struct fixture *f = *state;
	uint32_t slot = backend(f, "a")->slot, count;
	struct connection c, other;
	unsigned before;

	f->shared.client_limits = client_limits_new(&limits);
	relaying(&other, f, "a");
	assert_true(admission_enter(other.s, &nowhere));
	before = open_descriptors();
	relaying(&c, f, "a");
	assert_true(admission_enter(c.s, &nowhere));
	c.s->peer = malloc(sizeof(*c.s->peer));
	c.s->dir[CLIENT].pipe = pipe_pool_get(&f->w->relay.pipes);
	assert_non_null(c.s->dir[CLIENT].pipe);
	c.s->dir[CLIENT].pipe->used = 1; /* so it is closed, not kept for the next */
	c.s->dir[BACKEND].tail = relay_tail_new((const uint8_t *)"rest", 4);
	session_close(c.s, CLOSE_SERVER_RESET);
	for (int i = 0; i < 2; i++) { /* of the second there is nothing to find */
		closing_run(f->w);
		assert_int_equal(live_total(f->live), 1);
		assert_int_equal(live_connections(f->live, slot), 1);
		assert_int_equal(atomic_load(&f->w->load), 1);
		(void)!client_limits_look(f->shared.client_limits, &c.s->client.ip, f->w->now_ns,
		                          &count);
		assert_int_equal(count, 1);
		assert_int_equal(atomic_load(&f->service->refs),
		                 1 + 1 + 1); /* ours, the table's, the other session's */
		assert_int_equal(f->w->relay.pipes.lent, 0);
		assert_int_equal(ended_with(f, CLOSE_SERVER_RESET), 1);
		assert_int_equal(c.s->end[CLIENT].fd, -1);
		assert_int_equal(c.s->end[BACKEND].fd, -1);
		/* Its memory stays until the end of the turn. */
		assert_int_equal(length(&f->w->closing), 0);
		assert_int_equal(length(&f->w->dead), 1);
		assert_int_equal(f->w->session_pool.in_use, 2);
	}
	close(c.client);
	close(c.server);
	assert_int_equal(open_descriptors(), before);
	session_free(c.s);
	assert_int_equal(f->w->session_pool.in_use, 1);
	close(other.client);
	close(other.server);
}

/* One that got no further than the door has nothing but its client. */
static void what_it_never_had_is_not_given_back(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = backend(f, "a")->slot;
	struct session *s;
	int fd[2];

	assert_true(live_reserve(f->live, slot, 10)); /* somebody's */
	tcp_pair(fd);
	s = session_at(f, fd[0]);
	close_session(s, CLOSE_CLIENT_GONE);
	assert_int_equal(ended(fd[1]), ECONNRESET);
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_int_equal(live_total(f->live), 0);
	live_release(f->live, slot);
}

/* A use lasts until the session's end, if it came to one. */
static void the_binding_is_used_until_now(void **state)
{
	struct fixture *f = *state;
	struct binding binding = {0};

	for (int connected = 0; connected < 2; connected++) {
		struct connection c;

		relaying(&c, f, "a");
		c.s->connected = connected != 0;
		close_session(c.s, CLOSE_CONNECT_FAILED);
		assert_int_equal(affinity_peek(f->shared.affinity, &c.s->client.ip, f->service->key,
		                               f->w->now_ms, &binding),
		                 connected);
		close(c.client);
		close(c.server);
	}
	assert_int_equal(binding.slot, backend(f, "a")->slot);
}

static void an_answer_is_a_success(void **state)
{
	static const struct {
		bool connected, answered, noted;
		unsigned successes;
	} rows[] = {
		{true, true, false, 1},
		{true, true, true, 0}, /* it has been counted */
		{true, false, false, 0},
		{false, true, false, 0}, /* of an earlier backend */
	};
	struct fixture *f = *state;
	uint32_t slot = backend(f, "a")->slot;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t before = live_outcomes(f->live, slot).successes;
		struct connection c;

		relaying(&c, f, "a");
		c.s->connected = rows[i].connected;
		c.s->noted = rows[i].noted;
		c.s->dir[BACKEND].bytes = rows[i].answered;
		close_session(c.s, CLOSE_DONE);
		assert_int_equal(live_outcomes(f->live, slot).successes - before,
		                 rows[i].successes);
		close(c.client);
		close(c.server);
	}
}

/* ---- several ---- */

/* Starts a search for a backend. */
static struct session *dialling(struct fixture *f, int *ret_client)
{
	const struct place nowhere = {.country = "", .region = REGION_NONE};
	struct session *s;
	int fd[2];

	tcp_pair(fd);
	s = session_at(f, fd[0]);
	dial_start(s, &nowhere, NULL);
	*ret_client = fd[1];
	return s;
}

static void the_first_closed_is_the_first_to_go(void **state)
{
	static const int order[] = {2, 0, 1};
	static const enum close_reason reasons[] = {CLOSE_CLIENT_RESET, CLOSE_SHUTDOWN,
	                                            CLOSE_OPERATOR};
	struct fixture *f = *state;
	struct connection c[3];
	struct flight_record r[4];
	struct list *dead = &f->w->dead;

	for (int i = 0; i < 3; i++)
		relaying(&c[i], f, "a");
	for (int i = 0; i < 3; i++)
		session_close(c[order[i]].s, reasons[i]);
	closing_run(f->w);
	assert_int_equal(flight_take(&f->w->flight, r, 4), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(r[i].detail, reasons[i]);
		dead = dead->next;
		assert_ptr_equal(dead, &c[order[i]].s->node);
		assert_int_equal(ended_with(f, reasons[i]), 1);
		close(c[i].client);
		close(c[i].server);
	}
	assert_int_equal(live_total(f->live), 0);
}

/* The place of the one that ends first is for one that ends behind it, and so for the next. */
static void a_place_outlives_who_waited_for_it(void **state)
{
	struct fixture *f = *state;
	struct session *waiting[2];
	int client[2];
	struct connection c;
	uint32_t slot;

	f->rows.backends[0].hard_limit = 1;
	publish(f);
	slot = backend(f, "a")->slot;
	relaying(&c, f, "a");
	for (int i = 0; i < 2; i++) {
		waiting[i] = dialling(f, &client[i]);
		assert_int_equal(waiting[i]->state, SESSION_QUEUE);
	}
	session_close(c.s, CLOSE_DONE);
	session_close(waiting[0], CLOSE_OPERATOR);
	closing_run(f->w);
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_int_equal(f->w->waiting, 1);
	assert_int_equal(letters(f->w), 2);
	assert_int_equal(waiting[1]->dial->waiting.waiter.state, WAITER_SERVED);
	assert_int_equal(ended(client[0]), ECONNRESET);
	/* And when that one goes too, it is free. */
	close_session(waiting[1], CLOSE_SHUTDOWN);
	assert_int_equal(live_connections(f->live, slot), 0);
	assert_int_equal(f->w->waiting, 0);
	close(client[1]);
	close(c.client);
	close(c.server);
}

/* ---- while there is a dial ---- */

static void in_the_middle_of_a_try(void **state)
{
	struct fixture *f = *state;
	int listener, client, server, err;
	struct session *s;

	listener = listening(&f->rows.backends[0].addr);
	publish(f);
	s = dialling(f, &client);
	assert_int_equal(s->state, SESSION_DIAL);
	assert_int_equal(live_connections(f->live, s->slot), 1);
	server = accepted(listener);
	say(client, "hello");
	until(s->end[CLIENT].fd, POLLIN);
	assert_int_equal(opening_pass(&s->dial->opening, &err), OPENING_KEPT);
	close_session(s, CLOSE_CONNECT_BUDGET);
	assert_null(s->dial);
	assert_int_equal(live_connections(f->live, s->slot), 0);
	assert_int_equal(counter_read(&f->w->counters.bytes[CLIENT]), 5);
	assert_int_equal(ended(client), ECONNRESET);
	close(server);
	close(listener);
}

/* So many descriptors and no more may be open: as many as are. Returns how many might be. */
static rlim_t limit_descriptors(rlim_t most)
{
	struct rlimit limit;
	rlim_t was;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	was = limit.rlim_cur;
	limit.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return was;
}

static void without_a_descriptor(void **state)
{
	const struct place nowhere = {.country = "", .region = REGION_NONE};
	struct fixture *f = *state;
	struct session *s;
	int fd[2], next;
	rlim_t was;

	tcp_pair(fd);
	s = session_at(f, fd[0]);
	next = dup(fd[0]);
	assert_true(next >= 0);
	close(next);
	was = limit_descriptors((rlim_t)next);
	dial_start(s, &nowhere, NULL);
	limit_descriptors(was);
	assert_int_equal(s->state, SESSION_DIAL);
	assert_int_equal(atomic_load(&f->starved), 1); /* nobody accepts */
	assert_int_equal(s->slot, LIVE_NO_SLOT);
	close_session(s, CLOSE_RESOURCES);
	assert_int_equal(atomic_load(&f->starved), 0);
	assert_int_equal(ended(fd[1]), ECONNRESET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BACKEND(done_is_an_end),
		WITH_BACKEND(any_other_end_is_a_reset),
		WITH_BACKEND(everything_is_given_back_once),
		WITH_BACKEND(what_it_never_had_is_not_given_back),
		WITH_BACKEND(the_binding_is_used_until_now),
		WITH_BACKEND(an_answer_is_a_success),
		WITH_BACKEND(the_first_closed_is_the_first_to_go),
		WITH_BACKEND(a_place_outlives_who_waited_for_it),
		WITH_BACKEND(in_the_middle_of_a_try),
		WITH_BACKEND(without_a_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
