/* Until when a relaying session may go on: whoever is being waited for has his own limit, and the
 * earliest of all counts. Every limit here is another number, so that a wrong one shows. */
#include "proxy/deadline.h"

#include "proxy/dial.h"
#include "proxy/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND_NS UINT64_C(1000000000)
#define NEVER UINT64_MAX

enum { CLIENT_MS = 5000, SERVER_MS = 7000, CLIENT_FIN_MS = 300, SERVER_FIN_MS = 400 };

static struct config config;
static const struct worker_shared shared = {.config = &config};
static struct worker worker = {.shared = &shared};
static struct tail tail;
static struct pipe full = {.used = 1}, empty;

static int setup(void **state)
{
	(void)state;
	config = (struct config){
		.client_timeout_ms = CLIENT_MS,
		.server_timeout_ms = SERVER_MS,
		.client_fin_timeout_ms = CLIENT_FIN_MS,
		.server_fin_timeout_ms = SERVER_FIN_MS,
	};
	worker.now_ms = 1000000;
	return 0;
}

/* Who is at fault when nothing moves any more, in the order in which it is asked. */
static void whoever_is_waited_for_is_at_fault(void **state)
{
	static const struct {
		struct relay client, backend;
		enum close_reason reason;
		uint64_t ms;
	} rows[] = {
		{{0}, {0}, CLOSE_CLIENT_TIMEOUT, CLIENT_MS},
		{{.pipe = &empty}, {.pipe = &empty}, CLOSE_CLIENT_TIMEOUT, CLIENT_MS},
		/* The receiver is behind. */
		{{.tail = &tail}, {0}, CLOSE_SERVER_TIMEOUT, SERVER_MS},
		{{.pipe = &full}, {0}, CLOSE_SERVER_TIMEOUT, SERVER_MS},
		{{0}, {.tail = &tail}, CLOSE_CLIENT_TIMEOUT, CLIENT_MS},
		{{0}, {.pipe = &full}, CLOSE_CLIENT_TIMEOUT, CLIENT_MS},
		{{.tail = &tail}, {.tail = &tail}, CLOSE_SERVER_TIMEOUT, SERVER_MS},
		/* One side has ended. */
		{{0}, {.state = RELAY_ENDED}, CLOSE_CLIENT_FIN_TIMEOUT, CLIENT_FIN_MS},
		{{.state = RELAY_ENDED}, {0}, CLOSE_SERVER_FIN_TIMEOUT, SERVER_FIN_MS},
		{{.state = RELAY_ENDED},
	         {.state = RELAY_ENDED},
	         CLOSE_CLIENT_FIN_TIMEOUT,
	         CLIENT_FIN_MS},
		/* An end that is not delivered yet is none. */
		{{0}, {.state = RELAY_ENDING}, CLOSE_CLIENT_TIMEOUT, CLIENT_MS},
		/* One is ended, the other behind: the one behind. */
		{{.state = RELAY_ENDED}, {.tail = &tail}, CLOSE_CLIENT_TIMEOUT, CLIENT_MS},
		{{.tail = &tail}, {.state = RELAY_ENDED}, CLOSE_SERVER_TIMEOUT, SERVER_MS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct session s = {.worker = &worker,
		                          .dir = {rows[i].client, rows[i].backend}};
		uint64_t ms = 0;

		assert_int_equal(deadline_idle(&s, &ms), rows[i].reason);
		assert_int_equal(ms, rows[i].ms);
	}
}

/* Where nobody is behind, the shorter of the two; of equals the client's. */
static void the_shorter_of_two(void **state)
{
	const struct session s = {.worker = &worker};
	uint64_t ms;

	(void)state;
	config.server_timeout_ms = CLIENT_MS - 1;
	assert_int_equal(deadline_idle(&s, &ms), CLOSE_SERVER_TIMEOUT);
	assert_int_equal(ms, CLIENT_MS - 1);
	config.server_timeout_ms = CLIENT_MS;
	assert_int_equal(deadline_idle(&s, &ms), CLOSE_CLIENT_TIMEOUT);
	assert_int_equal(ms, CLIENT_MS);
}

static void something_must_be_said(void **state)
{
	static const struct {
		uint64_t limit_ms;
		struct relay client, backend;
		uint32_t queue_us;
		uint64_t at_ms;
	} rows[] = {
		{0, {0}, {0}, 0, NEVER},
		{900, {0}, {0}, 0, 50900},
		/* The time in the queue is not the client's. */
		{900, {0}, {0}, 2500, 50902},
		{900, {0}, {0}, UINT32_MAX, 50900 + UINT32_MAX / 1000},
		{900, {.bytes = 1}, {0}, 0, NEVER},
		{900, {0}, {.bytes = 1}, 0, NEVER},
		{900, {.tail = &tail}, {0}, 0, NEVER},
		{900, {0}, {.pipe = &full}, 0, NEVER},
		{900, {.state = RELAY_ENDING}, {0}, 0, NEVER},
		{900, {0}, {.state = RELAY_ENDED}, 0, NEVER},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct session s = {
			.worker = &worker,
			.dir = {rows[i].client, rows[i].backend},
			.accept_ns = 50 * SECOND_NS,
			.queue_us = rows[i].queue_us,
		};

		config.first_byte_timeout_ms = rows[i].limit_ms;
		assert_int_equal(deadline_first_byte_ms(&s), rows[i].at_ms);
	}
}

/* Of due_ms only 32 bits are kept. */
static void the_due_time_is_whole_again(void **state)
{
	static const struct {
		uint64_t now_ms, due_ms;
	} rows[] = {
		{1000, 1000},
		{1000, 6000},
		{1000, 900},
		{UINT64_C(0xffffff00), UINT64_C(0x100000100)}, /* over the brim */
		{UINT64_C(0x100000100), UINT64_C(0xffffff00)}, /* and back */
		{UINT64_C(0x500000000), UINT64_C(0x57fffffff)},
		{UINT64_C(0x500000000), UINT64_C(0x480000000)},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct session s = {.worker = &worker, .due_ms = (uint32_t)rows[i].due_ms};

		worker.now_ms = rows[i].now_ms;
		assert_int_equal(deadline_due_ms(&s), rows[i].due_ms);
	}
}

static void the_earliest_counts(void **state)
{
	static const struct {
		bool settled, ending;
		uint64_t active_ms, due_ms;
		uint64_t first_byte_ms; /* 0: no limit */
		uint64_t dial_ms;       /* 0: no dial */
		uint64_t at_ms;
	} rows[] = {
		{true, false, 1000000, 1000001, 0, 0, 1000000 + CLIENT_MS},
		{true, false, 1000700, 1000001, 0, 0, 1000700 + CLIENT_MS}, /* it moves */
		/* It has something to do when it settles or ends, */
		{false, false, 1000000, 1000001, 0, 0, 1000001},
		{true, true, 1000000, 1000002, 0, 0, 1000002},
		{false, true, 1000000, 1000003, 0, 0, 1000003},
		/* unless it is idle before that. */
		{false, false, 1000000, 1009000, 0, 0, 1000000 + CLIENT_MS},
		/* Accepted at 999000. */
		{true, false, 1000000, 0, 1100, 0, 1000100},
		{false, false, 1000000, 1000050, 1100, 0, 1000050},
		{true, false, 1000000, 0, 9000, 0, 1000000 + CLIENT_MS},
		{true, false, 1000000, 0, 0, 1000200, 1000200},
		{true, false, 1000000, 0, 1100, 1000200, 1000100},
		{false, false, 1000000, 1000010, 1100, 1000005, 1000005},
		{true, false, 1000000, 0, 0, 1090000, 1000000 + CLIENT_MS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dial dial = {.deadline_ms = rows[i].dial_ms};
		const struct session s = {
			.worker = &worker,
			.dial = rows[i].dial_ms != 0 ? &dial : NULL,
			.accept_ns = 999 * SECOND_NS,
			.active_ms = rows[i].active_ms,
			.due_ms = (uint32_t)rows[i].due_ms,
			.settled = rows[i].settled,
			.ending = rows[i].ending,
		};

		config.first_byte_timeout_ms = rows[i].first_byte_ms;
		assert_int_equal(deadline_ms(&s), rows[i].at_ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(whoever_is_waited_for_is_at_fault, setup),
		cmocka_unit_test_setup(the_shorter_of_two, setup),
		cmocka_unit_test_setup(something_must_be_said, setup),
		cmocka_unit_test_setup(the_due_time_is_whole_again, setup),
		cmocka_unit_test_setup(the_earliest_counts, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
