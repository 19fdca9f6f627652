/* The backend of the bench. Two threads with an epoll loop each, so that pings never wait behind
 * bulk in here: one accepts and does the interactive kinds, the other does bulk. Both are level
 * triggered, and every stream that is ready gets a turn of the same size after the other, so that
 * unfairness between streams comes from what stands between, not from here. Bulk is discarded
 * inside the kernel, since it is not this reader that is measured.
 *
 * Nothing is limited and nothing times out: the bench is its only client. */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FD_MAX (1u << 16)

enum role { ROLE_FREE, ROLE_LISTENER, ROLE_NEW, ROLE_PING, ROLE_ONCE, ROLE_DOWN, ROLE_UP };

static struct {
	enum role role;
	unsigned got; /* bytes of the one request */
} streams[FD_MAX];

static atomic_uint pings; /* streams of that role */
static int quick_epoll;
static int bulk_epoll;

static void watch(int epoll, int op, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	LOAD_NEED(epoll_ctl(epoll, op, fd, &e) == 0);
}

static void end(int fd)
{
	if (streams[fd].role == ROLE_PING)
		pings--;
	streams[fd].role = ROLE_FREE;
	close(fd);
}

static void accept_all(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		int on = 1;

		if (fd < 0)
			return;
		LOAD_NEED((unsigned)fd < FD_MAX);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		streams[fd].role = ROLE_NEW;
		streams[fd].got = 0;
		watch(quick_epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
	}
}

/* The first byte says what the stream is for. */
static void learn(int fd, char kind)
{
	bool down = kind == LOAD_DOWN;

	if (kind == LOAD_PING) {
		streams[fd].role = ROLE_PING;
		pings++;
	} else if (kind == LOAD_ONCE) {
		streams[fd].role = ROLE_ONCE;
	} else if (down || kind == LOAD_UP) {
		watch(quick_epoll, EPOLL_CTL_DEL, fd, 0);
		streams[fd].role = down ? ROLE_DOWN : ROLE_UP;
		watch(bulk_epoll, EPOLL_CTL_ADD, fd, down ? EPOLLOUT : EPOLLIN);
	} else {
		end(fd);
	}
}

static void serve_quick(int fd)
{
	char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			end(fd);
		return;
	}
	if (streams[fd].role == ROLE_NEW)
		learn(fd, bytes[0]);
	if (streams[fd].role == ROLE_PING && send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
		end(fd);
	if (streams[fd].role == ROLE_ONCE) {
		streams[fd].got += (unsigned)n;
		if (streams[fd].got >= LOAD_MESSAGE_BYTES) {
			(void)!send(fd, bytes, LOAD_MESSAGE_BYTES, MSG_NOSIGNAL);
			end(fd);
		}
	}
}

static void serve_bulk(int fd)
{
	static char bytes[LOAD_BULK_BYTES];
	ssize_t n;

	if (streams[fd].role == ROLE_DOWN)
		n = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
	else
		n = recv(fd, bytes, sizeof(bytes), MSG_TRUNC);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		end(fd);
}

static void *bulk_main(void *arg)
{
	struct epoll_event events[LOAD_EVENTS];

	for (;;) {
		int ready = epoll_wait(bulk_epoll, events, LOAD_EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			serve_bulk(events[i].data.fd);
			if (pings != 0)
				load_give_way();
		}
	}
	return arg;
}

static void listen_on(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_port = htons(port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	LOAD_NEED(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	LOAD_NEED(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	LOAD_NEED(listen(fd, 65535) == 0);
	streams[fd].role = ROLE_LISTENER;
	watch(quick_epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
}

void load_serve(uint16_t port, unsigned count)
{
	struct epoll_event events[LOAD_EVENTS];
	pthread_t bulk;

	quick_epoll = epoll_create1(EPOLL_CLOEXEC);
	bulk_epoll = epoll_create1(EPOLL_CLOEXEC);
	LOAD_NEED(quick_epoll >= 0 && bulk_epoll >= 0);
	for (unsigned i = 0; i < count; i++)
		listen_on((uint16_t)(port + i));
	LOAD_NEED(pthread_create(&bulk, NULL, bulk_main, NULL) == 0);
	for (;;) {
		int ready = epoll_wait(quick_epoll, events, LOAD_EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;

			if (streams[fd].role == ROLE_LISTENER)
				accept_all(fd);
			else
				serve_quick(fd);
		}
	}
}
