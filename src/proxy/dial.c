/* Dialling. A failure goes at once to the next best backend; which that is, policy_choose() says,
 * and the set of backends already tried keeps it from saying the same one twice.
 *
 * First bytes: a backend may accept a connection and reset it before it answers (a restarting
 * server, a port forwarder without a target). So that the client can still be served by another,
 * its first bytes are kept until the backend answers. Only what arrived in one piece is treated so;
 * anything more, or the end of the stream, commits the session to its backend. What that has not
 * taken by then becomes the tail of the client's direction. */
#include "proxy/dial.h"

#include "base/clock.h"
#include "net/proxy_protocol.h"
#include "net/socket.h"
#include "proxy/access_log.h"
#include "proxy/session.h"
#include "proxy/waiting.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void try_next(struct session *s, const struct backend *b);

/* While a dial lacks a descriptor, no worker accepts clients that would compete for one. */
static void set_starved(struct session *s, bool starved)
{
	atomic_uint *count = s->worker->shared->starved;

	if (starved && !s->dial->starved)
		atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	else if (!starved && s->dial->starved)
		atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
	s->dial->starved = starved;
}

void dial_free(struct session *s)
{
	if (s->dial == NULL)
		return;
	set_starved(s, false);
	counter_add(&s->worker->counters.bytes[CLIENT], dial_flight(s->dial));
	tried_done(&s->dial->tried);
	free(s->dial->first);
	free(s->dial);
	s->dial = NULL;
}

/* Where the client meant to go: what its PROXY header says, else the address it connected to. Asked
 * for only when a backend is to be told. */
static struct endpoint destination(const struct session *s, const struct endpoint *dst)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct endpoint own = s->service->listen;

	if (dst != NULL)
		return *dst;
	if (s->service->send_proxy != 0 &&
	    getsockname(s->end[CLIENT].fd, (struct sockaddr *)&sa, &len) == 0 &&
	    endpoint_from_sockaddr((struct sockaddr *)&sa, &own) != 0)
		own = s->service->listen;
	return own;
}

void dial_start(struct session *s, const struct place *place, const struct endpoint *dst)
{
	struct worker *w = s->worker;
	struct dial *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		session_close(s, CLOSE_RESOURCES);
		return;
	}
	s->dial = d;
	d->session = s;
	tried_init(&d->tried);
	d->dst = destination(s, dst);
	d->deadline_ms = w->now_ms + w->shared->config->connect_budget_ms;
	d->place = *place;
	session_move(s, SESSION_DIAL);
	try_next(s, NULL);
}

/* Does a failed try say something of the backend? */
static bool is_backends_failure(int err)
{
	return err != ECANCELED         /* dial_elsewhere() */
	       && err != EADDRNOTAVAIL; /* no free port here */
}

/* The try failed: its place is free again, and it is not tried twice for this client. */
static void try_failed(struct session *s, int err)
{
	access_log_connect_failed(s, err);
	counter_add(&s->worker->counters.connect_failures, 1);
	session_note_flight(s, FLIGHT_FAILED, (unsigned)err);
	if (is_backends_failure(err))
		live_note_failure(s->worker->shared->live, s->slot);
	/* The next one is sent all of it. */
	s->dir[CLIENT].bytes -= dial_flight(s->dial);
	if (s->dial->first != NULL)
		s->dial->first->from = 0;
	s->dial->header_sent = false;
	if (s->end[BACKEND].fd >= 0)
		close(s->end[BACKEND].fd);
	s->end[BACKEND] = (struct end){.fd = -1};
	s->dial->failed_turn_ns = s->worker->now_ns;
	if (tried_add(&s->dial->tried, s->slot) != 0) {
		session_close(s, CLOSE_RESOURCES);
		return;
	}
	waiting_release(s->worker, s->slot);
	s->slot = LIVE_NO_SLOT;
	if (s->retries < UINT16_MAX)
		s->retries++;
}

static size_t write_proxy_header(const struct session *s, uint8_t header[PROXY_HEADER_WRITE_MAX])
{
	if (s->service->send_proxy == 0)
		return 0;
	return proxy_protocol_write(s->service->send_proxy, &s->client, &s->dial->dst, header);
}

/* Takes the client's first bytes off its socket, unless they are here. 0; -EAGAIN: there are none;
 * -ENODATA: nor will there be; or another -errno: that of the client's socket is told once. */
