/* The load generator of the bench, and its command line:
 *
 *     bench-load serve PORT COUNT
 *     bench-load MODE --to HOST:PORT [options]
 *
 * A client connects everything first, lets it warm up, and counts only what happens inside one
 * window, at whose two ends the CPU clocks of the watched processes are read as well. It prints one
 * line of JSON. Bulk and pings have a thread each, so that they meet in the proxy and not in here.
 *
 *     down, up   bulk on --streams streams
 *     ping       --pings connections, each with one message under way
 *     mixed      both
 *     churn      connect, one request, one answer, and the server closes; --pings at a time
 *     idle       --pings connections with one ping each, held until standard input ends */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SAMPLES_MAX (1u << 23)
#define WATCHED_MAX 64
/* Connections that may be on their way at one time while many are made. */
#define CONNECT_BATCH 64
/* Slices of time for which the slowest ping is told apart. */
#define SLICE_NS 10000000u
#define SLICES_MAX 6000
/* How long a wait without an event may be. */
#define TICK_MS 100
/* A connect or an answer that takes longer ends the run. */
#define PATIENCE_MS 10000

enum phase { WARM, MEASURE, STOP };

struct stream {
	int fd;
	unsigned got;
	bool sent;
	uint64_t since_ns;
	uint64_t bytes; /* in the window */
};

static struct options {
	const char *mode;
	struct sockaddr_in to;
	struct in_addr source; /* the first of source_count */
	unsigned source_count; /* 0: the kernel chooses */
	unsigned streams;
	unsigned pings;
	unsigned interval_us; /* between two pings of a connection; 0: at once */
	bool urgent;          /* pings never wait for a CPU behind bulk of this generator */
	double warm_s;
	double time_s;
	pid_t watched[WATCHED_MAX];
	unsigned watched_count;
} options = {.mode = "", .streams = 8, .pings = 64, .warm_s = 0.2, .time_s = 1};

static _Atomic enum phase phase;
static uint64_t measure_began_ns;

/* Of the interactive thread. */
static uint32_t *samples;
static size_t sample_count;
static uint64_t errors;
static uint32_t slices_us[SLICES_MAX];
static size_t slice_end;

/* ---- sockets ---- */

