/* The status socket: both sides, and callers that do not behave. */
#include "control/status.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A name that no other test run has. */
static const char *name(void)
{
	static char text[64];

	snprintf(text, sizeof(text), "test-%d", (int)getpid());
	return text;
}

static int call(const char *text)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int len = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "edgeproxy/%s", text);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&sa,
	                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)),
		0);
	return fd;
}

struct answerer {
	int fd;
	atomic_bool enough;
};

/* status_answer() does not wait: the caller may not be there yet. */
static void *answer(void *arg)
{
	struct answerer *a = arg;

	while (!atomic_load(&a->enough)) {
		struct pollfd called = {.fd = a->fd, .events = POLLIN};

		poll(&called, 1, 10);
		status_answer(a->fd, "ready version=7\n");
	}
	return NULL;
}

static void a_question_and_an_answer(void **unused)
{
	char line[STATUS_TEXT_MAX];
	struct answerer a = {.fd = -1};
	pthread_t thread;

	(void)unused;
	assert_int_equal(status_open(name(), &a.fd), 0);
	assert_int_equal(pthread_create(&thread, NULL, answer, &a), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(status_ask(name(), 60000, line), 0);
		assert_string_equal(line, "ready version=7");
	}
	atomic_store(&a.enough, true);
	pthread_join(thread, NULL);
	close(a.fd);
}

static void nobody_there(void **unused)
{
	char line[STATUS_TEXT_MAX] = "untouched";
	int fd, second;

	(void)unused;
	assert_int_equal(status_ask(name(), 60000, line), -ECONNREFUSED);
	assert_int_equal(status_open(name(), &fd), 0);
	assert_int_equal(status_open(name(), &second), -EADDRINUSE);
	/* There, but it does not answer. */
	assert_int_equal(status_ask(name(), 10, line), -ETIMEDOUT);
	close(fd);
	assert_int_equal(status_ask(name(), 60000, line), -ECONNREFUSED);
	assert_string_equal(line, "untouched");
}

static void callers_that_do_not_behave(void **unused)
{
	char line[16];
	int fd, gone, silent, many[STATUS_BURST];

	(void)unused;
	assert_int_equal(status_open(name(), &fd), 0);
	status_answer(fd, "ready\n"); /* nobody waits */
	gone = call(name());
	close(gone);
	silent = call(name());
	assert_int_equal(write(silent, "GET / HTTP/1.0\r\n\r\n", 18), 18);
	status_answer(fd, "ready\n");
	assert_true(recv(silent, line, sizeof(line), MSG_DONTWAIT) >= 0 || errno == ECONNRESET);
	close(silent);
	for (int i = 0; i < STATUS_BURST; i++)
		many[i] = call(name());
	status_answer(fd, "ready\n");
	for (int i = 0; i < STATUS_BURST; i++) {
		assert_int_equal(recv(many[i], line, sizeof(line), MSG_DONTWAIT), 6);
		assert_int_equal(recv(many[i], line, sizeof(line), MSG_DONTWAIT), 0);
		close(many[i]);
	}
	close(fd);
}

static void long_names(void **unused)
{
	char text[200], line[STATUS_TEXT_MAX];
	int fd;

	(void)unused;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text, name(), strlen(name()));
	assert_int_equal(status_open(text, &fd), 0);
	assert_int_equal(status_ask(text, 10, line), -ETIMEDOUT);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_and_an_answer),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(callers_that_do_not_behave),
		cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