static int take_first(struct session *s, size_t most)
{
	struct end *client = &s->end[CLIENT];
	uint8_t *buffer = s->worker->relay.buffer;
	ssize_t n;

	if (s->dial->first != NULL)
		return 0;
	n = recv(client->fd, buffer, most, 0);
	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	client->readable = client->hangup || (size_t)n == most;
	s->dial->first = relay_tail_new(buffer, (size_t)n);
	return s->dial->first != NULL ? 0 : -ENOMEM;
}

/* Counts first bytes that the backend's socket has taken. */
static void note_sent(struct session *s, size_t n)
{
	s->dial->first->from += (uint32_t)n;
	s->dir[CLIENT].bytes += n;
}

/* Connects; with TCP Fast Open the PROXY header and the client's first bytes, if they are there, go
 * with the first packet. fd or -errno. */
static int connect_backend(struct session *s, const char *congestion)
{
	struct worker *w = s->worker;
	struct tcp_options tcp = w->tcp;
	uint8_t *buffer = w->relay.buffer;
	struct first_bytes first = {.data = buffer};
	size_t header_len;
	int fd, err;

	if (congestion[0] != '\0')
		tcp.congestion = congestion;
	if (!w->shared->config->backend_fastopen ||
	    w->shared->config->retry_on != RETRY_EARLY_RESET)
		return socket_connect(&s->backend_addr, &tcp, NULL);
	err = take_first(s, DIAL_FASTOPEN_BYTES);
	if (err != 0 && err != -EAGAIN && err != -EINTR && err != -ENODATA) {
		session_close(s, err == -ENOMEM ? CLOSE_RESOURCES : CLOSE_CLIENT_GONE);
		return -ECANCELED;
	}
	header_len = write_proxy_header(s, buffer);
	first.len = header_len;
	if (s->dial->first != NULL) {
		size_t n = s->dial->first->to;

		if (n > DIAL_FASTOPEN_BYTES)
			n = DIAL_FASTOPEN_BYTES;
		memcpy(buffer + header_len, s->dial->first->bytes, n);
		first.len += n;
	}
	fd = socket_connect(&s->backend_addr, &tcp, &first);
	if (fd < 0 || first.sent == 0)
		return fd;
	if (first.sent < header_len) {
		close(fd);
		return -EIO;
	}
	s->dial->header_sent = true;
	if (s->dial->first != NULL)
		note_sent(s, first.sent - header_len);
	return fd;
}

/* Errors of this process or machine, which another backend would meet as well. */
static bool out_of_resources(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS;
}

/* No backend is at fault: the place is given back and the same search goes on when somebody may
 * have left. The client keeps its descriptor meanwhile, so none is accepted before it. */
static void wait_for_resources(struct session *s)
{
	waiting_release(s->worker, s->slot);
	s->slot = LIVE_NO_SLOT;
	set_starved(s, true);
	s->dial->try_deadline_ms = s->worker->now_ms + DIAL_STARVED_RETRY_MS;
	session_arm(s);
}

/* Chooses a backend and reserves a place there. Somebody who waits for that place is before this
 * session: then it is passed on, and the search begins anew. As policy_choose(). */
static int find_place(struct session *s, struct choice *ret_choice)
{
	struct worker *w = s->worker;
	const struct policy_query query = {
		.table = w->table,
		.affinity = w->shared->affinity,
		.service = s->service,
		.client = &s->client.ip,
		.place = &s->dial->place,
		.tried = &s->dial->tried,
		.now_ms = w->now_ms,
		.rng = &w->rng,
	};

	for (int i = 0; i < DIAL_PASSES_MAX; i++) {
		int err = policy_choose(&query, ret_choice);

		/* At a backend that drains there is place for those who had it, and nobody else. */
		if (err != 0 || !backend_usable(ret_choice->backend) ||
		    !waiting_pass(w, ret_choice->backend))
			return err;
	}
	return -EAGAIN;
}

/* There is no place now. One that was given back since we looked was offered to nobody, so look
 * again when everybody can see that we wait; what is found goes to the first. */
static void wait_for_place(struct session *s)
{
	struct choice choice;

	set_starved(s, false); /* who waits needs no descriptor */
	waiting_join(s);
	if (s->state == SESSION_QUEUE && find_place(s, &choice) == 0)
		waiting_release(s->worker, choice.binding.slot); /* we have one already */
}

