/* Connections by the ten thousand, for the fault suite: what Python's threads cannot make.
 *
 *     chaos-storm serve PORTS HOLD_MS
 *     chaos-storm run PORT COUNT AT_ONCE RATE RESET_EVERY
 *
 * A client sends MESSAGE_BYTES that follow from its number and expects the same bytes, each turned
 * over, and an end. `serve` answers after HOLD_MS on PORTS ports, which it prints, and at the end
 * of its standard input the most connections that each had at one time. `run` makes COUNT
 * connections, at most AT_ONCE at a time and RATE a second (0: as fast as it goes); each
 * RESET_EVERYth (0: none) resets after its request. It prints one line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 512
#define PORTS_MAX 64
#define EVENTS 256
/* One that is not over by then is lost. */
#define PATIENCE_MS 30000
/* Clients come from as many addresses of 127.0.0.0/8, for enough local ports. */
#define SOURCES 16

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static unsigned char byte_at(uint64_t number, size_t at)
{
	uint64_t z = (number * 0x9e3779b97f4a7c15u) ^ (at * 0xbf58476d1ce4e5b9u);

	return (unsigned char)(z >> 37 ^ z >> 11 ^ at);
}

static void watch(int epoll, int op, int fd, uint32_t events, void *data)
{
	struct epoll_event event = {.events = events, .data.ptr = data};

	if (epoll_ctl(epoll, op, fd, &event) != 0)
		die("epoll_ctl");
}

static void reset(int fd)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* ---- backends ---- */

struct port {
	int fd;
	unsigned open, most;
};

struct served {
	int fd;
	unsigned got;
	bool answered;
	struct port *port;
	uint64_t due_ms;
	struct served *next; /* in the order in which answers are due */
	bool waiting, gone;
	unsigned char bytes[MESSAGE_BYTES];
};

static struct served *first_due, **last_due = &first_due;

static void served_end(struct served *s)
{
	close(s->fd);
	s->port->open--;
	s->gone = true;
	if (!s->waiting)
		free(s);
}

static void answer(struct served *s)
{
	for (size_t i = 0; i < MESSAGE_BYTES; i++)
		s->bytes[i] = (unsigned char)~s->bytes[i];
	s->answered = true;
	(void)!send(s->fd, s->bytes, MESSAGE_BYTES, MSG_NOSIGNAL);
	shutdown(s->fd, SHUT_WR);
}

static void served_event(struct served *s, unsigned hold_ms)
{
	unsigned char more[64];
	ssize_t n = s->got < MESSAGE_BYTES
	                    ? recv(s->fd, s->bytes + s->got, MESSAGE_BYTES - s->got, 0)
	                    : recv(s->fd, more, sizeof(more), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		served_end(s);
		return;
	}
	s->got += (unsigned)n;
	if (s->got != MESSAGE_BYTES)
		return;
	if (hold_ms == 0) {
		answer(s);
		return;
	}
	s->due_ms = now_ms() + hold_ms;
	s->waiting = true;
	*last_due = s;
	last_due = &s->next;
}

static void answer_due(void)
{
	while (first_due != NULL && first_due->due_ms <= now_ms()) {
		struct served *s = first_due;

		first_due = s->next;
		if (first_due == NULL)
			last_due = &first_due;
		s->waiting = false;
		if (s->gone)
			free(s);
		else
			answer(s);
	}
}

static void see_served(int epoll, unsigned hold_ms)
{
	struct epoll_event events[EVENTS];
	int n;

	while ((n = epoll_wait(epoll, events, EVENTS, 0)) > 0)
		for (int i = 0; i < n; i++)
			served_event(events[i].data.ptr, hold_ms);
}

/* Ends are seen before the one that came after them is counted. */
static void take(int epoll, struct port *p, unsigned hold_ms)
{
	int fd;

	while ((fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct served *s = calloc(1, sizeof(*s));

		if (s == NULL)
			die("calloc");
		see_served(epoll, hold_ms);
		s->fd = fd;
		s->port = p;
		if (++p->open > p->most)
			p->most = p->open;
		watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, s);
	}
}

static int listen_on(struct port *p)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    listen(p->fd, 4096) != 0 || getsockname(p->fd, (struct sockaddr *)&addr, &len) != 0)
		die("listen");
	return ntohs(addr.sin_port);
}

static int serve(unsigned count, unsigned hold_ms)
{
	static struct port ports[PORTS_MAX];
	int doors = epoll_create1(0), rooms = epoll_create1(0);
	struct epoll_event events[EVENTS];

	for (unsigned i = 0; i < count; i++) {
		printf("%d%c", listen_on(&ports[i]), i + 1 < count ? ' ' : '\n');
		watch(doors, EPOLL_CTL_ADD, ports[i].fd, EPOLLIN, &ports[i]);
	}
	fflush(stdout);
	watch(doors, EPOLL_CTL_ADD, rooms, EPOLLIN, NULL);
	watch(doors, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &ports[PORTS_MAX - 1]);
	for (;;) {
		int n = epoll_wait(doors, events, EVENTS, first_due != NULL ? 1 : -1);

		for (int i = 0; i < n; i++) {
			struct port *p = events[i].data.ptr;

			if (p == &ports[PORTS_MAX - 1])
				goto over;
			if (p != NULL)
				take(rooms, p, hold_ms);
		}
		see_served(rooms, hold_ms);
		answer_due();
	}
over:
	for (unsigned i = 0; i < count; i++)
		printf("%u%c", ports[i].most, i + 1 < count ? ' ' : '\n');
	return 0;
}

