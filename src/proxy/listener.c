/* Accepting clients. Each is counted against max-conn before it is accepted, so that the count
 * never passes the limit and whoever is over it waits in the kernel's queue rather than being
 * refused. */
#include "proxy/listener.h"

#include "base/log.h"
#include "proxy/dispatch.h"
#include "proxy/mail.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Clients accepted from a socket that is about to close; no backlog is longer. */
#define ACCEPT_LAST_MAX 65535

/* A client goes to another worker when that one has fewer sessions by more than an eighth, and by
 * more than one: a hand-over costs a wake-up. */
static bool much_less(uint32_t theirs, uint32_t mine)
{
	return mine > theirs + theirs / 8 + 1;
}

/* Two others looked at by chance find a good place nearly as well as a look at all of them would
 * (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). */
static struct worker *choose_worker(struct worker *self)
{
	struct worker *best = self;
	uint32_t load = atomic_load_explicit(&self->load, memory_order_relaxed);
	uint32_t least = load;

	if (self->shared->worker_count == 1)
		return self;
	for (int i = 0; i < 2; i++) {
		struct worker *w =
			&self->shared->workers[rng_below(&self->rng, self->shared->worker_count)];
		uint32_t its = atomic_load_explicit(&w->load, memory_order_relaxed);

		if (its < least && much_less(its, load)) {
			best = w;
			least = its;
		}
	}
	return best;
}

static void take_client(struct listener *l, int fd, const struct sockaddr_storage *sa)
{
	struct worker *self = l->worker;
	struct endpoint peer = {0};
	struct worker *w = choose_worker(self);

	/* A listening TCP socket yields no other families. */
	CHECK(endpoint_from_sockaddr((const struct sockaddr *)sa, &peer) == 0);
	service_ref(l->service);
	atomic_fetch_add_explicit(&w->load, 1, memory_order_relaxed);
	if (w != self) {
		if (mail_client(w, fd, &peer, l->service) == 0)
			return;
		atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&self->load, 1, memory_order_relaxed);
	}
	dispatch_start(self, fd, &peer, l->service);
}

static void listener_pause(struct listener *l, int err)
{
	struct worker *w = l->worker;

	if (!l->paused)
		epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, l->service->socket->fd, NULL);
	l->paused = true;
	timer_arm(&w->timers, &l->resume, w->now_ms + LISTENER_PAUSE_MS);
	if (w->now_ms < l->complain_ms)
		return;
	l->complain_ms = w->now_ms + LISTENER_COMPLAIN_MS;

	struct log_line line;

	log_begin(&line, LOG_WARN, "accept_paused");
	log_str(&line, "service", l->service->name);
	if (err == 0) {
		log_str(&line, "error", "max-conn is reached");
		log_uint(&line, "max_conn", w->shared->max_conn);
	} else {
		log_errno(&line, err);
	}
	log_str(&line, "effect", "new clients wait in the listen backlog");
	log_end(&line);
}

enum accept_result { ACCEPTED, ACCEPT_AGAIN, ACCEPT_EMPTY, ACCEPT_PAUSED };

static enum accept_result accept_one(struct listener *l)
{
	const struct worker_shared *shared = l->worker->shared;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	/* Clients that were accepted first take what descriptors there are: see dial.c. */
	if (atomic_load_explicit(shared->starved, memory_order_relaxed) != 0) {
		listener_pause(l, EMFILE);
		return ACCEPT_PAUSED;
	}
	if (!live_reserve_total(shared->live, shared->max_conn)) {
		listener_pause(l, 0);
		return ACCEPT_PAUSED;
	}

	int fd = accept4(l->service->socket->fd, (struct sockaddr *)&sa, &len,
	                 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		take_client(l, fd, &sa);
		return ACCEPTED;
	}

	int err = errno;

	live_release_total(shared->live);
	switch (err) {
	case EAGAIN:
		return ACCEPT_EMPTY;
	case EINTR:
	case ECONNABORTED:
	/* Errors of the network that accept() passes on (accept(2)): the client is gone. */
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case ETIMEDOUT:
	case EPERM:
		return ACCEPT_AGAIN;
	default:
		/* EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever nobody thought of: trying again at
		 * once would spin. */
		listener_pause(l, err);
		return ACCEPT_PAUSED;
	}
}