static void take_choice(struct session *s, const struct choice *choice)
{
	s->slot = choice->binding.slot;
	s->backend_addr = choice->backend->addr;
	s->region_score = (uint8_t)choice->terms.region_score;
	s->from_affinity = choice->from_affinity;
	s->dial->backend_region = choice->backend->region;
	access_log_decision(s, &s->dial->place, choice);
}

/* A backend with a place reserved. NULL: there is none, and the session waits or is closed. */
static const struct backend *choose(struct session *s)
{
	struct choice choice;

	switch (find_place(s, &choice)) {
	case 0:
		take_choice(s, &choice);
		return choice.backend;
	case -EAGAIN:
		counter_add(&s->worker->counters.refused_reservations, 1);
		wait_for_place(s);
		return NULL;
	case -EHOSTUNREACH:
		session_close(s, CLOSE_CONNECT_FAILED);
		return NULL;
	default:
		session_close(s, CLOSE_NO_BACKEND);
		return NULL;
	}
}

/* Tries b, where a place is reserved already, or else (NULL) the best, and at once the next best
 * where that fails at once. */
static void try_next(struct session *s, const struct backend *b)
{
	struct worker *w = s->worker;
	struct dial *d = s->dial;

	for (int i = 0; i < DIAL_TRIES_A_TURN; i++, b = NULL) {
		if (w->now_ms >= d->deadline_ms) {
			session_close(s, d->starved ? CLOSE_RESOURCES : CLOSE_CONNECT_BUDGET);
			return;
		}
		if (b == NULL)
			b = choose(s);
		if (b == NULL)
			return;
		d->try_started_ns = clock_now_ns();
		d->try_deadline_ms = w->now_ms + w->shared->config->connect_timeout_ms;

		int fd = connect_backend(s, b->congestion);

		if (s->state == SESSION_CLOSED)
			return;

		if (s->retries > 0 && !out_of_resources(-fd))
			counter_add(&w->counters.retries, 1);
		if (fd >= 0) {
			set_starved(s, false);
			s->end[BACKEND] = (struct end){.fd = fd};
			if (worker_watch(w, fd, s, TAG_END_1) != 0)
				session_close(s, CLOSE_RESOURCES);
			else
				session_arm(s);
			return;
		}
		if (out_of_resources(-fd)) {
			wait_for_resources(s);
			return;
		}
		try_failed(s, -fd);
		if (s->state == SESSION_CLOSED)
			return;
	}
	/* Many failed at once: others have their turn before the next. */
	d->try_deadline_ms = w->now_ms;
	session_arm(s);
}

static void fail_and_go_on(struct session *s, int err)
{
	try_failed(s, err);
	if (s->state != SESSION_CLOSED)
		try_next(s, NULL);
}

void dial_resume(struct session *s, uint32_t slot)
{
	struct worker *w = s->worker;
	const struct backend *b = table_backend_in_slot(w->table, slot);
	struct choice choice = {.backend = b, .binding.slot = slot};

	s->dial->deadline_ms = w->now_ms + w->shared->config->connect_budget_ms;
	session_move(s, SESSION_DIAL);
	if (b != NULL)
		choice.terms = balancer_judge(w->table, b,
		                              &(struct balancer_query){
						      .app = b->app,
						      .country = s->dial->place.country,
						      .region = s->dial->place.region,
					      });
	/* Whoever gave us the place has judged the backend; but its table may not be ours. */
	if (b == NULL || !backend_usable(b) ||
	    (s->service->app[0] != '\0' && strcmp(b->app, s->service->app) != 0)) {
		waiting_release(w, slot);
		try_next(s, NULL);
		return;
	}
	take_choice(s, &choice);
	try_next(s, b);
}

void dial_timeout(struct session *s, uint64_t now_ms)
{
	if (s->end[BACKEND].fd < 0) /* between two tries */
		try_next(s, NULL);
	else if (now_ms >= s->dial->try_deadline_ms)
		fail_and_go_on(s, ETIMEDOUT);
	else
		session_close(s, CLOSE_CONNECT_BUDGET);
}

/* The backend's socket has just been connected, so its send buffer is empty and the whole header
 * fits: anything else is a failed connect. */
static int send_proxy_header(struct session *s)
{
	uint8_t header[PROXY_HEADER_WRITE_MAX];
	size_t len = write_proxy_header(s, header);
	ssize_t n;

	if (len == 0 || s->dial->header_sent)
		return 0;
	n = send(s->end[BACKEND].fd, header, len, MSG_NOSIGNAL);
	if (n < 0)
		return errno;
	return (size_t)n == len ? 0 : EIO;
}

