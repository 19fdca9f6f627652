#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct listen_options listen_options = {
	.backlog = 16,
	.tcp = {.keepalive_secs = 77, .user_timeout_ms = 4321},
};

static struct listen_socket *listen_on(const char *text)
{
	struct endpoint e;
	struct listen_socket *s;

	assert_int_equal(endpoint_parse(text, true, &e), 0);
	assert_int_equal(listen_socket_new(&e, &listen_options, &s), 0);
	return s;
}

static bool wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, 10000) == 1;
}

static int get_int(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
	return value;
}

/* A connection to s: both ends. */
static void connect_pair(struct listen_socket *s, int *ret_client, int *ret_server)
{
	struct tcp_options none = {0};

	*ret_client = socket_connect(&s->addr, &none, NULL);
	assert_true(*ret_client >= 0);
	assert_true(wait_for(s->fd, POLLIN));
	*ret_server = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*ret_server >= 0);
	assert_true(wait_for(*ret_client, POLLOUT));
}

static void a_listener_says_where_it_is(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	struct listen_socket *again;

	(void)state;
	assert_int_not_equal(s->addr.port, 0);
	assert_true(ip_is_v4(&s->addr.ip));
	assert_int_equal(listen_socket_new(&s->addr, &listen_options, &again), -EADDRINUSE);
	listen_socket_unref(s);
}

static void the_last_reference_closes(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	int fd = s->fd;

	(void)state;
	listen_socket_ref(s);
	listen_socket_unref(s);
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	listen_socket_unref(s);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	listen_socket_unref(NULL);
}

static void accepted_sockets_inherit_the_options(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	int client, server;

	(void)state;
	connect_pair(s, &client, &server);
	assert_true(get_int(server, IPPROTO_TCP, TCP_NODELAY) != 0);
	assert_true(get_int(server, SOL_SOCKET, SO_KEEPALIVE) != 0);
	assert_int_equal(get_int(server, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	assert_int_equal(get_int(server, IPPROTO_TCP, TCP_USER_TIMEOUT), 4321);
	/* Zero leaves the kernel's defaults. */
	assert_true(get_int(client, IPPROTO_TCP, TCP_NODELAY) == 0);
	socket_nodelay(client);
	assert_true(get_int(client, IPPROTO_TCP, TCP_NODELAY) != 0);
	assert_int_equal(get_int(client, SOL_SOCKET, SO_KEEPALIVE), 0);
	close(client);
	close(server);
	listen_socket_unref(s);
}

static void everything_is_non_blocking_and_close_on_exec(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	int client, server;

	(void)state;
	connect_pair(s, &client, &server);
	assert_true((fcntl(s->fd, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(client, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(s->fd, F_GETFD) & FD_CLOEXEC) != 0);
	assert_true((fcntl(client, F_GETFD) & FD_CLOEXEC) != 0);
	close(client);
	close(server);
	listen_socket_unref(s);
}

static void an_ipv6_wildcard_takes_ipv4_too(void **state)
{
	struct listen_socket *s = listen_on("[::]:0");
	struct endpoint v4;
	struct tcp_options none = {0};
	int fd;

	(void)state;
	assert_int_equal(endpoint_parse("127.0.0.1:1", false, &v4), 0);
	v4.port = s->addr.port;
	fd = socket_connect(&v4, &none, NULL);
	assert_true(fd >= 0);
	assert_true(wait_for(s->fd, POLLIN));
	close(fd);
	listen_socket_unref(s);
}

static void a_refused_connect_is_an_error(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	struct endpoint gone = s->addr;
	struct tcp_options none = {0};
	int fd;

	(void)state;
	listen_socket_unref(s);
	fd = socket_connect(&gone, &none, NULL);
	if (fd >= 0) {
		assert_true(wait_for(fd, POLLOUT));
		assert_int_equal(socket_error(fd), ECONNREFUSED);
		assert_int_equal(socket_error(fd), 0); /* it is cleared */
		close(fd);
	} else {
		assert_int_equal(fd, -ECONNREFUSED);
	}
}

static void a_reset_is_not_an_end(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	int client, server;
	char byte;

	(void)state;
	connect_pair(s, &client, &server);
	socket_reset(server);
	assert_true(wait_for(client, POLLIN));
	assert_int_equal(recv(client, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(client);
	listen_socket_unref(s);
}

static void unacked_bytes_are_counted(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	static char big[8 << 20];
	int client, server;

	(void)state;
	connect_pair(s, &client, &server);
	assert_int_equal(socket_unacked(client), 0);
	assert_true(send(client, big, sizeof(big), MSG_NOSIGNAL) > 0);
	assert_true(socket_unacked(client) > 0); /* nobody reads, the windows are full */
	assert_int_equal(socket_unacked(-1), 0);
	close(client);
	close(server);
	listen_socket_unref(s);
}

static void only_known_congestion_controls_are_usable(void **state)
{
	(void)state;
	assert_int_equal(socket_congestion_usable("reno"), 0); /* every kernel has it */
	assert_int_equal(socket_congestion_usable("no-such-thing"), -ENOENT);
}

static void the_congestion_control_is_set(void **state)
{
	struct listen_socket *s = listen_on("127.0.0.1:0");
	struct tcp_options reno = {.congestion = "reno"};
	char name[16] = "";
	socklen_t len = sizeof(name);
	int fd = socket_connect(&s->addr, &reno, NULL);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	assert_string_equal(name, "reno");
	close(fd);
	listen_socket_unref(s);
}

/* With or without a cookie of the peer: the bytes count as sent exactly when they were. */
static void first_bytes_arrive_once(void **state)
{
	struct listen_options options = {.backlog = 16, .fastopen = 16};
	struct tcp_options none = {0};
	struct listen_socket *s;
	struct endpoint any;

	(void)state;
	assert_int_equal(endpoint_parse("127.0.0.1:0", true, &any), 0);
	assert_int_equal(listen_socket_new(&any, &options, &s), 0);
	for (int round = 0; round < 3; round++) {
		struct first_bytes first = {.data = "hello", .len = 5};
		char text[8];
		int client = socket_connect(&s->addr, &none, &first), server;

		assert_true(client >= 0);
		assert_true(first.sent == 0 || first.sent == 5);
		assert_true(wait_for(client, POLLOUT));
		if (first.sent == 0)
			assert_int_equal(send(client, "hello", 5, 0), 5);
		assert_true(wait_for(s->fd, POLLIN));
		server = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK);
		assert_true(server >= 0);
		assert_true(wait_for(server, POLLIN));
		assert_int_equal(socket_waiting(server), 5);
		assert_int_equal(recv(server, text, sizeof(text), 0), 5);
		assert_memory_equal(text, "hello", 5);
		close(client);
		close(server);
	}
	listen_socket_unref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_says_where_it_is),
		cmocka_unit_test(the_last_reference_closes),
		cmocka_unit_test(accepted_sockets_inherit_the_options),
		cmocka_unit_test(everything_is_non_blocking_and_close_on_exec),
		cmocka_unit_test(an_ipv6_wildcard_takes_ipv4_too),
		cmocka_unit_test(a_refused_connect_is_an_error),
		cmocka_unit_test(a_reset_is_not_an_end),
		cmocka_unit_test(unacked_bytes_are_counted),
		cmocka_unit_test(only_known_congestion_controls_are_usable),
		cmocka_unit_test(the_congestion_control_is_set),
		cmocka_unit_test(first_bytes_arrive_once),
	};

	return cmocka_run_group_tests_name("net/socket", tests, NULL, NULL);
}
