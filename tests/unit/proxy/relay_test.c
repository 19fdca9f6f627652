#include "proxy/relay.h"

#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A direction between two socket pairs: the test writes to and reads from the outer ends. */
struct rig {
	struct relay relay;
	struct relay_shared shared;
	struct end src, dst;
	int writer, reader;
};

static void rig_open(struct rig *g, enum relay_mode mode, unsigned pipes)
{
	int in[2], out[2];

	memset(g, 0, sizeof(*g));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, in), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, out), 0);
	g->writer = in[0];
	g->src = (struct end){.fd = in[1], .readable = true, .writable = true};
	g->dst = (struct end){.fd = out[0], .readable = true, .writable = true};
	g->reader = out[1];
	g->shared.mode = mode;
	g->shared.buffer = malloc(RELAY_BUFFER_BYTES);
	pipe_pool_init(&g->shared.pipes, pipes, 65536);
	relay_init(&g->relay, mode);
}

static void rig_close(struct rig *g)
{
	relay_done(&g->relay, &g->shared);
	pipe_pool_done(&g->shared.pipes);
	free(g->shared.buffer);
	close(g->src.fd);
	close(g->dst.fd);
	if (g->writer >= 0)
		close(g->writer);
	close(g->reader);
}

static enum relay_result run(struct rig *g)
{
	return relay_run(&g->relay, &g->src, &g->dst, &g->shared);
}

/* Pushes total bytes of a known sequence through, with a reader that takes odd amounts, and
 * compares every byte. */
static void push_through(struct rig *g, size_t total)
{
	struct rng wrote = {.state = 1}, expect = {.state = 1}, sizes = {.state = 2};
	size_t written = 0, got = 0;
	enum relay_result result = RELAY_WAIT;
	unsigned idle = 0;

	while (result != RELAY_DONE || got < total) {
		uint8_t chunk[8192];
		ssize_t n;
		size_t want = rng_below(&sizes, sizeof(chunk)) & ~(size_t)7;

		if (written < total && want > 0) {
			struct rng before = wrote;

			if (want > total - written)
				want = total - written;
			for (size_t i = 0; i < want; i += 8) {
				uint64_t x = rng_next(&wrote);

				memcpy(chunk + i, &x, 8);
			}
			n = send(g->writer, chunk, want, MSG_NOSIGNAL);
			/* A unix socket takes a small piece whole or not at all. */
			if (n < 0)
				wrote = before;
			else
				assert_int_equal(n, (ssize_t)want);
			written += n > 0 ? (size_t)n : 0;
			if (written == total)
				shutdown(g->writer, SHUT_WR);
		}
		g->src.readable = true; /* as epoll would say, or say too often */
		g->src.hangup = written == total;
		g->dst.writable = true;
		if (result != RELAY_DONE) {
			result = run(g);
			assert_true(result == RELAY_WAIT || result == RELAY_YIELD ||
			            result == RELAY_DONE);
		}
		n = read(g->reader, chunk, sizeof(chunk) & ~(size_t)7);
		for (ssize_t i = 0; i + 8 <= n; i += 8) {
			uint64_t x = rng_next(&expect);

			assert_memory_equal(chunk + i, &x, 8);
		}
		idle = n > 0 ? 0 : idle + 1;
		assert_true(idle < 100000);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, total);
	assert_int_equal(g->relay.bytes, total);
	assert_int_equal(g->relay.state, RELAY_ENDED);
}

static void every_mode_delivers_every_byte(void **state)
{
	static const enum relay_mode modes[] = {RELAY_AUTO, RELAY_COPY, RELAY_SPLICE};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (unsigned pipes = 0; pipes < 2; pipes++) {
			struct rig g;

			rig_open(&g, modes[i], pipes);
			push_through(&g, 3000000);
			assert_null(g.relay.pipe);
			assert_null(g.relay.tail);
			rig_close(&g);
		}
	}
}

static void fill(int fd, size_t bytes)
{
	static const char zeroes[65536];

	while (bytes > 0) {
		size_t want = bytes < sizeof(zeroes) ? bytes : sizeof(zeroes);
		ssize_t n = send(fd, zeroes, want, MSG_NOSIGNAL);

		if (n < 0)
			break;
		bytes -= (size_t)n;
	}
}

static void a_full_receiver_stops_reading(void **state)
{
	(void)state;
	for (int mode = RELAY_AUTO; mode <= RELAY_SPLICE; mode++) {
		struct rig g;
		char byte;

		rig_open(&g, (enum relay_mode)mode, 1);
		/* Until what is held is all that this direction will ever hold. */
		for (int i = 0; i < 64; i++) {
			fill(g.writer, 1 << 20);
			g.src.readable = true;
			run(&g);
		}
		assert_true(relay_pending(&g.relay));
		assert_false(g.dst.writable);

		uint64_t before = g.relay.bytes;

		assert_int_equal(run(&g), RELAY_WAIT);
		assert_int_equal(g.relay.bytes, before);
		assert_int_equal(send(g.writer, &byte, 1, MSG_NOSIGNAL), -1);
		assert_int_equal(errno, EAGAIN);
		rig_close(&g);
	}
}

