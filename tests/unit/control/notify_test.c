/* What a service manager hears, one that is slow to read too. */
#include "control/notify.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HEARD_MAX 1024 /* more than net.unix.max_dgram_qlen is anywhere */

struct manager {
	int fd;
	struct sockaddr_un addr;
	socklen_t addr_len;
};

static struct manager manager_open(void)
{
	struct manager m = {.addr.sun_family = AF_UNIX};
	char name[64];
	int len = snprintf(name, sizeof(name), "@edgeproxy-notify-test-%d", (int)getpid());

	memcpy(m.addr.sun_path + 1, name + 1, (size_t)len - 1);
	m.addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
	m.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m.fd, (struct sockaddr *)&m.addr, m.addr_len), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	return m;
}

/* Sends until the kernel takes no more. */
static void fill(const struct manager *m)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int count = 0;

	while (sendto(fd, "x", 1, MSG_DONTWAIT, (const struct sockaddr *)&m->addr, m->addr_len) ==
	       1)
		assert_true(count++ < HEARD_MAX);
	close(fd);
}

/* Reads all that there is, and counts what equals text. */
static int hear(const struct manager *m, const char *text)
{
	char heard[600];
	ssize_t n;
	int count = 0;

	while ((n = recv(m->fd, heard, sizeof(heard) - 1, MSG_DONTWAIT)) >= 0) {
		heard[n] = '\0';
		count += strcmp(heard, text) == 0;
	}
	return count;
}

static atomic_int sender_tid;

static void *send_state(void *arg)
{
	(void)arg;
	atomic_store(&sender_tid, gettid());
	notify_send("MAINPID=%d\nREADY=1", 7);
	atomic_store(&sender_tid, -1);
	return NULL;
}

/* Whether the sender waits, or has ended. */
static bool waits_or_ended(void)
{
	char path[64], stat[256] = "";
	int tid = atomic_load(&sender_tid);
	FILE *f;

	if (tid <= 0)
		return tid < 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "re");
	if (f == NULL)
		return true;
	(void)!fgets(stat, sizeof(stat), f);
	fclose(f);
	return strstr(stat, ") S ") != NULL;
}

static void a_change_waits_for_a_slow_reader(void **state)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct manager m = manager_open();
	pthread_t sender;
	int heard;

	(void)state;
	fill(&m);
	assert_int_equal(pthread_create(&sender, NULL, send_state, NULL), 0);
	while (!waits_or_ended())
		nanosleep(&pause, NULL);
	heard = hear(&m, "MAINPID=7\nREADY=1");
	pthread_join(sender, NULL);
	assert_int_equal(heard + hear(&m, "MAINPID=7\nREADY=1"), 1);
	close(m.fd);
}

static void a_sign_of_life_waits_for_nobody(void **state)
{
	struct manager m = manager_open();

	(void)state;
	notify_alive();
	assert_int_equal(hear(&m, "WATCHDOG=1"), 1);
	fill(&m);
	notify_alive(); /* comes back, though nobody reads */
	assert_false(notify_try("STOPPING=1"));
	assert_int_equal(hear(&m, "WATCHDOG=1"), 0);
	assert_true(notify_try("STOPPING=1"));
	assert_int_equal(hear(&m, "STOPPING=1"), 1);
	close(m.fd);
}

static void nobody_listens(void **state)
{
	(void)state;
	notify_send("READY=1"); /* the socket of the test before has gone */
	setenv("NOTIFY_SOCKET", "no path", 1);
	notify_send("READY=1");
	unsetenv("NOTIFY_SOCKET");
	notify_send("READY=1");
	notify_alive();
	assert_true(notify_try("STOPPING=1"));
}

static void the_watchdogs_time(void **state)
{
	char self[16];

	(void)state;
	snprintf(self, sizeof(self), "%d", (int)getpid());
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_PID", self, 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_USEC", "1000", 1);
	assert_int_equal(notify_watchdog_ms(), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_waits_for_a_slow_reader),
		cmocka_unit_test(a_sign_of_life_waits_for_nobody),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(the_watchdogs_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