void dial_event(struct session *s, uint32_t events)
{
	struct worker *w = s->worker;
	int err = 0;

	/* A backend may have been connected, answered and reset all at once: then its answer is
	 * what the client gets, and the error is left in the socket for the relay to find behind
	 * it. */
	if ((events & (EPOLLERR | EPOLLHUP)) != 0 && socket_waiting(s->end[BACKEND].fd) == 0) {
		err = socket_error(s->end[BACKEND].fd);
		if (err == 0)
			err = ECONNRESET;
	} else if ((events & EPOLLOUT) == 0) {
		return;
	} else {
		err = send_proxy_header(s);
	}
	if (err != 0) {
		fail_and_go_on(s, err);
		return;
	}
	s->connect_us = (uint32_t)((clock_now_ns() - s->dial->try_started_ns) / 1000);
	s->due_ms = (uint32_t)(w->now_ms + SETTLE_MS);
	s->connected = true;
	s->nodelay = false;
	if (s->service->send_proxy != 0 || dial_flight(s->dial) != 0)
		session_nodelay(s); /* something has been sent */
	counters_connected(&w->counters, s, s->dial->backend_region);
	live_note_connect(w->shared->live, s->slot, s->connect_us);
	session_note_flight(s, FLIGHT_ROUTED, 0);
	affinity_put(w->shared->affinity, &s->client.ip, s->service->key, session_binding(s),
	             w->now_ms);
	access_log_connected(s);
	session_connected(s);
}

void dial_again(struct session *s, int err)
{
	struct relay_shared *shared = &s->worker->relay;

	/* The client's direction has not begun: its first bytes went past the relay. */
	s->connected = false;
	s->settled = false;
	s->noted = false;
	s->ending = false;
	relay_done(&s->dir[BACKEND], shared);
	relay_init(&s->dir[BACKEND], shared->mode);
	session_move(s, SESSION_DIAL);
	fail_and_go_on(s, err);
}

void dial_elsewhere(struct session *s)
{
	if (s->state == SESSION_DIAL)
		fail_and_go_on(s, ECANCELED);
	else
		dial_again(s, ECANCELED);
}

/* Sends first bytes. False: the backend's socket has no room for all of them. */
static bool send_first(struct session *s)
{
	struct tail *first = s->dial->first;
	ssize_t n = send(s->end[BACKEND].fd, first->bytes + first->from, first->to - first->from,
	                 MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		session_end_failed(s, BACKEND, errno);
		return true;
	}
	if (n > 0)
		note_sent(s, (size_t)n);
	return first->from == first->to;
}

bool dial_pass_flight(struct session *s)
{
	struct end *client = &s->end[CLIENT];
	/* More may have come: this is an event, or another backend. */
	bool unsure = s->dial->first != NULL;

	if (s->worker->shared->config->retry_on == RETRY_EARLY_RESET) {
		int err = take_first(s, RELAY_CHUNK_BYTES);

		switch (err) {
		case 0:
			break;
		case -EAGAIN:
			client->readable = false;
			return true;
		case -EINTR:
		case -ENODATA:
			return false;
		case -ENOMEM:
			session_close(s, CLOSE_RESOURCES);
			return true;
		default:
			session_end_failed(s, CLIENT, -err);
			return true;
		}
		if (s->dial->first->from < s->dial->first->to && !send_first(s))
			return false;
		if (s->state != SESSION_RELAY || s->dial == NULL)
			return true; /* the backend failed */
	} else {
		unsure = true; /* nothing is sent twice, so the first byte commits */
	}
	if (unsure)
		client->readable = client->hangup || socket_waiting(client->fd) != 0;
	/* A client that has ended its side will send no more, so nothing is gained by waiting. */
	return !client->readable;
}

void dial_commit(struct session *s)
{
	struct tail *first = s->dial->first;

	if (first != NULL && first->from < first->to) {
		CHECK(s->dir[CLIENT].tail == NULL); /* it has not begun */
		s->dir[CLIENT].tail = first;
		session_nodelay(s); /* the rest is a second piece */
		counter_add(&s->worker->counters.bytes[CLIENT], first->from);
		s->dial->first = NULL;
	}
	dial_free(s);
}
