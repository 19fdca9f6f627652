/* Workers without threads, for tests of what a worker does with its sessions: all that they share,
 * a table of the rows that a test adds, and clients over loopback. Time stands still but for
 * later().
 *
 * When a test is over, all that was taken must have been given back: the count of connections, the
 * workers' loads, places in the queue, descriptors. */
#ifndef PROXY_FIXTURE_H
#define PROXY_FIXTURE_H

#include "../base/aborts.h"
#include "../route/rows_fixture.h"
#include "base/log.h"
#include "geo/special.h"
#include "proxy/loop.h"
#include "proxy/mail.h"
#include "proxy/session.h"
#include "proxy/worker.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE_WORKERS 2
#define FIXTURE_WAIT_MS 20000 /* for what must happen: so long nothing takes */

struct fixture {
	struct config config; /* the defaults; a test changes what it is about */
	struct live *live;
	struct route_rows rows;
	struct service *service; /* of every app, unless a test changes it */
	atomic_uint starved;
	struct worker_shared shared;
	struct worker workers[FIXTURE_WORKERS];
	struct worker *w; /* the first, whose sessions are made */
	unsigned descriptors;
};

static inline unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* ---- tables ---- */

static inline struct backend_row *add(struct fixture *f, const char *id, const char *app,
                                      uint32_t hard_limit)
{
	struct backend_row row = fixture_backend(id, app, "sa");

	row.soft_limit = row.hard_limit = hard_limit;
	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
	return &f->rows.backends[f->rows.backend_count - 1];
}

static inline struct table *new_table(struct fixture *f)
{
	const struct table_options options = {
		.local_region = "sa", .services = &f->service, .service_count = 1};
	struct table *t;

	assert_int_equal(table_new(&f->rows, &options, f->live, &t), 0);
	return t;
}

/* The workers have a table of the rows as they are now. */
static inline void publish(struct fixture *f)
{
	struct table *t = new_table(f);

	for (int i = 0; i < FIXTURE_WORKERS; i++) {
		table_unref(f->workers[i].table);
		f->workers[i].table = table_ref(t);
	}
	table_unref(t);
}

static inline const struct backend *backend(const struct fixture *f, const char *id)
{
	uint32_t slot = live_find(f->live, id);
	const struct backend *b = NULL;

	if (slot != LIVE_NO_SLOT)
		b = table_backend_in_slot(f->w->table, slot);
	assert_non_null(b);
	return b;
}

/* ---- setup and teardown ---- */

static inline int setup(void **state)
{
	static struct fixture f;
	static char no_lines[] = "EDGEPROXY_ACCESS_LOG=off";
	static char trusted[] = "EDGEPROXY_TRUSTED_PROXIES=192.0.2.0/24";
	char *environment[] = {no_lines, trusted, NULL};
	const struct config_report report = {0};
	const struct affinity_options affinity = {
		.max_entries = 100, .ttl_ms = 60000, .v4_bits = 32, .v6_bits = 64};
	struct endpoint listen;
	struct table *t;

	memset(&f, 0, sizeof(f));
	f.descriptors = open_descriptors();
	log_setup(LOG_ERROR, LOG_TEXT);
	special_init();
	assert_int_equal(config_read(environment, &report, &f.config), 0);
	assert_int_equal(endpoint_parse("198.51.100.7:443", false, &listen), 0);
	f.live = live_new();
	f.service = service_new(&listen, "", false, 0, NULL);
	assert_non_null(f.service);
	route_rows_init(&f.rows);
	f.shared = (struct worker_shared){
		.config = &f.config,
		.live = f.live,
		.affinity = affinity_new(&affinity),
		.queue = queue_new(100, FIXTURE_WORKERS),
		.max_conn = 1000,
		.starved = &f.starved,
		.workers = f.workers,
		.worker_count = FIXTURE_WORKERS,
	};
	f.w = &f.workers[0];
	t = new_table(&f);
	for (unsigned i = 0; i < FIXTURE_WORKERS; i++) {
		assert_int_equal(loop_init(&f.workers[i], &f.shared, i + 1, t, NULL, false), 0);
		worker_set_clock(&f.workers[i]);
	}
	table_unref(t);
	*state = &f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < FIXTURE_WORKERS; i++)
		loop_done(&f->workers[i]);
	assert_int_equal(live_total(f->live), 0);
	assert_int_equal(queue_length(f->shared.queue), 0);
	assert_int_equal(atomic_load(&f->starved), 0);
	for (int i = 0; i < FIXTURE_WORKERS; i++) {
		assert_int_equal(atomic_load(&f->workers[i].load), 0);
		assert_int_equal(f->workers[i].waiting, 0);
	}
	for (uint32_t slot = 0; slot < live_slot_end(f->live); slot++)
		assert_int_equal(live_connections(f->live, slot), 0);
	assert_int_equal(atomic_load(&f->service->refs), 1);
	service_unref(f->service);
	client_limits_free(f->shared.client_limits);
	queue_free(f->shared.queue);
	affinity_free(f->shared.affinity);
	route_rows_done(&f->rows);
	live_free(f->live);
	config_done(&f->config);
	assert_int_equal(open_descriptors(), f->descriptors);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static inline void later(struct fixture *f, uint64_t ms)
{
	for (int i = 0; i < FIXTURE_WORKERS; i++) {
		f->workers[i].now_ms += ms;
		f->workers[i].now_ns += ms * 1000000;
	}
}

