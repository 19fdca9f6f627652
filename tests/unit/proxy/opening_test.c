/* What a backend is sent first: everything once, nothing twice, and all of it again to the next
 * one. The session's ends are given by hand; nobody dials. */
#include "proxy/opening.h"

#include "fixture.h"
#include "net/proxy_protocol.h"

/* To whom and from where, as the fixture has them. */
#define HEADER "PROXY TCP4 192.0.2.1 198.51.100.7 4000 443\r\n"
#define HEADER_LEN (sizeof(HEADER) - 1)

/* A session between a client and a backend that are the test's, and its opening. */
struct rig {
	struct fixture *f;
	struct session *s;
	struct opening o;
	int client, server;
};

static void rig_open(struct rig *g, struct fixture *f, void (*pair)(int fd[2]))
{
	int client[2], server[2];

	pair(client);
	pair(server);
	*g = (struct rig){.f = f, .client = client[1], .server = server[1]};
	g->s = session_at(f, client[0]);
	g->s->end[BACKEND].fd = server[0];
	g->s->end[CLIENT].readable = true;
	opening_init(&g->o, g->s, NULL);
}

/* What the backend has had of the client, and no more, has been counted. */
static void rig_close(struct rig *g, uint64_t bytes)
{
	opening_done(&g->o);
	assert_int_equal(g->s->dir[CLIENT].bytes, bytes);
	assert_int_equal(counter_read(&g->f->w->counters.bytes[CLIENT]), bytes);
	close(g->client);
	close(g->server);
}

/* The backend has failed, and another is there instead. */
static void next_backend(struct rig *g, void (*pair)(int fd[2]))
{
	int server[2];

	opening_rewind(&g->o);
	close(g->s->end[BACKEND].fd);
	close(g->server);
	pair(server);
	g->s->end[BACKEND] = (struct end){.fd = server[0]};
	g->server = server[1];
}

static enum opening_result pass(struct rig *g)
{
	int err = 0;
	enum opening_result result = opening_pass(&g->o, &err);

	assert_int_equal(err, 0);
	return result;
}

