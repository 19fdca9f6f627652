/* Limits of one client: connections at a time, new ones in a period, who counts as one, what a full
 * table does; and that threads neither pass a limit nor lose a count. */
#include "route/client_limits.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
/* A monotonic clock starts anywhere. */
#define START (1000 * SECOND)

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct client_limits *limits_with(struct client_limits_options options)
{
	struct client_limits *c;

	if (options.max_entries == 0)
		options.max_entries = 100;
	if (options.v4_bits == 0)
		options.v4_bits = 32;
	if (options.v6_bits == 0)
		options.v6_bits = 64;
	options.seed = 7;
	c = client_limits_new(&options);
	assert_non_null(c);
	return c;
}

static enum client_verdict enter(struct client_limits *c, const char *client, uint64_t now_ns)
{
	struct ip ip = ip_of(client);

	return client_limits_enter(c, &ip, now_ns);
}

static void leave(struct client_limits *c, const char *client)
{
	struct ip ip = ip_of(client);

	client_limits_leave(c, &ip);
}

static void test_connections_at_a_time(void **state)
{
	struct client_limits *c = limits_with((struct client_limits_options){.max_conn = 2});

	(void)state;
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	for (int i = 0; i < 3; i++)
		assert_int_equal(enter(c, "192.0.2.1", START + (uint64_t)i * 1000 * SECOND),
		                 CLIENT_AT_LIMIT);
	assert_int_equal(enter(c, "192.0.2.2", START), CLIENT_COUNTED);
	leave(c, "192.0.2.1");
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_AT_LIMIT);
	client_limits_free(c);
}

static void test_who_is_one_client(void **state)
{
	struct client_limits *c = limits_with(
		(struct client_limits_options){.max_conn = 1, .v4_bits = 24});

	(void)state;
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "192.0.2.255", START), CLIENT_AT_LIMIT);
	assert_int_equal(enter(c, "::ffff:192.0.2.9", START), CLIENT_AT_LIMIT);
	assert_int_equal(enter(c, "192.0.3.1", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "2001:db8:1:1::1", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "2001:db8:1:1:ffff::2", START), CLIENT_AT_LIMIT);
	assert_int_equal(enter(c, "2001:db8:1:2::1", START), CLIENT_COUNTED);
	assert_int_equal(client_limits_count(c), 4);
	client_limits_free(c);
}

/* Clients let in among n that try at one moment, and leave at once. */
static unsigned try_many(struct client_limits *c, const char *client, unsigned n, uint64_t now_ns)
{
	unsigned in = 0;

	for (unsigned i = 0; i < n; i++) {
		switch (enter(c, client, now_ns)) {
		case CLIENT_COUNTED:
			leave(c, client);
			in++;
			break;
		case CLIENT_TOO_FAST:
			break;
		default:
			fail();
		}
	}
	return in;
}

static void test_rate(void **state)
{
	struct client_limits *c = limits_with(
		(struct client_limits_options){.rate = 10, .burst = 4, .period_ns = SECOND});

	(void)state;
	assert_int_equal(try_many(c, "192.0.2.1", 100, START), 4);
	assert_int_equal(try_many(c, "192.0.2.2", 100, START), 4);
	/* One more each tenth of a second, whatever was refused meanwhile. */
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + SECOND / 10 - 1), 0);
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + SECOND / 10), 1);
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + SECOND / 10), 0);
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + 3 * SECOND / 10), 2);
	/* Never more than the burst. */
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + 100 * SECOND), 4);
	/* A clock that another thread has read before. */
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + 99 * SECOND), 0);
	client_limits_free(c);
}

static void test_a_whole_period_is_the_default_burst(void **state)
{
	struct client_limits *c = limits_with(
		(struct client_limits_options){.rate = 5, .period_ns = 10 * SECOND});

	(void)state;
	assert_int_equal(try_many(c, "192.0.2.1", 100, START), 5);
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + 2 * SECOND), 1);
	assert_int_equal(try_many(c, "192.0.2.1", 100, START + 60 * SECOND), 5);
	client_limits_free(c);
}

static void test_a_full_table(void **state)
{
	struct client_limits *c = limits_with((struct client_limits_options){
		.max_entries = 3, .max_conn = 1, .rate = 1, .period_ns = 1000 * SECOND});

	(void)state;
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "192.0.2.2", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "192.0.2.3", START), CLIENT_COUNTED);
	/* All have a connection: nobody is forgotten, and nobody refused for it. */
	assert_int_equal(enter(c, "192.0.2.4", START), CLIENT_UNCOUNTED);
	assert_int_equal(client_limits_count(c), 3);

	/* The one that has been idle for longest gives way, and only that one. */
	leave(c, "192.0.2.2");
	leave(c, "192.0.2.1");
	assert_int_equal(enter(c, "192.0.2.4", START), CLIENT_COUNTED);
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_TOO_FAST);
	assert_int_equal(enter(c, "192.0.2.3", START), CLIENT_AT_LIMIT);
	assert_int_equal(enter(c, "192.0.2.2", START), CLIENT_COUNTED); /* 192.0.2.1's entry */
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_UNCOUNTED);
	leave(c, "192.0.2.2");
	leave(c, "192.0.2.3");
	leave(c, "192.0.2.4");
	assert_int_equal(client_limits_count(c), 3);
	client_limits_free(c);
}