static void bulk_is_found_and_forgotten(void **state)
{
	static char sink[1 << 20];
	struct rig g;
	int buffer = 1 << 20;

	(void)state;
	rig_open(&g, RELAY_AUTO, 1);
	assert_int_equal(setsockopt(g.writer, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)), 0);
	assert_int_equal(setsockopt(g.dst.fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)), 0);
	fill(g.writer, 100);
	assert_int_equal(run(&g), RELAY_WAIT);
	assert_false(g.relay.bulk);
	for (int i = 0; i < 16 && !g.relay.bulk; i++) {
		fill(g.writer, RELAY_CHUNK_BYTES);
		g.src.readable = true;
		g.dst.writable = true;
		run(&g);
		while (read(g.reader, sink, sizeof(sink)) > 0)
			;
	}
	assert_true(g.relay.bulk);
	for (int i = 0; i < 4 && g.relay.bulk; i++) {
		fill(g.writer, 100);
		g.src.readable = true;
		g.dst.writable = true;
		run(&g);
		while (read(g.reader, sink, sizeof(sink)) > 0)
			;
	}
	assert_false(g.relay.bulk);
	assert_null(g.relay.pipe);
	rig_close(&g);
}

static void what_is_held_is_written_when_it_is_delivered(void **state)
{
	static uint8_t room[RELAY_CHUNK_BYTES];
	struct rig g;
	char text[16];

	(void)state;
	rig_open(&g, RELAY_AUTO, 0);
	g.shared.room = room;
	assert_int_equal(send(g.writer, "message", 7, 0), 7);
	assert_int_equal(run(&g), RELAY_HELD);
	assert_int_equal(g.shared.held, 7);
	assert_memory_equal(room, "message", 7);
	assert_int_equal(g.relay.bytes, 0);
	assert_int_equal(read(g.reader, text, sizeof(text)), -1);
	g.shared.room = NULL;
	assert_int_equal(relay_deliver(&g.relay, &g.src, &g.dst, &g.shared, room, 7), RELAY_WAIT);
	assert_int_equal(g.relay.bytes, 7);
	assert_int_equal(read(g.reader, text, sizeof(text)), 7);

	/* What may not be all there is is not held. */
	g.shared.room = room;
	g.src.readable = g.src.hangup = true;
	assert_int_equal(send(g.writer, "bye", 3, 0), 3);
	shutdown(g.writer, SHUT_WR);
	assert_int_equal(run(&g), RELAY_DONE);
	assert_int_equal(read(g.reader, text, sizeof(text)), 3);
	rig_close(&g);
}

static void what_was_held_for_a_full_receiver_becomes_the_tail(void **state)
{
	static uint8_t room[RELAY_CHUNK_BYTES];
	static char sink[1 << 20];
	struct rig g;
	size_t before = 0;
	ssize_t n;

	(void)state;
	rig_open(&g, RELAY_AUTO, 0);
	g.shared.room = room;
	assert_int_equal(send(g.writer, "late", 4, 0), 4);
	assert_int_equal(run(&g), RELAY_HELD);
	while ((n = send(g.dst.fd, sink, sizeof(sink), MSG_NOSIGNAL)) > 0)
		before += (size_t)n;
	g.shared.room = NULL;
	assert_int_equal(relay_deliver(&g.relay, &g.src, &g.dst, &g.shared, room, 4), RELAY_WAIT);
	assert_true(relay_pending(&g.relay));
	assert_false(g.dst.writable);
	while ((n = read(g.reader, sink, sizeof(sink))) > 0)
		before -= (size_t)n;
	assert_int_equal(before, 0);
	g.dst.writable = true;
	assert_int_equal(run(&g), RELAY_WAIT);
	assert_int_equal(read(g.reader, sink, sizeof(sink)), 4);
	assert_memory_equal(sink, "late", 4);
	rig_close(&g);
}

static void an_end_is_reported_once_everything_is_delivered(void **state)
{
	struct rig g;
	char text[16];

	(void)state;
	rig_open(&g, RELAY_AUTO, 0);
	assert_int_equal(send(g.writer, "bye", 3, 0), 3);
	shutdown(g.writer, SHUT_WR);
	g.src.hangup = true;
	assert_int_equal(run(&g), RELAY_DONE);
	assert_int_equal(read(g.reader, text, sizeof(text)), 3);
	assert_int_equal(g.relay.state, RELAY_ENDED);
	assert_int_equal(run(&g), RELAY_WAIT); /* nothing more, ever */
	rig_close(&g);
}