/* ---- clients ---- */

struct client {
	int fd; /* -1: free */
	uint64_t number;
	uint64_t since_ms;
	size_t got;
	bool sent, wrong;
};

static struct tally {
	uint64_t tried, completed, refused, aborted, cut, wrong, stalled, not_connected, bytes;
} tally;

static void begin(int epoll, struct client *c, struct sockaddr_in to)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	int one = 1;

	*c = (struct client){.number = tally.tried++, .since_ms = now_ms()};
	from.sin_addr.s_addr = htonl(0x7f000100u + (uint32_t)(c->number % SOURCES));
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof(one));
	if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) != 0)
		die("bind");
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		die("connect");
	watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
}

static void over(struct client *c, uint64_t *count)
{
	++*count;
	close(c->fd);
	c->fd = -1;
}

static void say(int epoll, struct client *c, unsigned reset_every)
{
	unsigned char bytes[MESSAGE_BYTES];
	ssize_t n;

	for (size_t i = 0; i < MESSAGE_BYTES; i++)
		bytes[i] = byte_at(c->number, i);
	n = send(c->fd, bytes, MESSAGE_BYTES, MSG_NOSIGNAL);
	if (n != MESSAGE_BYTES) {
		bool refused = errno == ECONNRESET || errno == EPIPE;

		over(c, refused ? &tally.refused : &tally.not_connected);
		return;
	}
	tally.bytes += MESSAGE_BYTES;
	if (reset_every != 0 && c->number % reset_every == reset_every - 1) {
		tally.aborted++;
		reset(c->fd);
		c->fd = -1;
		return;
	}
	c->sent = true;
	watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void hear(struct client *c)
{
	unsigned char bytes[MESSAGE_BYTES + 1];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		bool whole = n == 0 && c->got == MESSAGE_BYTES;

		over(c, c->wrong      ? &tally.wrong
		        : whole       ? &tally.completed
		        : c->got == 0 ? &tally.refused
		                      : &tally.cut);
		return;
	}
	for (ssize_t i = 0; i < n; i++, c->got++)
		c->wrong |= c->got >= MESSAGE_BYTES ||
		            bytes[i] != (unsigned char)~byte_at(c->number, c->got);
	tally.bytes += (uint64_t)n;
}

static void give_up_late(struct client *clients, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (clients[i].fd >= 0 && now_ms() - clients[i].since_ms > PATIENCE_MS)
			over(&clients[i], &tally.stalled);
}

/* Starts what may start now; returns how many are open. */
static unsigned start_more(int epoll, struct client *clients, unsigned at_once, uint64_t allowed,
                           struct sockaddr_in to)
{
	unsigned open = 0;

	for (unsigned i = 0; i < at_once; i++) {
		if (clients[i].fd < 0 && tally.tried < allowed)
			begin(epoll, &clients[i], to);
		open += clients[i].fd >= 0;
	}
	return open;
}

static int run(int port, uint64_t count, unsigned at_once, uint64_t rate, unsigned reset_every)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct client *clients = calloc(at_once, sizeof(*clients));
	int epoll = epoll_create1(0);
	uint64_t began = now_ms(), last_began = began, looked = began;
	struct epoll_event events[EVENTS];

	if (clients == NULL || epoll < 0)
		die("start");
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (unsigned i = 0; i < at_once; i++)
		clients[i].fd = -1;
	for (;;) {
		uint64_t allowed = rate == 0 ? count : (now_ms() - began + 1) * rate / 1000;
		uint64_t before = tally.tried;
		unsigned open = start_more(epoll, clients, at_once,
		                           allowed < count ? allowed : count, to);

		if (tally.tried != before)
			last_began = now_ms();
		if (open == 0 && tally.tried == count)
			break;
		int n = epoll_wait(epoll, events, EVENTS, 1);

		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;

			if (c->sent)
				hear(c);
			else
				say(epoll, c, reset_every);
		}
		if (now_ms() - looked > 1000) {
			looked = now_ms();
			give_up_late(clients, at_once);
		}
	}
	printf("{\"tried\": %lu, \"completed\": %lu, \"refused\": %lu, \"aborted\": %lu, "
	       "\"cut\": %lu, \"wrong\": %lu, \"stalled\": %lu, \"not_connected\": %lu, "
	       "\"bytes\": %lu, \"connect_ms\": %lu, \"total_ms\": %lu}\n",
	       tally.tried, tally.completed, tally.refused, tally.aborted, tally.cut, tally.wrong,
	       tally.stalled, tally.not_connected, tally.bytes, last_began - began,
	       now_ms() - began);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc == 4 && strcmp(argv[1], "serve") == 0 && atoi(argv[2]) < PORTS_MAX)
		return serve((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
	if (argc == 7 && strcmp(argv[1], "run") == 0)
		return run(atoi(argv[2]), strtoull(argv[3], NULL, 10), (unsigned)atoi(argv[4]),
		           strtoull(argv[5], NULL, 10), (unsigned)atoi(argv[6]));
	fputs("usage: see the head of storm.c\n", stderr);
	return 2;
}
