/* The schedule: who waits for a place, who gives it back, and when. Time is virtual; the probes are
 * real ones, at a listening socket that answers only where a test does. */
#include "health/schedule.h"

#include "../route/rows_fixture.h"
#include "net/socket.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TARGETS 3
#define INTER_MS 2000
#define TIMEOUT_MS 500
/* Time for what the kernel does at once. */
#define WAIT_MS 10000

struct fixture {
	struct config config;
	struct live *live;
	struct table *table;
	struct schedule schedule;
	struct target targets[TARGETS];
	int listener;
	int epoll_fd;
};

static void on_problem(void *arg, bool fatal, const char *text)
{
	(void)arg;
	fail_msg("%d %s", fatal, text);
}

static void read_config(struct config *ret)
{
	static char texts[][48] = {
		"EDGEPROXY_HEALTH_CHECK=http",
		"EDGEPROXY_HEALTH_INTER_MS=2000",
		"EDGEPROXY_HEALTH_TIMEOUT_MS=500",
		"EDGEPROXY_HEALTH_SCRIPT_DIR=/bin",
	};
	char *const environment[] = {texts[0], texts[1], texts[2], texts[3], NULL};
	const struct config_report report = {.problem = on_problem};

	assert_int_equal(config_read(environment, &report, ret), 0);
}

static int listen_anywhere(struct endpoint *ret_endpoint)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_endpoint = fixture_endpoint(ntohs(addr.sin_port));
	return fd;
}

static int setup(void **state)
{
	static const char *const ids[TARGETS] = {"a", "b", "c"};
	const struct table_options options = {.local_region = "sa"};
	static struct fixture f;
	struct route_rows rows;
	struct endpoint addr;

	f = (struct fixture){.live = live_new(), .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	read_config(&f.config);
	f.listener = listen_anywhere(&addr);
	route_rows_init(&rows);
	for (size_t i = 0; i < TARGETS; i++) {
		struct backend_row row = fixture_backend(ids[i], "web", "sa");

		row.addr = addr;
		assert_int_equal(route_rows_add_backend(&rows, &row), 0);
	}
	assert_int_equal(table_new(&rows, &options, f.live, &f.table), 0);
	route_rows_done(&rows);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	schedule_done(&f->schedule);
	schedule_done(&f->schedule); /* zeroed is fine, and so is done */
	table_unref(f->table);
	live_free(f->live);
	config_done(&f->config);
	close(f->listener);
	close(f->epoll_fd);
	return 0;
}

static void init(struct fixture *f, uint32_t concurrency)
{
	const struct schedule_options options = {
		.config = &f->config,
		.live = f->live,
		.concurrency = concurrency,
		.seed = 1,
		.epoll_fd = f->epoll_fd,
		.script_dir = "/bin",
	};

	assert_int_equal(schedule_init(&f->schedule, &options, 0), 0);
	f->schedule.table = f->table;
}

static struct check_spec spec_of(const struct fixture *f, const struct target *t)
{
	struct check_spec spec;

	assert_true(target_spec(t, &f->config, &spec));
	return spec;
}

static struct target *add(struct fixture *f, size_t i, const struct health_check_row *row)
{
	const struct backend *b = &f->table->backends[i];
	struct target *t = &f->targets[i];
	struct check_spec spec;

	*t = (struct target){.slot = b->slot, .addr = b->addr, .row = row};
	spec = spec_of(f, t);
	check_begin(&t->state, &spec.timing, 0);
	schedule_add(&f->schedule, t, &spec, 0);
	return t;
}

/* A turn of the thread, with what has happened by wait_ms from now. */
static void turn(struct fixture *f, uint64_t now_ms, int wait_ms)
{
	struct epoll_event events[8];
	int n = epoll_wait(f->epoll_fd, events, 8, wait_ms);

	for (int i = 0; i < n; i++)
		schedule_event(&f->schedule, events[i].data.ptr, events[i].events, now_ms);
	schedule_advance(&f->schedule, now_ms);
	schedule_start(&f->schedule, now_ms);
}

static uint32_t under_way(const struct fixture *f)
{
	return f->schedule.lanes[SCHEDULE_CONNECT].under_way;
}

static bool down(const struct fixture *f, const struct target *t)
{
	return live_faults(f->live, t->slot) == LIVE_CHECK_DOWN;
}

static void test_first_checks_come_within_an_interval(void **state)
{
	struct fixture *f = *state;
	struct target *t;

	init(f, 1);
	assert_int_equal(schedule_wait_ms(&f->schedule, 0), -1);
	t = add(f, 0, NULL);
	assert_in_range(schedule_wait_ms(&f->schedule, 0), 0, INTER_MS + SCHEDULE_TICK_MS);
	assert_int_equal(t->due.expires_ms % SCHEDULE_TICK_MS, 0);
	turn(f, t->due.expires_ms - 1, 0);
	assert_null(t->flight);
	turn(f, t->due.expires_ms, 0);
	assert_non_null(t->flight);
	schedule_remove(t);
}

static void test_two_for_one_place(void **state)
{
	struct fixture *f = *state;
	struct target *first, *second;
	uint64_t now_ms = INTER_MS + SCHEDULE_TICK_MS;

	init(f, 1);
	add(f, 0, NULL);
	add(f, 1, NULL);
	turn(f, now_ms, 0);
	assert_int_equal(under_way(f), 1);
	first = &f->targets[f->targets[0].flight != NULL ? 0 : 1];
	second = &f->targets[first == &f->targets[0] ? 1 : 0];
	assert_null(second->flight);
	turn(f, now_ms + TIMEOUT_MS - 1, 0);
	assert_non_null(first->flight);
	assert_false(down(f, first));

	/* Its time is over; whoever waited starts in the same turn. */
	now_ms += TIMEOUT_MS + 1;
	turn(f, now_ms, 0);
	assert_null(first->flight);
	assert_true(down(f, first));
	assert_non_null(second->flight);
	assert_int_equal(under_way(f), 1);
	assert_false(down(f, second));

	/* The next one an interval after the last began, more or less. */
	assert_in_range(first->due.expires_ms, first->started_ms + INTER_MS * 9 / 10,
	                first->started_ms + INTER_MS * 11 / 10 + SCHEDULE_TICK_MS);
	now_ms += TIMEOUT_MS + 1;
	turn(f, now_ms, 0);
	assert_true(down(f, second));
	schedule_remove(first);
	schedule_remove(second);
	assert_int_equal(under_way(f), 0);
}

static void test_an_answer_is_a_verdict(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	struct fixture *f = *state;
	struct target *t;
	int fd;

	init(f, 1);
	t = add(f, 0, NULL);
	turn(f, INTER_MS + SCHEDULE_TICK_MS, 0);
	fd = accept(f->listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, answer, sizeof(answer) - 1), sizeof(answer) - 1);
	while (t->flight != NULL)
		turn(f, INTER_MS + SCHEDULE_TICK_MS, WAIT_MS);
	assert_true(t->state.passed);
	assert_false(down(f, t));
	assert_int_equal(under_way(f), 0);
	assert_true(timer_armed(&t->due));
	close(fd);
	schedule_remove(t);
	assert_int_equal(schedule_wait_ms(&f->schedule, INTER_MS), -1);
}