void listener_event(struct listener *l)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		enum accept_result result = accept_one(l);

		if (result == ACCEPT_EMPTY || result == ACCEPT_PAUSED)
			return;
	}
}

void listener_timer(struct timer *t, uint64_t now_ms)
{
	struct listener *l = list_entry(t, struct listener, resume);

	if (worker_watch(l->worker, l->service->socket->fd, l, TAG_LISTENER) != 0) {
		timer_arm(&l->worker->timers, t, now_ms + LISTENER_PAUSE_MS);
		return;
	}
	l->paused = false;
}

static int listener_new(struct worker *w, struct service *service)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->worker = w;
	l->service = service_ref(service);
	l->wanted = true;
	timer_init(&l->resume, WORKER_TIMER_LISTENER);
	list_push_back(&w->listeners, &l->node);
	if (worker_watch(w, service->socket->fd, l, TAG_LISTENER) != 0) {
		/* Out of memory or of epoll watches: try again soon. */
		l->paused = true;
		timer_arm(&w->timers, &l->resume, w->now_ms + LISTENER_PAUSE_MS);
	}
	return 0;
}

/* Only stops watching: what is queued is for whoever else listens there. */
static void listener_leave(struct listener *l)
{
	struct worker *w = l->worker;

	if (!l->paused)
		epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, l->service->socket->fd, NULL);
	timer_cancel(&w->timers, &l->resume);
	list_remove(&l->node);
	service_unref(l->service);
	free(l);
}

/* Accepts what the kernel has queued, then stops watching. */
static void listener_free(struct listener *l)
{
	/* What the kernel has completed a handshake with is a client, and would be reset when the
	 * socket is closed. */
	for (int i = 0; i < ACCEPT_LAST_MAX && !l->paused; i++) {
		enum accept_result result = accept_one(l);

		if (result == ACCEPT_EMPTY || result == ACCEPT_PAUSED)
			break;
	}
	listener_leave(l);
}

/* ---- all of a worker ---- */

static struct listener *find_listener(struct worker *w, const struct listen_socket *socket)
{
	for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next) {
		struct listener *l = list_entry(n, struct listener, node);

		if (l->service->socket == socket)
			return l;
	}
	return NULL;
}

/* Out of memory here leaves the listener to the other workers, and to the next table. */
static void add_listener(struct worker *w, struct service *service)
{
	char address[ENDPOINT_TEXT_MAX];
	struct log_line l;
	int err = listener_new(w, service);

	if (err == 0 && w != w->shared->workers)
		return; /* the first worker speaks for all */
	log_begin(&l, err == 0 ? LOG_INFO : LOG_ERROR,
	          err == 0 ? "listening" : "listener_not_watched");
	log_str(&l, "addr", endpoint_format(&service->socket->addr, address));
	log_str(&l, "service", service->name);
	if (err != 0)
		log_errno(&l, err);
	log_end(&l);
}

void listeners_adopt(struct worker *w)
{
	for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next)
		list_entry(n, struct listener, node)->wanted = false;
	for (uint32_t i = 0; i < w->table->service_count; i++) {
		struct service *service = w->table->services[i];
		struct listener *l;

		if (service->socket == NULL)
			continue;
		l = find_listener(w, service->socket);
		if (l != NULL) {
			service_ref(service);
			service_unref(l->service);
			l->service = service;
			l->wanted = true;
		} else {
			add_listener(w, service);
		}
	}
	for (struct list *n = w->listeners.next, *next; n != &w->listeners; n = next) {
		struct listener *l = list_entry(n, struct listener, node);

		next = n->next;
		if (!l->wanted)
			listener_free(l);
	}
}

static void let_go(struct worker *w, void (*of)(struct listener *l))
{
	for (struct list *n = w->listeners.next, *next; n != &w->listeners; n = next) {
		next = n->next;
		of(list_entry(n, struct listener, node));
	}
	atomic_store_explicit(&w->stopped, true, memory_order_release);
}

void listeners_stop(struct worker *w)
{
	let_go(w, listener_free);
}

void listeners_pause(struct worker *w)
{
	let_go(w, listener_leave);
}

void listeners_resume(struct worker *w)
{
	atomic_store_explicit(&w->stopped, false, memory_order_release);
	listeners_adopt(w);
}