static void a_doomed_end_is_a_failure(void **state)
{
	struct rig g;
	char text[16];

	(void)state;
	rig_open(&g, RELAY_AUTO, 0);
	assert_int_equal(send(g.writer, "last words", 10, 0), 10);
	shutdown(g.writer, SHUT_WR);
	g.src.hangup = true;
	g.relay.doomed = true;
	assert_int_equal(run(&g), RELAY_SRC_FAILED);
	assert_int_equal(read(g.reader, text, sizeof(text)), 10);
	assert_int_equal(read(g.reader, text, sizeof(text)), -1);
	assert_int_equal(errno, EAGAIN);
	rig_close(&g);
}

/* Puts TCP on the way to the reader, where packets can be counted. */
static void rig_over_tcp(struct rig *g)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	close(g->dst.fd);
	close(g->reader);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	g->dst.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(g->dst.fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	g->reader = accept(listener, NULL, NULL);
	assert_true(g->reader >= 0);
	close(listener);
}

static unsigned packets(const struct rig *g)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(g->dst.fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_segs_out;
}

static void an_end_that_is_known_goes_with_the_last_bytes(void **state)
{
	char text[16];

	(void)state;
	for (int known = 0; known < 2; known++) {
		struct rig g;
		unsigned before;

		rig_open(&g, RELAY_AUTO, 0);
		rig_over_tcp(&g);
		assert_int_equal(send(g.writer, "bye", 3, 0), 3);
		shutdown(g.writer, SHUT_WR);
		g.src.hangup = true;
		g.src.ended = known;
		before = packets(&g);
		assert_int_equal(run(&g), RELAY_DONE);
		shutdown(g.dst.fd, SHUT_WR);
		assert_int_equal(packets(&g) - before, known ? 1 : 2);
		assert_int_equal(read(g.reader, text, sizeof(text)), 3);
		assert_int_equal(read(g.reader, text, sizeof(text)), 0);
		rig_close(&g);
	}
}

/* Where no end will follow, the last bytes wait for none. */
static void a_doomed_end_holds_nothing_back(void **state)
{
	struct rig g;
	unsigned before;

	(void)state;
	rig_open(&g, RELAY_AUTO, 0);
	rig_over_tcp(&g);
	assert_int_equal(send(g.writer, "last words", 10, 0), 10);
	shutdown(g.writer, SHUT_WR);
	g.src.hangup = g.src.ended = true;
	g.relay.doomed = true;
	before = packets(&g);
	assert_int_equal(run(&g), RELAY_SRC_FAILED);
	assert_int_equal(packets(&g) - before, 1);
	rig_close(&g);
}

static void a_gone_receiver_is_told_apart(void **state)
{
	struct rig g;

	(void)state;
	rig_open(&g, RELAY_COPY, 0);
	shutdown(g.reader, SHUT_RD);
	assert_int_equal(send(g.writer, "x", 1, 0), 1);
	assert_int_equal(run(&g), RELAY_DST_FAILED);
	rig_close(&g);
}

static void a_pipe_with_bytes_is_never_lent_again(void **state)
{
	struct pipe_pool pool;
	struct pipe *a, *b;
	char byte;

	(void)state;
	pipe_pool_init(&pool, 1, 65536);
	a = pipe_pool_get(&pool);
	assert_non_null(a);
	assert_null(pipe_pool_get(&pool)); /* the cap */
	assert_int_equal(write(a->write_fd, "s", 1), 1);
	a->used = 1;
	pipe_pool_put(&pool, a);
	b = pipe_pool_get(&pool);
	assert_non_null(b);
	assert_int_equal(b->used, 0);
	assert_int_equal(read(b->read_fd, &byte, 1), -1);
	pipe_pool_put(&pool, b);
	assert_ptr_equal(pipe_pool_get(&pool), b); /* an empty one is */
	pipe_pool_put(&pool, b);
	pipe_pool_put(&pool, NULL);
	pipe_pool_done(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mode_delivers_every_byte),
		cmocka_unit_test(a_full_receiver_stops_reading),
		cmocka_unit_test(bulk_is_found_and_forgotten),
		cmocka_unit_test(what_is_held_is_written_when_it_is_delivered),
		cmocka_unit_test(what_was_held_for_a_full_receiver_becomes_the_tail),
		cmocka_unit_test(an_end_is_reported_once_everything_is_delivered),
		cmocka_unit_test(a_doomed_end_is_a_failure),
		cmocka_unit_test(an_end_that_is_known_goes_with_the_last_bytes),
		cmocka_unit_test(a_doomed_end_holds_nothing_back),
		cmocka_unit_test(a_gone_receiver_is_told_apart),
		cmocka_unit_test(a_pipe_with_bytes_is_never_lent_again),
	};

	return cmocka_run_group_tests_name("proxy/relay", tests, NULL, NULL);
}
