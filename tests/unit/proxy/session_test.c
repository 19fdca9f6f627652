/* What every state may do with a session: where it may go, what an end marks and leaves alone, and
 * what is done once only. */
#include "fixture.h"

#include <netinet/tcp.h>

/* Where each may go, a row a state: H D Q R A C. */
static const char allowed_moves[][7] = {
	[SESSION_HEADER] = ".D...C", [SESSION_DIAL] = "..QR.C",  [SESSION_QUEUE] = ".D...C",
	[SESSION_RELAY] = ".D..AC",  [SESSION_ABORT] = ".....C", [SESSION_CLOSED] = "......",
};

struct move {
	struct session *s;
	enum session_state next;
};

static void make_move(void *arg)
{
	const struct move *m = arg;

	session_move(m->s, m->next);
}

static void states_move_as_the_table_says(void **state)
{
	struct fixture *f = *state;
	int fd[2];
	struct session *s;

	tcp_pair(fd);
	s = session_at(f, fd[0]);
	assert_int_equal(s->state, SESSION_HEADER);
	for (unsigned from = 0; from <= SESSION_CLOSED; from++) {
		for (unsigned to = 0; to <= SESSION_CLOSED; to++) {
			struct move m = {s, (enum session_state)to};

			s->state = (uint8_t)from;
			if (allowed_moves[from][to] == '.') {
				assert_aborts(make_move, &m);
			} else {
				make_move(&m);
				assert_int_equal(s->state, to);
			}
		}
	}
	s->state = SESSION_HEADER;
	close(fd[1]);
}

static void close_again(void *arg)
{
	session_close(arg, CLOSE_DONE);
}

static void an_end_marks_and_gives_nothing_back(void **state)
{
	struct fixture *f = *state;
	struct worker *w = f->w;
	struct session *s;
	int client[2];
	char byte;

	tcp_pair(client);
	s = session_at(f, client[0]);
	session_arm(s, w->now_ms + 1000);
	list_push_back(&w->bulk, &s->turn);
	assert_true(timer_armed(&s->timer));
	session_close(s, CLOSE_OPERATOR);

	assert_int_equal(s->state, SESSION_CLOSED);
	assert_int_equal(s->reason, CLOSE_OPERATOR);
	assert_false(timer_armed(&s->timer));
	assert_true(list_empty(&w->bulk));
	assert_true(list_empty(&w->sessions));
	assert_ptr_equal(w->closing.next, &s->node);
	assert_true(list_empty(&w->dead));
	assert_int_equal(live_total(f->live), 1);
	assert_int_equal(atomic_load(&w->load), 1);
	assert_int_equal(counter_read(&w->counters.ended[CLOSE_OPERATOR]), 0);
	assert_int_equal(s->end[CLIENT].fd, client[0]);
	assert_int_equal(recv(client[1], &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN); /* neither an end nor a reset */
	assert_aborts(close_again, s);
	close(client[1]);
}

/* The time of its accept names it. */
static void no_two_have_one_name(void **state)
{
	struct fixture *f = *state;
	struct session *s[4];
	int fd[4][2];

	for (int i = 0; i < 4; i++) {
		unix_pair(fd[i]);
		if (i == 3)
			f->w->now_ns += 1000;
		s[i] = session_at(f, fd[i][0]);
		assert_true(i == 0 || s[i]->accept_ns > s[i - 1]->accept_ns);
		close(fd[i][1]);
	}
	assert_int_equal(s[3]->accept_ns, f->w->now_ns);
}

static void any_sign_of_life_is_an_answer(void **state)
{
	struct pipe full = {.used = 1}, empty = {.used = 0};
	struct tail tail = {0};
	const struct {
		struct relay backend, client;
		bool answered;
	} rows[] = {
		{{0}, {0}, false},
		{{.bytes = 1}, {0}, true},
		{{.tail = &tail}, {0}, true},
		{{.pipe = &full}, {0}, true},
		{{.pipe = &empty}, {0}, false},
		{{.state = RELAY_ENDING}, {0}, true},
		{{.state = RELAY_ENDED}, {0}, true},
		/* What the client says is none. */
		{{0}, {.bytes = 1, .state = RELAY_ENDED}, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct session s = {.dir = {rows[i].client, rows[i].backend}};

		assert_int_equal(session_answered(&s), rows[i].answered);
	}
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void what_is_done_once(void **state)
{
	struct fixture *f = *state;
	int client[2], server[2];
	const int off = 0;
	struct session *s;

	add(f, "a", "web", 10);
	publish(f);
	f->w->tcp.keepalive_secs = 60;
	tcp_pair(client);
	tcp_pair(server);
	s = session_at(f, client[0]);
	s->slot = backend(f, "a")->slot;
	assert_true(live_reserve(f->live, s->slot, 10));
	s->end[BACKEND].fd = server[1];

	session_note_success(s);
	session_note_success(s);
	assert_int_equal(live_outcomes(f->live, s->slot).successes, 1);

	session_nodelay(s);
	assert_int_equal(option(server[1], IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(setsockopt(server[1], IPPROTO_TCP, TCP_NODELAY, &off, sizeof(off)), 0);
	session_nodelay(s);
	assert_int_equal(option(server[1], IPPROTO_TCP, TCP_NODELAY), 0);

	assert_int_equal(option(server[1], SOL_SOCKET, SO_KEEPALIVE), 0);
	session_settle(s);
	assert_true(s->settled);
	assert_int_equal(option(server[1], SOL_SOCKET, SO_KEEPALIVE), 1);
	close(client[1]);
	close(server[0]);
}

/* What does not hold yet is not told. */
static void the_recorder_hears_what_holds(void **state)
{
	struct fixture *f = *state;
	struct flight_record r[3];
	struct session *s;
	int client[2];

	add(f, "a", "web", 10);
	publish(f);
	unix_pair(client);
	s = session_at(f, client[0]);
	s->connect_us = 7;
	s->queue_us = 8;
	s->retries = 2;
	session_note_flight(s, FLIGHT_FAILED, ECONNREFUSED);
	s->slot = backend(f, "a")->slot;
	assert_true(live_reserve(f->live, s->slot, 10));
	s->connected = s->queued = true;
	session_note_flight(s, FLIGHT_ROUTED, 0);

	assert_int_equal(flight_take(&f->w->flight, r, 3), 2);
	assert_int_equal(r[0].kind, FLIGHT_FAILED);
	assert_int_equal(r[0].detail, ECONNREFUSED);
	assert_int_equal(r[0].slot, LIVE_NO_SLOT);
	assert_int_equal(r[0].connect_us, 0);
	assert_int_equal(r[0].queue_us, 0);
	assert_int_equal(r[0].retries, 2);
	assert_int_equal(r[0].at_ns, f->w->now_ns);
	assert_true(ip_equal(&r[0].client, &s->client.ip));
	assert_int_equal(r[1].kind, FLIGHT_ROUTED);
	assert_int_equal(r[1].slot, s->slot);
	assert_int_equal(r[1].generation, live_generation(f->live, s->slot));
	assert_int_equal(r[1].connect_us, 7);
	assert_int_equal(r[1].queue_us, 8);
	assert_int_equal(session_binding(s).slot, s->slot);
	assert_int_equal(session_binding(s).generation, r[1].generation);
	close(client[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(states_move_as_the_table_says),
		TEST(an_end_marks_and_gives_nothing_back),
		TEST(no_two_have_one_name),
		cmocka_unit_test(any_sign_of_life_is_an_answer),
		TEST(what_is_done_once),
		TEST(the_recorder_hears_what_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
