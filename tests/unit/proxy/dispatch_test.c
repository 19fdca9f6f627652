/* Whose business is it? Sessions from their accept to their end, told by hand what epoll would say,
 * and above all what it says too late: of a socket that was replaced, of a session that has ended.
 */
#include "proxy/dispatch.h"

#include "fixture.h"
#include "proxy/dial.h"
#include "proxy/places.h"

#include <sys/epoll.h>
#include <sys/mman.h>

#define READ (EPOLLIN | EPOLLOUT)
#define END (EPOLLIN | EPOLLOUT | EPOLLRDHUP)
#define RESET (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR)

/* A client whose socket is fd is handed to the worker; the session that it made. */
static struct session *start(struct fixture *f, int fd)
{
	struct endpoint peer;

	assert_int_equal(endpoint_parse("192.0.2.1:4000", false, &peer), 0);
	assert_true(live_reserve_total(f->live, f->shared.max_conn));
	atomic_fetch_add(&f->w->load, 1);
	dispatch_start(f->w, fd, &peer, service_ref(f->service));
	if (list_empty(&f->w->sessions))
		return list_entry(f->w->dead.prev, struct session, node);
	return list_entry(f->w->sessions.prev, struct session, node);
}

static struct session *start_client(struct fixture *f, int *ret_client)
{
	int fd[2];

	tcp_pair(fd);
	*ret_client = fd[1];
	return start(f, fd[0]);
}

/* Of the next turn, when the socket has it. */
static void event(struct fixture *f, struct session *s, unsigned side, uint32_t events)
{
	until(s->end[side].fd, (events & (EPOLLIN | EPOLLHUP)) != 0 ? POLLIN : POLLOUT);
	later(f, 1);
	dispatch_event(s, side, events);
}

/* Its backend is connected. Returns the backend's socket. */
static int connect_session(struct fixture *f, struct session *s, int listener)
{
	assert_int_equal(s->state, SESSION_DIAL);
	event(f, s, BACKEND, EPOLLOUT);
	assert_int_equal(s->state, SESSION_RELAY);
	return accepted(listener);
}

/* And has answered once, so that the client stays with it. */
static int serve_session(struct fixture *f, struct session *s, int listener, int client)
{
	int server = connect_session(f, s, listener);

	say(server, "hello");
	event(f, s, BACKEND, READ);
	heard(client, "hello");
	assert_null(s->dial);
	return server;
}

static void assert_closed(const struct session *s, enum close_reason reason)
{
	assert_int_equal(s->state, SESSION_CLOSED);
	assert_int_equal(s->reason, reason);
	assert_int_equal(counter_read(&s->worker->counters.ended[reason]), 1);
	assert_true(list_empty(&s->worker->closing)); /* when dispatch returns, it is given back */
}

/* One backend that listens, with room for hard_limit. Returns its listener. */
static int one_backend(struct fixture *f, const char *id, uint32_t hard_limit)
{
	struct backend_row *row = add(f, id, "web", hard_limit);
	int listener = listening(&row->addr);

	publish(f);
	return listener;
}

static void from_accept_to_end(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client, server;
	struct session *s = start_client(f, &client);

	assert_int_equal(counter_read(&f->w->counters.accepted), 1);
	server = connect_session(f, s, listener);
	say(client, "ping");
	event(f, s, CLIENT, READ);
	heard(server, "ping");
	assert_non_null(s->dial); /* it might still go elsewhere */
	say(server, "pong");
	event(f, s, BACKEND, READ);
	heard(client, "pong");
	assert_null(s->dial);
	shutdown(client, SHUT_WR);
	event(f, s, CLIENT, END);
	assert_int_equal(ended(server), 0);
	event(f, s, BACKEND, END);
	assert_closed(s, CLOSE_DONE);
	assert_int_equal(ended(client), 0);
	assert_int_equal(counter_read(&f->w->counters.bytes[CLIENT]), 4);
	assert_int_equal(counter_read(&f->w->counters.bytes[BACKEND]), 4);
	close(listener);
}

/* Something that epoll cannot watch; in life it has no memory. */
static void a_client_that_cannot_be_watched(void **state)
{
	struct fixture *f = *state;
	int fd = memfd_create("client", 0);

	assert_true(fd >= 0);
	assert_closed(start(f, fd), CLOSE_RESOURCES);
	assert_int_equal(live_total(f->live), 0);
}

