/* Dialling. A failure goes at once to the next best backend; which that is, policy_choose() says,
 * and the set of backends already tried keeps it from saying the same one twice. A backend that
 * resets its connection before it answers (opening.c) counts as a failure like any other. */
#include "proxy/dial.h"

#include "base/clock.h"
#include "net/socket.h"
#include "proxy/access_log.h"
#include "proxy/places.h"
#include "proxy/session.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void try_next(struct session *s, const struct backend *b);

/* Until this try, or all of them together, have had their time. */
static void arm(struct session *s)
{
	const struct dial *d = s->dial;

	session_arm(s, d->try_deadline_ms < d->deadline_ms ? d->try_deadline_ms : d->deadline_ms);
}

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
	waiting_leave(&s->dial->waiting);
	set_starved(s, false);
	opening_done(&s->dial->opening);
	tried_done(&s->dial->tried);
	free(s->dial);
	s->dial = NULL;
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
	d->waiting.session = s;
	tried_init(&d->tried);
	opening_init(&d->opening, s, dst);
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
	opening_rewind(&s->dial->opening);
	if (s->end[BACKEND].fd >= 0)
		close(s->end[BACKEND].fd);
	s->end[BACKEND] = (struct end){.fd = -1};
	s->dial->failed_turn_ns = s->worker->now_ns;
	if (tried_add(&s->dial->tried, s->slot) != 0) {
		session_close(s, CLOSE_RESOURCES);
		return;
	}
	places_release(s->worker, s->slot);
	s->slot = LIVE_NO_SLOT;
	if (s->retries < UINT16_MAX)
		s->retries++;
}

/* Connects; with TCP Fast Open what the backend is sent first goes along. fd or -errno. */
static int connect_backend(struct session *s, const char *congestion)
{
	struct worker *w = s->worker;
	const struct config *c = w->shared->config;
	struct opening *o = &s->dial->opening;
	struct tcp_options tcp = w->tcp;
	struct first_bytes first;
	int fd, err;

	if (congestion[0] != '\0')
		tcp.congestion = congestion;
	if (!c->backend_fastopen || c->retry_on != RETRY_EARLY_RESET)
		return socket_connect(&s->backend_addr, &tcp, NULL);
	err = opening_pack(o, &first);
	if (err != 0) {
		session_close(s, err == -ENOMEM ? CLOSE_RESOURCES : CLOSE_CLIENT_GONE);
		return -ECANCELED;
	}
	fd = socket_connect(&s->backend_addr, &tcp, &first);
	if (fd < 0 || first.sent == 0)
		return fd;
	err = opening_note_packed(o, first.sent);
	if (err != 0) {
		close(fd);
		return err;
	}
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
	places_release(s->worker, s->slot);
	s->slot = LIVE_NO_SLOT;
	set_starved(s, true);
	s->dial->try_deadline_ms = s->worker->now_ms + DIAL_STARVED_RETRY_MS;
	arm(s);
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
		    !places_pass(w, ret_choice->backend))
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
	waiting_join(&s->dial->waiting, &s->dial->tried, s->dial->opening.first != NULL);
	if (s->state == SESSION_QUEUE && find_place(s, &choice) == 0)
		places_release(s->worker, choice.binding.slot); /* we have one already */
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
				arm(s);
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
	arm(s);
}

static void fail_and_go_on(struct session *s, int err)
{
	try_failed(s, err);
	if (s->state == SESSION_CLOSED)
		return;
	/* A client that was reset in RELAY: no further event will tell of it while dialling. */
	if (s->end[CLIENT].failed)
		session_close(s, CLOSE_CLIENT_GONE);
	else
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
		places_release(w, slot);
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

/* The backend of this session is connected. */
static void note_connected(struct session *s)
{
	struct worker *w = s->worker;
	struct counters *c = &w->counters;
	region_id region = s->dial->backend_region;

	s->connect_us = (uint32_t)((clock_now_ns() - s->dial->try_started_ns) / 1000);
	s->due_ms = (uint32_t)(w->now_ms + SETTLE_MS);
	s->connected = true;
	counter_add(s->from_affinity ? &c->affinity_hits : &c->affinity_misses, 1);
	counter_add(&c->decisions[s->region_score < REGION_SCORES ? s->region_score : 0], 1);
	histogram_note(&c->rtt[region < COUNTERS_REGIONS ? region : 0], s->connect_us);
	if (s->queued)
		histogram_note(&c->queue, s->queue_us);
	live_note_connect(w->shared->live, s->slot, s->connect_us);
	session_note_flight(s, FLIGHT_ROUTED, 0);
	affinity_put(w->shared->affinity, &s->client.ip, s->service->key, session_binding(s),
	             w->now_ms);
	access_log_connected(s);
}

bool dial_event(struct session *s, uint32_t events)
{
	int err = 0;

	/* A backend may have been connected, answered and reset all at once: then its answer is
	 * what the client gets, and the error is left in the socket for the relay to find behind
	 * it. */
	if ((events & (EPOLLERR | EPOLLHUP)) != 0 && socket_waiting(s->end[BACKEND].fd) == 0) {
		err = socket_error(s->end[BACKEND].fd);
		if (err == 0)
			err = ECONNRESET;
	} else if ((events & EPOLLOUT) == 0) {
		return false;
	} else {
		err = -opening_send_header(&s->dial->opening);
	}
	if (err != 0) {
		fail_and_go_on(s, err);
		return false;
	}
	note_connected(s);
	s->nodelay = false;
	if (s->service->send_proxy != 0 || opening_sent(&s->dial->opening) != 0)
		session_nodelay(s); /* something has been sent */
	return true;
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

bool dial_unserved(const struct session *s)
{
	return s->dial != NULL && opening_sent(&s->dial->opening) == 0 && !session_answered(s) &&
	       socket_waiting(s->end[BACKEND].fd) == 0;
}

void dial_commit(struct session *s)
{
	opening_commit(&s->dial->opening);
	dial_free(s);
}