/* Fills the buffer of a socket. */
static void stuff(int fd)
{
	static const char zeroes[4096];

	while (send(fd, zeroes, sizeof(zeroes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	assert_int_equal(errno, EAGAIN);
}

static void bytes_pass_and_are_kept(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	say(g.client, "hello");
	assert_int_equal(pass(&g), OPENING_KEPT);
	heard(g.server, "hello");
	assert_int_equal(opening_sent(&g.o), 5);
	assert_int_equal(g.o.first->to, 5);
	assert_int_equal(g.s->dir[CLIENT].bytes, 5);
	assert_false(g.s->end[CLIENT].readable);
	/* It is not known yet whether this backend will have had them. */
	assert_int_equal(counter_read(&g.f->w->counters.bytes[CLIENT]), 0);
	rig_close(&g, 5);
}

static void a_silent_client_is_waited_for(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	assert_int_equal(pass(&g), OPENING_KEPT);
	assert_null(g.o.first);
	assert_false(g.s->end[CLIENT].readable);
	rig_close(&g, 0);
}

static void more_than_one_piece_commits(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	say(g.client, "hello");
	assert_int_equal(pass(&g), OPENING_KEPT);
	/* An event without news, */
	g.s->end[CLIENT].readable = true;
	assert_int_equal(pass(&g), OPENING_KEPT);
	assert_false(g.s->end[CLIENT].readable);
	/* and one with. */
	say(g.client, " there");
	g.s->end[CLIENT].readable = true;
	assert_int_equal(pass(&g), OPENING_FULL);
	assert_true(g.s->end[CLIENT].readable);
	heard(g.server, "hello"); /* the rest is the relay's */
	rig_close(&g, 5);
}

static void pass_much(struct rig *g, size_t size, enum opening_result want)
{
	static char much[RELAY_CHUNK_BYTES + 1], got[sizeof(much) + 1];

	memset(much, 'x', sizeof(much));
	assert_int_equal(send(g->client, much, size, 0), size);
	assert_int_equal(pass(g), want);
	assert_int_equal(recv(g->server, got, sizeof(got), MSG_DONTWAIT), opening_sent(&g->o));
	opening_commit(&g->o); /* nothing is left, so this changes nothing */
	assert_null(g->s->dir[CLIENT].tail);
}

static void what_leaves_room_is_kept(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	pass_much(&g, RELAY_CHUNK_BYTES - 1, OPENING_KEPT);
	rig_close(&g, RELAY_CHUNK_BYTES - 1);
}

static void what_fills_the_room_commits(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	pass_much(&g, RELAY_CHUNK_BYTES + 1, OPENING_FULL);
	assert_int_equal(socket_waiting(g.s->end[CLIENT].fd), 1);
	rig_close(&g, RELAY_CHUNK_BYTES);
}

/* Nothing is gained by waiting for one that will send no more. */
static void a_client_that_has_ended_commits(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	shutdown(g.client, SHUT_WR);
	g.s->end[CLIENT].hangup = true;
	assert_int_equal(pass(&g), OPENING_FULL);
	assert_null(g.o.first);
	rig_close(&g, 0);
}

static void last_words_pass_and_commit(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	say(g.client, "bye");
	shutdown(g.client, SHUT_WR);
	g.s->end[CLIENT].hangup = true;
	assert_int_equal(pass(&g), OPENING_FULL);
	heard(g.server, "bye");
	assert_true(g.s->end[CLIENT].readable); /* for the relay to find the end */
	rig_close(&g, 3);
}

static void a_reset_of_the_client_is_told(void **state)
{
	struct rig g;
	int err = 0;

	rig_open(&g, *state, tcp_pair);
	reset(g.client);
	until(g.s->end[CLIENT].fd, 0);
	assert_int_equal(opening_pass(&g.o, &err), OPENING_CLIENT_FAILED);
	assert_int_equal(err, -ECONNRESET);
	assert_int_equal(g.s->state, SESSION_HEADER); /* not closed here */
	g.client = dup(g.server);
	rig_close(&g, 0);
}

static void a_failed_backend_costs_the_client_nothing(void **state)
{
	struct rig g;
	int err = 0;

	rig_open(&g, *state, tcp_pair);
	say(g.client, "hello");
	until(g.s->end[CLIENT].fd, POLLIN);
	reset(g.server);
	until(g.s->end[BACKEND].fd, 0);
	assert_int_equal(opening_pass(&g.o, &err), OPENING_BACKEND_FAILED);
	assert_int_equal(err, -ECONNRESET);
	assert_int_equal(opening_sent(&g.o), 0);
	g.server = dup(g.client);
	next_backend(&g, tcp_pair);
	assert_int_equal(pass(&g), OPENING_KEPT);
	heard(g.server, "hello");
	rig_close(&g, 5);
}

static void the_next_backend_is_sent_all_of_it(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	g.f->service->send_proxy = 1;
	say(g.client, "hello");
	for (int tries = 0; tries < 3; tries++) {
		assert_int_equal(opening_send_header(&g.o), 0);
		assert_int_equal(pass(&g), OPENING_KEPT);
		heard(g.server, HEADER "hello");
		assert_int_equal(g.s->dir[CLIENT].bytes, 5);
		if (tries < 2)
			next_backend(&g, unix_pair);
		assert_int_equal(g.s->dir[CLIENT].bytes, tries < 2 ? 0 : 5);
	}
	g.f->service->send_proxy = 0;
	rig_close(&g, 5); /* once */
}

/* Where the client sent more meanwhile, the next backend is committed to. */
static void more_has_come_for_the_next_backend(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	say(g.client, "hello");
	assert_int_equal(pass(&g), OPENING_KEPT);
	next_backend(&g, unix_pair);
	say(g.client, "more");
	assert_int_equal(pass(&g), OPENING_FULL);
	heard(g.server, "hello");
	rig_close(&g, 5);
}

/* Sends much to a backend that takes only some of it. Returns how much. */
static uint32_t half_sent(struct rig *g, const char *much, size_t size)
{
	const int small = 4096;

	assert_int_equal(
		setsockopt(g->s->end[BACKEND].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(send(g->client, much, size, 0), size);
	assert_int_equal(pass(g), OPENING_FULL);
	assert_in_range(opening_sent(&g->o), 1, size - 1);
	return opening_sent(&g->o);
}

static void what_a_backend_has_not_taken_becomes_the_tail(void **state)
{
	static char much[60000], got[60000];
	struct relay *r;
	struct rig g;
	uint32_t sent;
	size_t have = 0;

	for (size_t i = 0; i < sizeof(much); i++)
		much[i] = (char)(i * 7 / 3);
	rig_open(&g, *state, unix_pair);
	sent = half_sent(&g, much, sizeof(much));
	opening_commit(&g.o);
	r = &g.s->dir[CLIENT];
	assert_null(g.o.first);
	assert_non_null(r->tail);
	assert_int_equal(r->tail->from, sent);
	assert_int_equal(r->tail->to, sizeof(much));
	assert_true(g.s->nodelay); /* the rest is a second piece */
	assert_int_equal(r->bytes, sent);
	assert_int_equal(counter_read(&g.f->w->counters.bytes[CLIENT]), sent);
	/* The relay goes on where the opening was. */
	while (have < sizeof(much)) {
		ssize_t n = recv(g.server, got + have, sizeof(got) - have, MSG_DONTWAIT);

		assert_true(n > 0);
		have += (size_t)n;
		g.s->end[BACKEND].writable = true;
		assert_int_equal(relay_run(r, &g.s->end[CLIENT], &g.s->end[BACKEND],
		                           &g.f->w->relay),
		                 RELAY_WAIT);
	}
	assert_memory_equal(got, much, sizeof(much));
	counter_add(&g.f->w->counters.bytes[CLIENT], r->bytes - sent); /* as tunnel.c does */
	rig_close(&g, sizeof(much));
}

static void a_rest_is_sent_again_with_the_beginning(void **state)
{
	static char much[60000], got[60001];
	struct rig g;

	rig_open(&g, *state, unix_pair);
	memset(much, 'x', sizeof(much));
	half_sent(&g, much, sizeof(much));
	next_backend(&g, unix_pair);
	assert_int_equal(pass(&g), OPENING_KEPT);
	assert_int_equal(recv(g.server, got, sizeof(got), MSG_DONTWAIT), sizeof(much));
	rig_close(&g, sizeof(much));
}

/* The rest goes with the next event, and is not sent from its beginning. */
static void a_backend_without_room(void **state)
{
	struct rig g;
	char got[4096];

	rig_open(&g, *state, unix_pair);
	stuff(g.s->end[BACKEND].fd);
	say(g.client, "hello");
	assert_int_equal(pass(&g), OPENING_FULL);
	assert_int_equal(opening_sent(&g.o), 0);
	assert_int_equal(g.o.first->to, 5);
	while (recv(g.server, got, sizeof(got), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(pass(&g), OPENING_KEPT);
	heard(g.server, "hello");
	rig_close(&g, 5);
}

/* Where nothing is ever sent twice, nothing is kept. */
static void without_early_reset_nothing_is_kept(void **state)
{
	struct fixture *f = *state;
	struct rig g;

	f->config.retry_on = RETRY_CONN_FAILURE;
	rig_open(&g, f, unix_pair);
	assert_int_equal(pass(&g), OPENING_KEPT);
	assert_false(g.s->end[CLIENT].readable);
	say(g.client, "hello");
	assert_int_equal(pass(&g), OPENING_FULL);
	assert_null(g.o.first);
	assert_int_equal(recv(g.server, &(char){0}, 1, MSG_DONTWAIT), -1);
	g.s->end[CLIENT].hangup = true;
	assert_int_equal(pass(&g), OPENING_FULL);
	rig_close(&g, 0);
}

/* ---- the header ---- */

static void no_header_where_none_is_wanted(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	assert_int_equal(opening_send_header(&g.o), 0);
	assert_int_equal(recv(g.server, &(char){0}, 1, MSG_DONTWAIT), -1);
	rig_close(&g, 0);
}

/* What it says the client meant to reach, in both versions. */
static void assert_header(struct rig *g, const struct endpoint *want_dst)
{
	struct proxy_header header;
	const char *why;
	uint8_t got[256];
	ssize_t n;

	for (uint8_t version = 1; version <= 2; version++) {
		g->f->service->send_proxy = version;
		assert_int_equal(opening_send_header(&g->o), 0);
		until(g->server, POLLIN);
		n = recv(g->server, got, sizeof(got), 0);
		assert_true(n > 0);
		assert_int_equal(proxy_protocol_parse(got, (size_t)n, &header, &why), PROXY_OK);
		assert_int_equal(header.length, n);
		assert_int_equal(header.version, version);
		assert_true(endpoint_equal(&header.src, &g->s->client));
		assert_true(endpoint_equal(&header.dst, want_dst));
	}
	g->f->service->send_proxy = 0;
}

static void the_header_says_where_the_client_went(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct endpoint dst;
	struct rig g;

	rig_open(&g, f, tcp_pair);
	/* What a header of the client's said, */
	assert_int_equal(endpoint_parse("203.0.113.9:8443", false, &dst), 0);
	opening_init(&g.o, g.s, &dst);
	assert_header(&g, &dst);
	/* or the address that it connected to, */
	f->service->send_proxy = 1;
	opening_init(&g.o, g.s, NULL);
	assert_int_equal(getsockname(g.s->end[CLIENT].fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, &dst), 0);
	assert_header(&g, &dst);
	rig_close(&g, 0);
}

/* or else the service's. */
static void the_header_of_a_client_without_address(void **state)
{
	struct fixture *f = *state;
	struct rig g;

	f->service->send_proxy = 2;
	rig_open(&g, f, unix_pair);
	assert_header(&g, &f->service->listen);
	rig_close(&g, 0);
}

static void a_header_that_does_not_go_is_a_failure(void **state)
{
	struct rig g;

	rig_open(&g, *state, tcp_pair);
	g.f->service->send_proxy = 1;
	reset(g.server);
	until(g.s->end[BACKEND].fd, 0);
	assert_int_equal(opening_send_header(&g.o), -ECONNRESET);
	g.server = dup(g.client);
	next_backend(&g, tcp_pair);
	stuff(g.s->end[BACKEND].fd);
	assert_int_equal(opening_send_header(&g.o), -EAGAIN);
	g.f->service->send_proxy = 0;
	rig_close(&g, 0);
}

/* ---- with the first packet ---- */

static void assert_pack(struct rig *g, const char *text)
{
	struct first_bytes first;

	assert_int_equal(opening_pack(&g->o, &first), 0);
	assert_int_equal(first.len, strlen(text));
	assert_memory_equal(first.data, text, first.len);
	assert_int_equal(first.sent, 0);
}

static void what_goes_into_the_first_packet(void **state)
{
	struct fixture *f = *state;
	struct rig g;

	rig_open(&g, f, unix_pair);
	assert_pack(&g, "");
	f->service->send_proxy = 1;
	assert_pack(&g, HEADER);
	say(g.client, "hello");
	assert_pack(&g, HEADER "hello");
	assert_pack(&g, HEADER "hello"); /* for the next backend */
	f->service->send_proxy = 0;
	assert_pack(&g, "hello");
	assert_int_equal(g.s->dir[CLIENT].bytes, 0); /* packed is not sent */
	rig_close(&g, 0);
}

/* A client that has ended is no failure: the relay will find it. */
static void the_first_packet_of_a_client_that_has_ended(void **state)
{
	struct rig g;

	rig_open(&g, *state, unix_pair);
	shutdown(g.client, SHUT_WR);
	assert_pack(&g, "");
	rig_close(&g, 0);
}

static void a_reset_of_the_client_is_told_before_the_packet(void **state)
{
	struct first_bytes first;
	struct rig g;

	rig_open(&g, *state, tcp_pair);
	reset(g.client);
	until(g.s->end[CLIENT].fd, 0);
	assert_int_equal(opening_pack(&g.o, &first), -ECONNRESET);
	g.client = dup(g.server);
	rig_close(&g, 0);
}

static void a_packet_holds_no_more(void **state)
{
	static char much[OPENING_FASTOPEN_BYTES + 100];
	struct first_bytes first;
	struct rig g;

	rig_open(&g, *state, unix_pair);
	memset(much, 'x', sizeof(much));
	assert_int_equal(send(g.client, much, sizeof(much), 0), sizeof(much));
	assert_int_equal(opening_pack(&g.o, &first), 0);
	assert_int_equal(first.len, OPENING_FASTOPEN_BYTES);
	assert_true(g.s->end[CLIENT].readable); /* there is more */
	rig_close(&g, 0);
}

/* Nor of what an earlier backend was sent in one piece. */
static void a_packet_holds_no_more_of_what_is_kept(void **state)
{
	static char much[OPENING_FASTOPEN_BYTES + 100], got[sizeof(much) + 1];
	struct first_bytes first;
	struct rig g;

	rig_open(&g, *state, unix_pair);
	memset(much, 'x', sizeof(much));
	assert_int_equal(send(g.client, much, sizeof(much), 0), sizeof(much));
	assert_int_equal(pass(&g), OPENING_KEPT);
	next_backend(&g, unix_pair);
	assert_int_equal(opening_pack(&g.o, &first), 0);
	assert_int_equal(first.len, OPENING_FASTOPEN_BYTES);
	assert_int_equal(opening_note_packed(&g.o, first.len), 0);
	assert_int_equal(pass(&g), OPENING_KEPT);
	assert_int_equal(recv(g.server, got, sizeof(got), MSG_DONTWAIT),
	                 sizeof(much) - OPENING_FASTOPEN_BYTES);
	rig_close(&g, sizeof(much));
}

/* So much of header and "hello" goes with the packet, and the rest behind it. */
static void what_the_packet_took_is_not_sent_again(void **state)
{
	static const struct {
		size_t sent;
		const char *rest;
	} rows[] = {
		{HEADER_LEN, "hello"},
		{HEADER_LEN + 2, "llo"},
		{HEADER_LEN + 5, ""},
	};
	struct fixture *f = *state;
	struct rig g;

	f->service->send_proxy = 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t before = counter_read(&f->w->counters.bytes[CLIENT]);

		rig_open(&g, f, unix_pair);
		say(g.client, "hello");
		assert_pack(&g, HEADER "hello");
		assert_int_equal(opening_note_packed(&g.o, rows[i].sent), 0);
		assert_int_equal(opening_sent(&g.o), rows[i].sent - HEADER_LEN);
		assert_int_equal(opening_send_header(&g.o), 0);
		assert_int_equal(pass(&g), OPENING_KEPT);
		heard(g.server, rows[i].rest);
		assert_int_equal(g.s->dir[CLIENT].bytes, 5);
		opening_done(&g.o);
		assert_int_equal(counter_read(&f->w->counters.bytes[CLIENT]) - before, 5);
		close(g.client);
		close(g.server);
	}
	f->service->send_proxy = 0;
}

/* A header without first bytes. */
static void a_packet_with_a_header_alone(void **state)
{
	struct fixture *f = *state;
	struct rig g;

	f->service->send_proxy = 1;
	rig_open(&g, f, unix_pair);
	assert_pack(&g, HEADER);
	assert_int_equal(opening_note_packed(&g.o, HEADER_LEN), 0);
	assert_int_equal(opening_send_header(&g.o), 0);
	heard(g.server, "");
	/* The next backend has not had it. */
	next_backend(&g, unix_pair);
	assert_int_equal(opening_send_header(&g.o), 0);
	heard(g.server, HEADER);
	f->service->send_proxy = 0;
	rig_close(&g, 0);
}

/* The rest of a header cannot follow, so such a connect has failed. */
static void less_than_the_header(void **state)
{
	struct fixture *f = *state;
	struct rig g;

	f->service->send_proxy = 1;
	rig_open(&g, f, unix_pair);
	say(g.client, "hello");
	assert_pack(&g, HEADER "hello");
	assert_int_equal(opening_note_packed(&g.o, 1), -EIO);
	assert_int_equal(opening_note_packed(&g.o, HEADER_LEN - 1), -EIO);
	assert_false(g.o.header_sent);
	assert_int_equal(opening_sent(&g.o), 0);
	f->service->send_proxy = 0;
	rig_close(&g, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_pass_and_are_kept),
		TEST(a_silent_client_is_waited_for),
		TEST(more_than_one_piece_commits),
		TEST(what_leaves_room_is_kept),
		TEST(what_fills_the_room_commits),
		TEST(a_client_that_has_ended_commits),
		TEST(last_words_pass_and_commit),
		TEST(a_reset_of_the_client_is_told),
		TEST(a_failed_backend_costs_the_client_nothing),
		TEST(the_next_backend_is_sent_all_of_it),
		TEST(more_has_come_for_the_next_backend),
		TEST(what_a_backend_has_not_taken_becomes_the_tail),
		TEST(a_rest_is_sent_again_with_the_beginning),
		TEST(a_backend_without_room),
		TEST(without_early_reset_nothing_is_kept),
		TEST(no_header_where_none_is_wanted),
		TEST(the_header_says_where_the_client_went),
		TEST(the_header_of_a_client_without_address),
		TEST(a_header_that_does_not_go_is_a_failure),
		TEST(what_goes_into_the_first_packet),
		TEST(the_first_packet_of_a_client_that_has_ended),
		TEST(a_reset_of_the_client_is_told_before_the_packet),
		TEST(a_packet_holds_no_more),
		TEST(a_packet_holds_no_more_of_what_is_kept),
		TEST(what_the_packet_took_is_not_sent_again),
		TEST(a_packet_with_a_header_alone),
		TEST(less_than_the_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