/* ---- too late ---- */

/* The batch holds another event of the socket that has just been given up. */
static void an_event_of_a_replaced_socket(void **state)
{
	struct fixture *f = *state;
	int listener[2], client, server;
	struct session *s;
	uint32_t first;

	listener[0] = one_backend(f, "a", 10);
	listener[1] = one_backend(f, "b", 10);
	s = start_client(f, &client);
	first = s->slot;
	later(f, 1);
	dispatch_event(s, BACKEND, RESET);
	assert_int_equal(s->state, SESSION_DIAL);
	assert_int_not_equal(s->slot, first);
	assert_int_equal(s->retries, 1);
	until(s->end[BACKEND].fd, POLLOUT); /* so that it could be taken for connected, */
	dispatch_event(s, BACKEND, EPOLLOUT);
	assert_int_equal(s->state, SESSION_DIAL);
	dispatch_event(s, BACKEND, RESET); /* or for failed */
	assert_int_equal(s->state, SESSION_DIAL);
	assert_int_equal(s->retries, 1);
	assert_false(s->end[BACKEND].readable || s->end[BACKEND].writable);
	assert_false(s->end[BACKEND].hangup || s->end[BACKEND].ended || s->end[BACKEND].failed);
	/* In the next turn it is of the new one. */
	server = connect_session(f, s, listener[s->slot == backend(f, "b")->slot]);
	close(accepted(listener[first == backend(f, "b")->slot]));
	close(server);
	close(client);
	close(listener[0]);
	close(listener[1]);
}

/* The client's socket is never replaced. */
static void an_event_of_the_client_in_the_same_turn(void **state)
{
	struct fixture *f = *state;
	int listener[2], client;
	struct session *s;

	listener[0] = one_backend(f, "a", 10);
	listener[1] = one_backend(f, "b", 10);
	s = start_client(f, &client);
	later(f, 1);
	dispatch_event(s, BACKEND, RESET);
	assert_int_equal(s->state, SESSION_DIAL);
	dispatch_event(s, CLIENT, EPOLLHUP);
	assert_closed(s, CLOSE_CLIENT_GONE);
	close(client);
	close(listener[0]);
	close(listener[1]);
}

/* One backend has failed and the other is full. */
static void an_event_of_a_backend_that_is_waited_without(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 10), client;
	const struct backend *full;
	struct session *s;

	add(f, "b", "web", 1);
	publish(f);
	full = backend(f, "b");
	assert_true(live_reserve(f->live, full->slot, 1));
	s = start_client(f, &client);
	later(f, 1);
	dispatch_event(s, BACKEND, RESET);
	assert_int_equal(s->state, SESSION_QUEUE);
	dispatch_event(s, BACKEND, RESET);
	later(f, 1);
	dispatch_event(s, BACKEND, RESET);
	assert_int_equal(s->state, SESSION_QUEUE);
	assert_int_equal(s->end[BACKEND].fd, -1);
	assert_false(s->end[BACKEND].hangup || s->end[BACKEND].failed);
	live_release(f->live, full->slot);
	close(client);
	close(listener);
}

static void an_event_of_a_session_that_has_ended(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 10), client;
	struct session *s = start_client(f, &client);

	dispatch_event(s, CLIENT, RESET);
	assert_closed(s, CLOSE_CLIENT_GONE);
	dispatch_event(s, CLIENT, RESET);
	dispatch_event(s, BACKEND, RESET);
	dispatch_timer(&s->timer, f->w->now_ms);
	assert_closed(s, CLOSE_CLIENT_GONE);
	assert_false(s->end[BACKEND].failed);
	assert_int_equal(live_total(f->live), 0);
	close(client);
	close(listener);
}

/* ---- clients that leave, and those that say who they are ---- */

static void a_client_that_leaves_while_it_waits(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client[2];
	struct session *s[2];

	s[0] = start_client(f, &client[0]);
	s[1] = start_client(f, &client[1]);
	assert_int_equal(s[1]->state, SESSION_QUEUE);
	shutdown(client[1], SHUT_WR);
	event(f, s[1], CLIENT, END);
	assert_closed(s[1], CLOSE_CLIENT_GONE);
	assert_int_equal(queue_length(f->shared.queue), 0);
	assert_int_equal(s[0]->state, SESSION_DIAL);
	close(client[0]);
	close(client[1]);
	close(listener);
}