/* ---- sockets ---- */

/* Until poll() says one of these of it (or that it failed). */
static inline void until(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	assert_int_equal(poll(&p, 1, FIXTURE_WAIT_MS), 1);
}

static inline void unix_pair(int ret_fd[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ret_fd), 0);
}

/* Listens on a free port of the loopback. */
static inline int listening(struct endpoint *ret_addr)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(fd, 100), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, ret_addr), 0);
	return fd;
}

static inline int accepted(int listener)
{
	int fd;

	until(listener, POLLIN);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	return fd;
}

/* Two connected ends; [0] is the one that was accepted. */
static inline void tcp_pair(int ret_fd[2])
{
	struct sockaddr_storage sa;
	struct endpoint addr;
	int listener = listening(&addr);
	socklen_t len = endpoint_to_sockaddr(&addr, &sa);

	ret_fd[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(ret_fd[1] >= 0);
	assert_int_equal(connect(ret_fd[1], (struct sockaddr *)&sa, len), 0);
	ret_fd[0] = accepted(listener);
	close(listener);
}

/* Its peer sees a reset. */
static inline void reset(int fd)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(fd);
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come is this, and nothing but an end behind it. */
static inline void heard(int fd, const char *text)
{
	char got[256];
	size_t want = strlen(text);

	assert_true(want < sizeof(got));
	for (size_t n = 0; n < want;) {
		ssize_t more;

		until(fd, POLLIN);
		more = recv(fd, got + n, want - n, MSG_DONTWAIT);
		assert_true(more > 0);
		n += (size_t)more;
	}
	assert_memory_equal(got, text, want);
	assert_true(recv(fd, got, sizeof(got), MSG_DONTWAIT) <= 0);
}

/* How its peer has ended, and closes it: 0 cleanly, or an errno. */
static inline int ended(int fd)
{
	char byte;
	ssize_t n;
	int err;

	until(fd, POLLIN);
	n = recv(fd, &byte, 1, MSG_DONTWAIT);
	err = n < 0 ? errno : 0;
	assert_true(n <= 0);
	close(fd);
	return err;
}

/* ---- sessions ---- */

/* As one that was accepted a moment ago, in state HEADER; fd is its client's socket. */
static inline struct session *session_at(struct fixture *f, int fd)
{
	struct session *s = object_pool_get(&f->w->session_pool);
	struct endpoint peer;

	assert_non_null(s);
	assert_int_equal(endpoint_parse("192.0.2.1:4000", false, &peer), 0);
	assert_true(live_reserve_total(f->live, f->shared.max_conn));
	atomic_fetch_add(&f->w->load, 1);
	session_init(s, f->w, fd, &peer, service_ref(f->service));
	return s;
}

/* The letters that wait for a worker, all about places. */
static inline unsigned letters(struct worker *w)
{
	struct message *next;
	unsigned count = 0;

	for (struct message *m = mailbox_take(&w->mailbox); m != NULL; m = next) {
		next = m->next;
		assert_int_equal(m->kind, MAIL_PLACES);
		count++;
		free(m);
	}
	return count;
}

#endif
