/* Whose the path of a Unix socket is. */
#include "http/listen.h"

#include "http/path_lock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RIVALS 4
#define ROUNDS 300

struct place {
	char folder[32];
	char path[64];
	char lock[80];
};

struct rival {
	const struct place *place;
	pthread_barrier_t *start;
	struct http_listen listen;
	pthread_t thread;
	int fd;
	int err;
};

static struct place make_place(void)
{
	struct place p = {.folder = "/tmp/listen-test-XXXXXX"};

	assert_non_null(mkdtemp(p.folder));
	snprintf(p.path, sizeof(p.path), "%s/socket", p.folder);
	snprintf(p.lock, sizeof(p.lock), "%s" PATH_LOCK_SUFFIX, p.path);
	return p;
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* What a process leaves that was killed. */
static void leave_socket(const struct place *p)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, p->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
}

/* Whoever connects to the path gets to fd. */
static bool is_reached(const struct place *p, int fd)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int accepted = -1;

	strcpy(at.sun_path, p->path);
	if (connect(client, (struct sockaddr *)&at, sizeof(at)) == 0)
		accepted = accept(fd, NULL, NULL);
	close(client);
	if (accepted >= 0)
		close(accepted);
	return accepted >= 0;
}

static void *compete(void *arg)
{
	struct rival *r = arg;

	pthread_barrier_wait(r->start);
	r->err = http_listen_open(&r->listen, &r->fd);
	return NULL;
}

static void one_of_several_has_it(void **state)
{
	struct place p = make_place();
	struct rival rivals[RIVALS];
	pthread_barrier_t start;

	(void)state;
	pthread_barrier_init(&start, NULL, RIVALS);
	for (int round = 0; round < ROUNDS; round++) {
		struct rival *winner = NULL;

		leave_socket(&p);
		for (int i = 0; i < RIVALS; i++) {
			rivals[i] = (struct rival){.place = &p, .start = &start, .fd = -1};
			assert_int_equal(http_listen_unix(p.path, &rivals[i].listen), 0);
			pthread_create(&rivals[i].thread, NULL, compete, &rivals[i]);
		}
		for (int i = 0; i < RIVALS; i++)
			pthread_join(rivals[i].thread, NULL);
		for (int i = 0; i < RIVALS; i++) {
			if (rivals[i].err != 0) {
				assert_int_equal(rivals[i].err, -EADDRINUSE);
				continue;
			}
			assert_null(winner);
			winner = &rivals[i];
		}
		assert_non_null(winner);
		assert_true(is_reached(&p, winner->fd));
		http_listen_close(&winner->listen, winner->fd);
		assert_false(is_there(p.path));
		assert_false(is_there(p.lock));
	}
	pthread_barrier_destroy(&start);
	assert_int_equal(rmdir(p.folder), 0);
}

static void the_lock_is_kept(void **state)
{
	struct place p = make_place();
	struct http_listen l, other;
	char why[LISTEN_ERROR_MAX], expected[LISTEN_ERROR_MAX];
	int fd, other_fd;

	(void)state;
	assert_int_equal(http_listen_unix(p.path, &l), 0);
	assert_int_equal(http_listen_unix(p.path, &other), 0);
	assert_int_equal(http_listen_open(&l, &fd), 0);

	/* The socket's file is gone, but not the right to it. */
	assert_int_equal(unlink(p.path), 0);
	assert_int_equal(http_listen_open(&other, &other_fd), -EADDRINUSE);
	http_listen_explain(&other, -EADDRINUSE, why);
	assert_non_null(strstr(why, "is locked"));
	http_listen_close(&l, fd);
	assert_false(is_there(p.lock));

	assert_int_equal(http_listen_open(&other, &other_fd), 0);
	http_listen_explain(&l, -EADDRINUSE, why);
	snprintf(expected, sizeof(expected), "process %d listens there", (int)getpid());
	assert_memory_equal(why, expected, strlen(expected));
	/* The lock's file is gone: somebody answers all the same. */
	assert_int_equal(unlink(p.lock), 0);
	assert_int_equal(http_listen_open(&l, &fd), -EADDRINUSE);
	assert_false(is_there(p.lock));
	assert_true(is_reached(&p, other_fd));
	http_listen_close(&other, other_fd);
	assert_int_equal(rmdir(p.folder), 0);
}

static void a_failure_leaves_no_lock(void **state)
{
	struct place p = make_place();
	struct http_listen l;
	FILE *file = fopen(p.path, "w");
	char why[LISTEN_ERROR_MAX];
	int fd;

	(void)state;
	assert_non_null(file);
	fclose(file);
	assert_int_equal(http_listen_unix(p.path, &l), 0);
	assert_int_equal(http_listen_open(&l, &fd), -EADDRINUSE);
	http_listen_explain(&l, -EADDRINUSE, why);
	assert_non_null(strstr(why, "no socket"));
	assert_true(is_there(p.path));
	assert_false(is_there(p.lock));
	assert_int_equal(unlink(p.path), 0);

	/* The lock of one that was killed. */
	file = fopen(p.lock, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(http_listen_open(&l, &fd), 0);
	http_listen_close(&l, fd);
	assert_int_equal(rmdir(p.folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_several_has_it),
		cmocka_unit_test(the_lock_is_kept),
		cmocka_unit_test(a_failure_leaves_no_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