static void test_who_leaves_gives_back_place_and_turn(void **state)
{
	struct fixture *f = *state;
	struct target *waits[2];
	struct target *has = NULL;
	size_t n = 0;

	init(f, 1);
	for (size_t i = 0; i < TARGETS; i++)
		add(f, i, NULL);
	turn(f, INTER_MS + SCHEDULE_TICK_MS, 0);
	for (size_t i = 0; i < TARGETS; i++) {
		if (f->targets[i].flight != NULL)
			has = &f->targets[i];
		else
			waits[n++] = &f->targets[i];
	}
	assert_int_equal(n, 2);
	schedule_remove(waits[0]);
	schedule_remove(has);
	assert_int_equal(under_way(f), 0);
	turn(f, INTER_MS + SCHEDULE_TICK_MS, 0);
	assert_null(waits[0]->flight);
	assert_null(has->flight);
	assert_non_null(waits[1]->flight);
	assert_false(down(f, has)); /* no verdict */
	schedule_remove(waits[1]);
}

static void test_another_check_begins_anew(void **state)
{
	struct fixture *f = *state;
	struct check_spec spec;
	struct target *t;

	init(f, 1);
	t = add(f, 0, NULL);
	spec = spec_of(f, t);
	turn(f, INTER_MS + SCHEDULE_TICK_MS, 0);
	assert_non_null(t->flight);
	schedule_respec(t, &spec);
	assert_non_null(t->flight);
	schedule_restart(t, &spec, INTER_MS + SCHEDULE_TICK_MS);
	assert_null(t->flight);
	assert_int_equal(under_way(f), 0);
	assert_true(timer_armed(&t->due));
	schedule_respec(t, &spec); /* nothing is under way */
	schedule_remove(t);
}

static void test_scripts_wait_in_a_line_of_their_own(void **state)
{
	static const struct health_check_row row = {
		.type = CHECK_SCRIPT, .script = "true", .send_proxy = -1, .grace_ms = -1};
	struct fixture *f = *state;
	struct target *connects, *runs;

	init(f, 1);
	connects = add(f, 0, NULL);
	runs = add(f, 1, &row);
	turn(f, INTER_MS + SCHEDULE_TICK_MS, 0);
	assert_non_null(connects->flight);
	assert_true(runs->flight != NULL || runs->state.passed);
	assert_int_equal(under_way(f), 1);
	while (runs->flight != NULL)
		turn(f, INTER_MS + SCHEDULE_TICK_MS, WAIT_MS);
	assert_true(runs->state.passed);
	assert_int_equal(f->schedule.lanes[SCHEDULE_SCRIPT].under_way, 0);
	schedule_remove(connects);
	schedule_remove(runs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_first_checks_come_within_an_interval),
		TEST(test_two_for_one_place),
		TEST(test_an_answer_is_a_verdict),
		TEST(test_who_leaves_gives_back_place_and_turn),
		TEST(test_another_check_begins_anew),
		TEST(test_scripts_wait_in_a_line_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