static void who_the_client_is_comes_first(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client[3];
	struct session *s[3];
	struct ip ip;

	f->service->accept_proxy = true;
	for (int i = 0; i < 3; i++) {
		s[i] = start_client(f, &client[i]);
		assert_int_equal(s[i]->state, SESSION_HEADER);
		assert_int_equal(s[i]->timer.expires_ms,
		                 s[i]->accept_ns / 1000000 + f->config.proxy_header_timeout_ms);
	}
	say(client[0], "PROXY TCP4 203.0.113.5 198.51.100.1 5000 443\r\n");
	event(f, s[0], CLIENT, READ);
	assert_int_equal(s[0]->state, SESSION_DIAL);
	assert_int_equal(ip_parse("203.0.113.5", &ip), 0);
	assert_true(ip_equal(&s[0]->client.ip, &ip));
	assert_int_equal(s[0]->dial->opening.dst.port, 443);
	dispatch_timer(&s[1]->timer, f->w->now_ms);
	assert_closed(s[1], CLOSE_HEADER_TIMEOUT);
	dispatch_event(s[2], CLIENT, RESET);
	assert_closed(s[2], CLOSE_CLIENT_GONE);
	for (int i = 0; i < 3; i++)
		close(client[i]);
	close(listener);
}

/* ---- places ---- */

static void a_place_goes_to_the_session_that_waits(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client[2], server[2];
	uint32_t slot = backend(f, "a")->slot;
	struct session *s[2];

	s[0] = start_client(f, &client[0]);
	server[0] = serve_session(f, s[0], listener, client[0]);
	s[1] = start_client(f, &client[1]);
	assert_int_equal(s[1]->state, SESSION_QUEUE);
	dispatch_places(f->w); /* there is none */
	assert_int_equal(s[1]->state, SESSION_QUEUE);

	reset(client[0]);
	event(f, s[0], CLIENT, RESET);
	assert_closed(s[0], CLOSE_CLIENT_RESET);
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_int_equal(s[1]->state, SESSION_QUEUE); /* it is told by mail */
	assert_int_equal(letters(f->w), 1);
	dispatch_places(f->w);
	assert_int_equal(s[1]->state, SESSION_DIAL);
	assert_int_equal(s[1]->slot, slot);
	assert_int_equal(f->w->waiting, 0);
	server[1] = serve_session(f, s[1], listener, client[1]);
	assert_int_equal(live_connections(f->live, slot), 1);
	assert_int_equal(ended(server[0]), ECONNRESET);
	close(server[1]);
	close(client[1]);
	close(listener);
}

/* Its timer fires before the letter is read. */
static void a_place_in_the_last_moment(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client[3];
	uint32_t slot = backend(f, "a")->slot;
	struct session *s[3];

	for (int i = 0; i < 3; i++)
		s[i] = start_client(f, &client[i]);
	dispatch_event(s[0], CLIENT, RESET);
	assert_int_equal(letters(f->w), 1);
	later(f, f->config.queue_timeout_ms);
	dispatch_timer(&s[1]->timer, f->w->now_ms);
	assert_int_equal(s[1]->state, SESSION_DIAL);
	assert_int_equal(s[1]->slot, slot);
	dispatch_timer(&s[2]->timer, f->w->now_ms);
	assert_closed(s[2], CLOSE_QUEUE_TIMEOUT);
	assert_int_equal(live_connections(f->live, slot), 1);
	for (int i = 0; i < 3; i++)
		close(client[i]);
	close(listener);
}

/* Whoever gave the place had another table: here that backend takes nobody any more. */
static void a_place_that_is_of_no_use(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client[2];
	uint32_t slot = backend(f, "a")->slot;
	struct session *s[2];

	for (int i = 0; i < 2; i++)
		s[i] = start_client(f, &client[i]);
	dispatch_event(s[0], CLIENT, RESET);
	assert_int_equal(letters(f->w), 1);
	f->rows.backends[0].state = STATE_DRAIN;
	publish(f);
	dispatch_places(f->w);
	assert_closed(s[1], CLOSE_NO_BACKEND);
	assert_int_equal(live_connections(f->live, slot), 0);
	close(client[0]);
	close(client[1]);
	close(listener);
}