static void test_many_clients(void **state)
{
	enum { CLIENTS = 20000, ENTRIES = 5000 };
	struct client_limits *c = limits_with(
		(struct client_limits_options){.max_entries = ENTRIES, .max_conn = 1});

	(void)state;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		const uint8_t bytes[4] = {10, 0, (uint8_t)(i >> 8), (uint8_t)i};
		struct ip ip = ip_from_v4(bytes);

		assert_int_equal(client_limits_enter(c, &ip, START + i), CLIENT_COUNTED);
		assert_int_equal(client_limits_enter(c, &ip, START + i), CLIENT_AT_LIMIT);
		client_limits_leave(c, &ip);
	}
	assert_int_equal(client_limits_count(c), ENTRIES);
	client_limits_free(c);
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 20000, CLIENTS = 50, MAX_CONN = 2 };

static struct {
	struct client_limits *limits;
	atomic_uint open[CLIENTS];
	atomic_uint too_many;
} crowd;

static void *come_and_go(void *arg)
{
	uint32_t number = *(uint32_t *)arg;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint32_t client = (i * 7 + number * 13) % CLIENTS;
		const uint8_t bytes[4] = {10, 0, 0, (uint8_t)client};
		struct ip ip = ip_from_v4(bytes);
		enum client_verdict v = client_limits_enter(crowd.limits, &ip, START + i);

		if (v != CLIENT_COUNTED)
			continue;
		if (atomic_fetch_add(&crowd.open[client], 1) >= MAX_CONN)
			atomic_fetch_add(&crowd.too_many, 1);
		atomic_fetch_sub(&crowd.open[client], 1);
		client_limits_leave(crowd.limits, &ip);
	}
	return NULL;
}

static void test_threads(void **state)
{
	static uint32_t numbers[THREADS];
	pthread_t threads[THREADS];

	(void)state;
	/* Fewer entries than clients, so that they are also given to others all the time. */
	crowd.limits = limits_with(
		(struct client_limits_options){.max_entries = 20, .max_conn = MAX_CONN});
	for (uint32_t i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&crowd.too_many), 0);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		const uint8_t bytes[4] = {10, 0, 0, (uint8_t)i};
		struct ip ip = ip_from_v4(bytes);

		for (int k = 0; k < MAX_CONN; k++)
			assert_int_equal(client_limits_enter(crowd.limits, &ip, START),
			                 CLIENT_COUNTED);
		assert_int_equal(client_limits_enter(crowd.limits, &ip, START), CLIENT_AT_LIMIT);
		for (int k = 0; k < MAX_CONN; k++)
			client_limits_leave(crowd.limits, &ip);
	}
	client_limits_free(crowd.limits);
}

/* Nobody is remembered, nothing is used up, and what it says is what the next one is told. */
static void test_a_look_changes_nothing(void **state)
{
	struct client_limits *c = limits_with((struct client_limits_options){
		.max_entries = 1, .max_conn = 2, .rate = 3, .period_ns = SECOND});
	struct ip ip = ip_of("192.0.2.1"), other = ip_of("192.0.2.2");
	uint32_t count;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(client_limits_look(c, &ip, START, &count), CLIENT_COUNTED);
	assert_int_equal(client_limits_count(c), 0);
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	assert_int_equal(client_limits_look(c, &ip, START, &count), CLIENT_COUNTED);
	assert_int_equal(count, 1);
	assert_int_equal(client_limits_look(c, &other, START, &count), CLIENT_UNCOUNTED);
	assert_int_equal(count, 0);
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	assert_int_equal(client_limits_look(c, &ip, START, &count), CLIENT_AT_LIMIT);
	assert_int_equal(count, 2);
	leave(c, "192.0.2.1");
	leave(c, "192.0.2.1");
	assert_int_equal(enter(c, "192.0.2.1", START), CLIENT_COUNTED);
	leave(c, "192.0.2.1");
	for (int i = 0; i < 10; i++)
		assert_int_equal(client_limits_look(c, &ip, START, &count), CLIENT_TOO_FAST);
	assert_int_equal(client_limits_look(c, &ip, START + SECOND / 3 + 1, &count),
	                 CLIENT_COUNTED);
	/* The other may have the place of one without connections, but has not been given it. */
	assert_int_equal(client_limits_look(c, &other, START, &count), CLIENT_COUNTED);
	assert_int_equal(client_limits_look(c, &ip, START, &count), CLIENT_TOO_FAST);
	client_limits_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections_at_a_time),
		cmocka_unit_test(test_who_is_one_client),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_a_whole_period_is_the_default_burst),
		cmocka_unit_test(test_a_full_table),
		cmocka_unit_test(test_a_look_changes_nothing),
		cmocka_unit_test(test_many_clients),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