/* A socket on its way to the proxy, from the next of the source addresses. */
static int start_connect(void)
{
	static atomic_uint turn;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	LOAD_NEED(fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (options.source_count != 0) {
		struct sockaddr_in sa = {.sin_family = AF_INET};
		uint32_t nth = turn++ % options.source_count;

		sa.sin_addr.s_addr = htonl(ntohl(options.source.s_addr) + nth);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		LOAD_NEED(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	}
	if (connect(fd, (struct sockaddr *)&options.to, sizeof(options.to)) != 0 &&
	    errno != EINPROGRESS)
		load_die("connect", __LINE__);
	return fd;
}

static void watch(int epoll, int op, int fd, uint32_t events, struct stream *s)
{
	struct epoll_event e = {.events = events, .data.ptr = s};

	LOAD_NEED(epoll_ctl(epoll, op, fd, &e) == 0);
}

static void await(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	LOAD_NEED(poll(&p, 1, PATIENCE_MS) == 1);
}

static void connect_batch(struct stream *all, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		all[i].fd = start_connect();
	for (unsigned i = from; i < to; i++)
		await(all[i].fd, POLLOUT);
}

static unsigned batch_end(unsigned from, unsigned count)
{
	return from + CONNECT_BATCH < count ? from + CONNECT_BATCH : count;
}

static struct stream *connect_all(unsigned count)
{
	struct stream *all = calloc(count + 1, sizeof(*all));

	LOAD_NEED(all != NULL);
	for (unsigned i = 0; i < count; i = batch_end(i, count))
		connect_batch(all, i, batch_end(i, count));
	return all;
}

/* ---- bulk ---- */

struct bulk {
	struct stream *streams;
	unsigned count;
	bool up;
	bool gives_way;
};

/* What is received is discarded inside the kernel, since it is not this reader that is measured. */
static void bulk_turn(struct stream *s, bool up)
{
	static char bytes[LOAD_BULK_BYTES];
	ssize_t n = up ? send(s->fd, bytes, LOAD_BULK_BYTES, MSG_NOSIGNAL)
	               : recv(s->fd, bytes, LOAD_BULK_BYTES, MSG_TRUNC);

	LOAD_NEED(n > 0 || (n < 0 && errno == EAGAIN));
	if (n > 0 && phase == MEASURE)
		s->bytes += (uint64_t)n;
}

static void bulk_start(int epoll, const struct bulk *b)
{
	for (unsigned i = 0; i < b->count; i++) {
		LOAD_NEED(send(b->streams[i].fd, b->up ? "u" : "d", 1, MSG_NOSIGNAL) == 1);
		watch(epoll, EPOLL_CTL_ADD, b->streams[i].fd, b->up ? EPOLLOUT : EPOLLIN,
		      &b->streams[i]);
	}
}

/* ---- interactive ---- */

static void sample(uint64_t began_ns)
{
	uint64_t now_ns = load_now_ns();
	uint64_t took_ns = now_ns - began_ns;

	if (phase != MEASURE || began_ns < measure_began_ns || sample_count == SAMPLES_MAX)
		return;
	samples[sample_count++] = took_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ns;

	/* By when it was sent: a stall shows where it began. */
	uint64_t slice = (began_ns - measure_began_ns) / SLICE_NS;

	if (slice >= SLICES_MAX)
		return;
	if (took_ns / 1000 > slices_us[slice])
		slices_us[slice] = (uint32_t)(took_ns / 1000);
	if (slice >= slice_end)
		slice_end = slice + 1;
}

static void send_ping(struct stream *s)
{
	char message[LOAD_MESSAGE_BYTES] = {LOAD_PING};

	s->got = 0;
	s->sent = true;
	s->since_ns = load_now_ns();
	LOAD_NEED(send(s->fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message));
}

/* True: the whole answer is here. */
static bool take_pong(struct stream *s)
{
	char message[LOAD_MESSAGE_BYTES];
	ssize_t n = recv(s->fd, message, sizeof(message) - s->got, 0);

	LOAD_NEED(n > 0 || (n < 0 && errno == EAGAIN));
	if (n > 0)
		s->got += (unsigned)n;
	if (s->got < sizeof(message))
		return false;
	s->sent = false;
	return true;
}

static void ping_start(int epoll, struct stream *streams)
{
	for (unsigned i = 0; i < options.pings; i++) {
		watch(epoll, EPOLL_CTL_ADD, streams[i].fd, EPOLLIN, &streams[i]);
		if (options.interval_us == 0)
			send_ping(&streams[i]);
	}
}

static void ping_turn(struct stream *s)
{
	if (!take_pong(s))
		return;
	sample(s->since_ns);
	if (options.interval_us == 0)
		send_ping(s);
}

/* Sends what is due of pings with an interval; the time until the next. Clients do not know of each
 * other, so their pings are spread evenly over the interval. */
static long pings_due(struct stream *streams)
{
	static uint64_t due_ns;
	static unsigned next;
	uint64_t now_ns = load_now_ns();

	if (options.interval_us == 0)
		return TICK_MS * 1000000;
	if (due_ns == 0)
		due_ns = now_ns;
	while (now_ns >= due_ns) {
		if (!streams[next].sent)
			send_ping(&streams[next]);
		next = (next + 1) % options.pings;
		due_ns += options.interval_us * 1000ull / options.pings;
	}
	return (long)(due_ns - now_ns);
}

/* ---- churn ---- */

static void churn_send(int epoll, struct stream *s)
{
	char message[LOAD_MESSAGE_BYTES] = {LOAD_ONCE};

	if (send(s->fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message)) {
		s->sent = true;
		watch(epoll, EPOLL_CTL_MOD, s->fd, EPOLLIN, s);
	}
}

static void churn_start(int epoll, struct stream *s)
{
	s->since_ns = load_now_ns();
	s->fd = start_connect();
	s->got = 0;
	s->sent = false;
	watch(epoll, EPOLL_CTL_ADD, s->fd, EPOLLOUT, s);
}

static void churn_turn(int epoll, struct stream *s)
{
	char message[LOAD_MESSAGE_BYTES + 1];
	ssize_t n;

	if (!s->sent) {
		churn_send(epoll, s);
		if (s->sent || errno == EAGAIN)
			return;
	}
	n = recv(s->fd, message, sizeof(message), 0);
	if (n > 0)
		s->got += (unsigned)n;
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	if (n == 0 && s->got == LOAD_MESSAGE_BYTES)
		sample(s->since_ns);
	else if (phase == MEASURE)
		errors++;
	close(s->fd);
	churn_start(epoll, s);
}

/* ---- idle ---- */

/* Connects in batches and exchanges one ping on each connection; then holds them all. */
static void run_idle(void)
{
	struct stream *streams = calloc(options.pings + 1, sizeof(*streams));
	char bytes[64];

	LOAD_NEED(streams != NULL);
	for (unsigned from = 0; from < options.pings; from = batch_end(from, options.pings)) {
		unsigned to = batch_end(from, options.pings);

		connect_batch(streams, from, to);
		for (unsigned i = from; i < to; i++)
			send_ping(&streams[i]);
		for (unsigned i = from; i < to; i++)
			do
				await(streams[i].fd, POLLIN);
			while (!take_pong(&streams[i]));
	}
	printf("{\"held\": %u}\n", options.pings);
	fflush(stdout);
	while (read(STDIN_FILENO, bytes, sizeof(bytes)) > 0)
		;
	for (unsigned i = 0; i < options.pings; i++)
		close(streams[i].fd);
	printf("{\"closed\": %u}\n", options.pings);
}

/* ---- the loops ---- */

struct traffic {
	struct bulk bulk;
	bool churn;
	struct stream *interactive; /* or NULL */
};

static void *bulk_main(void *arg)
{
	const struct bulk *b = arg;
	struct epoll_event events[LOAD_EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	bulk_start(epoll, b);
	while (phase != STOP) {
		int ready = epoll_wait(epoll, events, LOAD_EVENTS, TICK_MS);

		for (int i = 0; i < ready; i++) {
			bulk_turn(events[i].data.ptr, b->up);
			if (b->gives_way)
				load_give_way();
		}
	}
	return NULL;
}

static void *interactive_main(void *arg)
{
	struct traffic *t = arg;
	struct epoll_event events[LOAD_EVENTS];
	struct timespec wait = {.tv_nsec = TICK_MS * 1000000};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (options.urgent)
		(void)sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
	if (!t->churn)
		ping_start(epoll, t->interactive);
	for (unsigned i = 0; t->churn && i < options.pings; i++)
		churn_start(epoll, &t->interactive[i]);
	while (phase != STOP) {
		if (!t->churn)
			wait.tv_nsec = pings_due(t->interactive);

		int ready = epoll_pwait2(epoll, events, LOAD_EVENTS, &wait, NULL);

		for (int i = 0; i < ready; i++) {
			if (t->churn)
				churn_turn(epoll, events[i].data.ptr);
			else
				ping_turn(events[i].data.ptr);
		}
	}
	return NULL;
}

/* ---- the window ---- */

static double watched_cpu_s(void)
{
	double sum = 0;

	for (unsigned i = 0; i < options.watched_count; i++) {
		struct timespec t;
		clockid_t clock;

		LOAD_NEED(clock_getcpuclockid(options.watched[i], &clock) == 0);
		LOAD_NEED(clock_gettime(clock, &t) == 0);
		sum += (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	}
	return sum;
}

static void sleep_s(double s)
{
	struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

	nanosleep(&t, NULL);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double percentile_us(double p)
{
	return sample_count == 0 ? 0 : samples[(size_t)(p * (double)(sample_count - 1))] / 1e3;
}

static void print_samples(double seconds, double cpu_s)
{
	double count = (double)sample_count;

	qsort(samples, sample_count, sizeof(*samples), by_value);
	printf(", \"count\": %zu, \"per_s\": %.1f, \"cpu_us_each\": %.3f, \"p50_us\": %.1f, "
	       "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"errors\": %llu",
	       sample_count, count / seconds, sample_count == 0 ? 0 : cpu_s * 1e6 / count,
	       percentile_us(0.50), percentile_us(0.99), percentile_us(0.999), percentile_us(1),
	       (unsigned long long)errors);
	if (options.interval_us != 0) {
		printf(", \"slice_ms\": %u, \"slices_us\": [", SLICE_NS / 1000000);
		for (size_t i = 0; i < slice_end; i++)
			printf("%s%u", i == 0 ? "" : ", ", slices_us[i]);
		printf("]");
	}
}

static void print_bulk(const struct bulk *b, double seconds, double cpu_s)
{
	uint64_t sum = 0, least = UINT64_MAX, most = 0;

	for (unsigned i = 0; i < b->count; i++) {
		uint64_t bytes = b->streams[i].bytes;

		sum += bytes;
		least = bytes < least ? bytes : least;
		most = bytes > most ? bytes : most;
	}
	printf(", \"gbit_s\": %.3f, \"cpu_s_gb\": %.4f, \"fairness\": %.4f",
	       (double)sum * 8 / 1e9 / seconds, sum == 0 ? 0 : cpu_s * 1e9 / (double)sum,
	       most == 0 ? 0 : (double)least / (double)most);
}

static void start_traffic(struct traffic *t)
{
	bool mixed = strcmp(options.mode, "mixed") == 0;
	bool ping = strcmp(options.mode, "ping") == 0;

	t->bulk.gives_way = mixed;
	t->bulk.up = strcmp(options.mode, "up") == 0;
	t->churn = strcmp(options.mode, "churn") == 0;
	if (mixed || t->bulk.up || strcmp(options.mode, "down") == 0) {
		t->bulk.count = options.streams;
		t->bulk.streams = connect_all(options.streams);
	}
	if (mixed || ping)
		t->interactive = connect_all(options.pings);
	else if (t->churn)
		t->interactive = calloc(options.pings, sizeof(*t->interactive));
	samples = calloc(SAMPLES_MAX, sizeof(*samples));
	LOAD_NEED(samples != NULL);
}

static void run_window(void)
{
	struct traffic traffic = {.churn = false};
	pthread_t bulk, interactive;
	struct timespec wall;
	uint64_t began_ns;
	double cpu_s, seconds;

	start_traffic(&traffic);
	LOAD_NEED(pthread_create(&bulk, NULL, bulk_main, &traffic.bulk) == 0);
	if (traffic.interactive != NULL)
		LOAD_NEED(pthread_create(&interactive, NULL, interactive_main, &traffic) == 0);
	sleep_s(options.warm_s);
	cpu_s = watched_cpu_s();
	began_ns = load_now_ns();
	clock_gettime(CLOCK_REALTIME, &wall);
	measure_began_ns = began_ns;
	phase = MEASURE;
	sleep_s(options.time_s);
	cpu_s = watched_cpu_s() - cpu_s;
	seconds = (double)(load_now_ns() - began_ns) / 1e9;
	phase = STOP;
	pthread_join(bulk, NULL);
	if (traffic.interactive != NULL)
		pthread_join(interactive, NULL);

	printf("{\"mode\": \"%s\", \"began\": %lld.%06ld, \"seconds\": %.4f, \"cpu_s\": %.6f",
	       options.mode, (long long)wall.tv_sec, wall.tv_nsec / 1000, seconds, cpu_s);
	if (traffic.bulk.count != 0)
		print_bulk(&traffic.bulk, seconds, cpu_s);
	if (traffic.interactive != NULL)
		print_samples(seconds, cpu_s);
	printf("}\n");
}

/* ---- command line ---- */

_Noreturn static void usage(void)
{
	fprintf(stderr, "usage: bench-load serve PORT COUNT\n"
	                "       bench-load down|up|ping|mixed|churn|idle --to ADDRESS:PORT\n"
	                "           [--source ADDRESS/COUNT] [--streams N] [--pings N] [--warm S]\n"
	                "           [--time S] [--interval-us N] [--urgent] [--watch PID] ...\n");
	exit(2);
}

/* "ADDRESS<separator>NUMBER" */
static void parse_pair(char *text, char separator, struct in_addr *ret_address,
                       unsigned *ret_number)
{
	char *at = strchr(text, separator);

	if (at == NULL)
		usage();
	*at = '\0';
	if (inet_pton(AF_INET, text, ret_address) != 1)
		usage();
	*ret_number = (unsigned)strtoul(at + 1, NULL, 10);
}

static void parse_option(int c)
{
	unsigned number;

	switch (c) {
	case 't':
		options.to.sin_family = AF_INET;
		parse_pair(optarg, ':', &options.to.sin_addr, &number);
		options.to.sin_port = htons((uint16_t)number);
		break;
	case 's':
		parse_pair(optarg, '/', &options.source, &options.source_count);
		break;
	case 'n':
		options.streams = (unsigned)strtoul(optarg, NULL, 10);
		break;
	case 'p':
		options.pings = (unsigned)strtoul(optarg, NULL, 10);
		break;
	case 'w':
		options.warm_s = strtod(optarg, NULL);
		break;
	case 'd':
		options.time_s = strtod(optarg, NULL);
		break;
	case 'i':
		options.interval_us = (unsigned)strtoul(optarg, NULL, 10);
		break;
	case 'u':
		options.urgent = true;
		break;
	case 'c':
		if (options.watched_count == WATCHED_MAX)
			usage();
		options.watched[options.watched_count++] = (pid_t)strtol(optarg, NULL, 10);
		break;
	default:
		usage();
	}
}

int main(int argc, char **argv)
{
	static const struct option known[] = {
		{"to", required_argument, NULL, 't'},
		{"source", required_argument, NULL, 's'},
		{"streams", required_argument, NULL, 'n'},
		{"pings", required_argument, NULL, 'p'},
		{"warm", required_argument, NULL, 'w'},
		{"time", required_argument, NULL, 'd'},
		{"interval-us", required_argument, NULL, 'i'},
		{"watch", required_argument, NULL, 'c'},
		{"urgent", no_argument, NULL, 'u'},
		{NULL, 0, NULL, 0},
	};
	struct rlimit files;
	int c;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		load_serve((uint16_t)strtoul(argv[2], NULL, 10),
		           (unsigned)strtoul(argv[3], NULL, 10));
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(c);
	if (optind + 1 != argc || options.to.sin_port == 0)
		usage();
	options.mode = argv[optind];
	if (strcmp(options.mode, "idle") == 0)
		run_idle();
	else
		run_window();
	return 0;
}