/* Others have their turn in between. */
static void many_places_take_several_turns(void **state)
{
	enum { MANY = DISPATCH_PLACES_A_TURN + 1 };
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 1), client[MANY];
	uint32_t slot = backend(f, "a")->slot;
	struct session *s[MANY];

	assert_true(live_reserve(f->live, slot, 1));
	for (int i = 0; i < MANY; i++) {
		s[i] = start_client(f, &client[i]);
		assert_int_equal(s[i]->state, SESSION_QUEUE);
	}
	f->rows.backends[0].hard_limit = 1 + MANY;
	publish(f);
	places_offer_all(f->w);
	assert_int_equal(letters(f->w), MANY);
	dispatch_places(f->w);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(s[i]->state, i + 1 < MANY ? SESSION_DIAL : SESSION_QUEUE);
	assert_int_equal(letters(f->w), 1); /* to itself */
	dispatch_places(f->w);
	assert_int_equal(s[MANY - 1]->state, SESSION_DIAL);
	assert_int_equal(letters(f->w), 0);
	for (int i = 0; i < MANY; i++)
		close(client[i]);
	live_release(f->live, slot);
	close(listener);
}

/* ---- what is held, and what has its turn ---- */

static void nothing_overtakes_what_is_held(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 10), client[2], server[2];
	struct session *s[2];

	for (int i = 0; i < 2; i++) {
		s[i] = start_client(f, &client[i]);
		server[i] = serve_session(f, s[i], listener, client[i]);
	}
	f->w->batch.open = true;
	say(client[0], "ping");
	event(f, s[0], CLIENT, READ);
	assert_true(s[0]->holding);
	heard(server[0], "");
	dispatch_held(f->w);
	assert_false(s[0]->holding);
	heard(server[0], "ping");

	/* The end of another session goes behind it, */
	say(client[0], "ping");
	event(f, s[0], CLIENT, READ);
	shutdown(client[1], SHUT_WR);
	event(f, s[1], CLIENT, END);
	heard(server[0], "ping");
	/* and its own behind what it has said. */
	say(client[0], "bye");
	event(f, s[0], CLIENT, READ);
	heard(server[0], "");
	shutdown(client[0], SHUT_WR);
	event(f, s[0], CLIENT, END);
	heard(server[0], "bye");
	f->w->batch.open = false;
	for (int i = 0; i < 2; i++) {
		close(client[i]);
		close(server[i]);
	}
	close(listener);
}

static void bulk_has_its_turn_in_order(void **state)
{
	struct fixture *f = *state;
	int listener = one_backend(f, "a", 10), client[2], server[2];
	struct session *s[2];

	for (int i = 0; i < 2; i++) {
		s[i] = start_client(f, &client[i]);
		server[i] = serve_session(f, s[i], listener, client[i]);
		s[i]->dir[CLIENT].bulk = true;
		say(client[i], "much");
		event(f, s[i], CLIENT, READ);
	}
	heard(server[0], "");
	dispatch_bulk(f->w);
	heard(server[0], "much");
	heard(server[1], "");
	dispatch_bulk(f->w);
	heard(server[1], "much");
	assert_true(list_empty(&f->w->bulk));
	for (int i = 0; i < 2; i++) {
		close(client[i]);
		close(server[i]);
	}
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(from_accept_to_end),
		TEST(a_client_that_cannot_be_watched),
		TEST(an_event_of_a_replaced_socket),
		TEST(an_event_of_the_client_in_the_same_turn),
		TEST(an_event_of_a_backend_that_is_waited_without),
		TEST(an_event_of_a_session_that_has_ended),
		TEST(a_client_that_leaves_while_it_waits),
		TEST(who_the_client_is_comes_first),
		TEST(a_place_goes_to_the_session_that_waits),
		TEST(a_place_in_the_last_moment),
		TEST(a_place_that_is_of_no_use),
		TEST(many_places_take_several_turns),
		TEST(nothing_overtakes_what_is_held),
		TEST(bulk_has_its_turn_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
