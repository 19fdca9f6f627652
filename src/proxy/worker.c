/* The loop of a worker, and its mail.
 *
 * Order is what this file is about. Events come first, because each is a small piece of work that
 * somebody waits for; a session with bulk gets one quantum each way when they are done, and then
 * the kernel is asked for events again without waiting. So a bulk transfer delays a ping by one
 * quantum at most, and pings cannot be starved by any number of transfers.
 *
 * Sessions closed during a turn are freed at its end: events of the same batch may still name them.
 */
#include "proxy/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "proxy/listener.h"
#include "proxy/session.h"
#include "proxy/sweep.h"
#include "proxy/waiting.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum mail_kind {
	MAIL_TABLE,
	MAIL_GEO,
	MAIL_CLIENT,
	MAIL_SWEEP,
	MAIL_CENSUS,
	MAIL_PLACES,
	MAIL_STOP,
	MAIL_PAUSE,
	MAIL_RESUME,
	MAIL_LEAVE,
};

struct mail {
	struct message message;
	struct table *table;
	struct geo_db *geo;
	struct service *service;
	struct census_part *part;
	struct endpoint peer;
	int fd;
};

static int post(struct worker *w, enum mail_kind kind, struct mail contents)
{
	struct mail *mail = malloc(sizeof(*mail));

	if (mail == NULL)
		return -ENOMEM;
	*mail = contents;
	mail->message.kind = kind;
	mailbox_send(&w->mailbox, &mail->message);
	return 0;
}

int worker_post_table(struct worker *w, struct table *table)
{
	int err = post(w, MAIL_TABLE, (struct mail){.table = table_ref(table)});

	if (err != 0)
		table_unref(table);
	return err;
}

int worker_post_geo(struct worker *w, struct geo_db *geo)
{
	int err = post(w, MAIL_GEO, (struct mail){.geo = geo_db_ref(geo)});

	if (err != 0)
		geo_db_unref(geo);
	return err;
}

int worker_post_client(struct worker *w, int fd, const struct endpoint *peer,
                       struct service *service)
{
	return post(w, MAIL_CLIENT, (struct mail){.fd = fd, .peer = *peer, .service = service});
}

int worker_post_sweep(struct worker *w)
{
	return post(w, MAIL_SWEEP, (struct mail){0});
}

int worker_post_census(struct worker *w, struct census_part *part)
{
	return post(w, MAIL_CENSUS, (struct mail){.part = part});
}

int worker_post_places(struct worker *w)
{
	return post(w, MAIL_PLACES, (struct mail){0});
}

int worker_post_stop(struct worker *w)
{
	return post(w, MAIL_STOP, (struct mail){0});
}

int worker_post_pause(struct worker *w)
{
	return post(w, MAIL_PAUSE, (struct mail){0});
}

int worker_post_resume(struct worker *w)
{
	return post(w, MAIL_RESUME, (struct mail){0});
}

int worker_post_leave(struct worker *w)
{
	return post(w, MAIL_LEAVE, (struct mail){0});
}

int worker_watch(struct worker *w, int fd, void *owner, enum event_tag tag)
{
	struct epoll_event event = {.data.u64 = (uint64_t)(uintptr_t)owner | tag};

	/* Listeners and mail are level-triggered: what one turn leaves is seen in the next. */
	switch (tag) {
	case TAG_END_0:
	case TAG_END_1:
		event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
		break;
	case TAG_LISTENER:
		event.events = EPOLLIN | EPOLLEXCLUSIVE;
		break;
	case TAG_MAILBOX:
		event.events = EPOLLIN;
		break;
	}
	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

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

/* Watches the sockets of the table's services, and no others. */
static void adopt_listeners(struct worker *w)
{
	for (struct list *n = w->listeners.next; n != &w->listeners; n = n->next)
		list_entry(n, struct listener, node)->wanted = false;
	for (uint32_t i = 0; i < w->table->service_count; i++) {
		struct service *service = w->table->services[i];
		struct listener *l = find_listener(w, service->socket);

		if (service->socket == NULL)
			continue;
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

static void stop(struct worker *w)
{
	while (!list_empty(&w->listeners))
		listener_free(list_entry(w->listeners.next, struct listener, node));
	atomic_store_explicit(&w->stopped, true, memory_order_release);
}

static void pause_accepting(struct worker *w)
{
	while (!list_empty(&w->listeners))
		listener_leave(list_entry(w->listeners.next, struct listener, node));
	atomic_store_explicit(&w->stopped, true, memory_order_release);
}

static void resume_accepting(struct worker *w)
{
	atomic_store_explicit(&w->stopped, false, memory_order_release);
	adopt_listeners(w);
}

static void read_mail(struct worker *w)
{
	struct message *next;

	w->mail_waits = false;
	for (struct message *m = mailbox_take(&w->mailbox); m != NULL; m = next) {
		struct mail *mail = (struct mail *)m;

		next = m->next;
		switch ((enum mail_kind)m->kind) {
		case MAIL_TABLE:
			table_unref(w->table);
			w->table = mail->table;
			if (!atomic_load_explicit(&w->stopped, memory_order_relaxed))
				adopt_listeners(w);
			waiting_offer_all(w);
			break;
		case MAIL_GEO:
			geo_db_unref(w->geo);
			w->geo = mail->geo;
			break;
		case MAIL_CLIENT:
			session_start(w, mail->fd, &mail->peer, mail->service);
			break;
		case MAIL_SWEEP:
			walk_start(&w->walks, WALK_SWEEP, &w->sessions);
			break;
		case MAIL_CENSUS:
			census_join(w, mail->part);
			break;
		case MAIL_PLACES:
			waiting_serve(w);
			break;
		case MAIL_STOP:
			stop(w);
			break;
		case MAIL_PAUSE:
			pause_accepting(w);
			break;
		case MAIL_RESUME:
			resume_accepting(w);
			break;
		case MAIL_LEAVE:
			stop(w);
			w->leaving = true;
			break;
		}
		free(mail);
	}
}

static void offer_all(struct timer *t, uint64_t now_ms)
{
	struct worker *w = list_entry(t, struct worker, offer_all);

	waiting_offer_all(w);
	waiting_serve(w);
	if (w->waiting != 0)
		timer_arm(&w->timers, t, now_ms + WAITING_RETRY_MS);
}

static void dispatch(struct worker *w, const struct epoll_event *event)
{
	enum event_tag tag = (enum event_tag)(event->data.u64 & TAG_BITS);
	void *owner = (void *)(uintptr_t)(event->data.u64 & ~TAG_BITS);

	switch (tag) {
	case TAG_END_0:
	case TAG_END_1:
		session_event(owner, tag, event->events);
		break;
	case TAG_LISTENER:
		session_deliver_held(w); /* to make connections takes long */
		listener_event(owner);
		break;
	case TAG_MAILBOX:
		w->mail_waits = true;
		break;
	}
}

static void set_clock(struct worker *w)
{
	w->now_ns = clock_now_ns();
	w->now_ms = w->now_ns / 1000000;
}

static void free_dead(struct worker *w)
{
	while (!list_empty(&w->dead))
		session_free(list_entry(w->dead.next, struct session, node));
}

static void close_all(struct worker *w)
{
	walk_stop(&w->walks, WALK_SWEEP);
	census_stop(w);
	while (!list_empty(&w->sessions))
		session_close(list_entry(w->sessions.next, struct session, node), CLOSE_SHUTDOWN);
	free_dead(w);
}

/* Is there something that waits for no event? */
static bool has_work(const struct worker *w)
{
	return !list_empty(&w->bulk) || walk_active(&w->walks, WALK_SWEEP) ||
	       !list_empty(&w->censuses);
}

static void note_turn(struct worker *w, uint64_t now_ns)
{
	histogram_note(&w->counters.turn, (now_ns - w->now_ns) / 1000);
}

/* Waits for events; with a spin, asks for them without sleeping for a moment first. */
static int wait_for_events(struct worker *w, struct epoll_event *events)
{
	uint64_t now_ns;
	int wait_ms, n;

	if (has_work(w)) {
		n = epoll_wait(w->epoll_fd, events, WORKER_EVENTS, 0);
		note_turn(w, clock_now_ns());
		return n;
	}
	now_ns = clock_now_ns();
	note_turn(w, now_ns);
	wait_ms = timer_wheel_wait_ms(&w->timers, now_ns / 1000000);
	if (wait_ms != 0 && w->spin_ns != 0) {
		uint64_t until_ns = now_ns + w->spin_ns;

		do {
			n = epoll_wait(w->epoll_fd, events, WORKER_EVENTS, 0);
			if (n != 0)
				return n;
		} while (clock_now_ns() < until_ns);
	}
	return epoll_wait(w->epoll_fd, events, WORKER_EVENTS, wait_ms);
}

static void turn(struct worker *w)
{
	struct epoll_event events[WORKER_EVENTS];
	int n = wait_for_events(w, events);

	set_clock(w);
	heartbeat_turn(&w->beat);
	w->batch.open = true;
	for (int i = 0; i < n; i++)
		dispatch(w, &events[i]);
	session_deliver_held(w);
	w->batch.open = false;
	/* After the batch: a new table frees listeners that later events of it may name. */
	if (w->mail_waits)
		read_mail(w);
	timer_wheel_advance(&w->timers, w->now_ms);
	if (!list_empty(&w->bulk)) {
		struct session *s = list_entry(w->bulk.next, struct session, turn);

		list_remove(&s->turn);
		session_turn(s);
	}
	if (walk_active(&w->walks, WALK_SWEEP))
		sweep_turn(w);
	if (!list_empty(&w->censuses))
		census_turn(w);
	free_dead(w);
}

static void wake(void *arg)
{
	struct worker *w = arg;

	mailbox_wake(&w->mailbox);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "worker-%u", (unsigned)(w - w->shared->workers));
	pthread_setname_np(pthread_self(), name);
	heartbeat_begin(&w->beat, name, wake, w);

	set_clock(w);
	if (!atomic_load_explicit(&w->stopped, memory_order_relaxed))
		adopt_listeners(w);
	while (!w->leaving)
		turn(w);
	heartbeat_end(&w->beat); /* there may be much to close */
	close_all(w);
	return NULL;
}

/* The kernel's objects. */
static int open_loop(struct worker *w)
{
	int err;

	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		return -errno;
	err = mailbox_init(&w->mailbox);
	if (err == 0) {
		err = worker_watch(w, w->mailbox.event_fd, w, TAG_MAILBOX);
		if (err != 0)
			mailbox_done(&w->mailbox);
	}
	if (err != 0)
		close(w->epoll_fd);
	return err;
}

int worker_init(struct worker *w, const struct worker_shared *shared, uint64_t seed,
                struct table *table, struct geo_db *geo, bool paused)
{
	const struct config *c = shared->config;
	uint64_t number = (uint64_t)(w - shared->workers);
	int err;

	*w = (struct worker){
		.shared = shared, .rng = {.state = seed}, .sample_rng = {.state = ~seed}};
	atomic_init(&w->load, 0);
	atomic_init(&w->stopped, paused);
	list_init(&w->listeners);
	list_init(&w->sessions);
	list_init(&w->dead);
	list_init(&w->bulk);
	walks_init(&w->walks);
	list_init(&w->censuses);
	object_pool_init(&w->session_pool, sizeof(struct session));
	timer_wheel_init(&w->timers, clock_now_ms());
	timer_wheel_on(&w->timers, WORKER_TIMER_SESSION, session_timer);
	timer_wheel_on(&w->timers, WORKER_TIMER_LISTENER, listener_timer);
	timer_wheel_on(&w->timers, WORKER_TIMER_OFFER, offer_all);
	timer_init(&w->offer_all, WORKER_TIMER_OFFER);
	w->tcp = (struct tcp_options){
		.keepalive_secs = (uint32_t)c->tcp_keepalive_secs,
		.user_timeout_ms = (uint32_t)c->tcp_user_timeout_ms,
		.congestion = c->backend_tcp_congestion,
	};
	w->drain.close_spread_ms = c->close_spread_secs * 1000;
	w->drain.shutdown_sessions = c->on_marked_down == MARKED_DOWN_SHUTDOWN_SESSIONS;
	w->spin_ns = c->busy_spin_us * 1000;
	w->relay.mode = (enum relay_mode)c->relay_mode;
	pipe_pool_init(&w->relay.pipes,
	               (uint32_t)(c->pipe_max / shared->worker_count +
	                          (number < c->pipe_max % shared->worker_count)),
	               (uint32_t)c->pipe_bytes);
	w->relay.buffer = malloc(RELAY_BUFFER_BYTES);
	err = w->relay.buffer != NULL ? batch_init(&w->batch) : -ENOMEM;
	if (err == 0)
		err = flight_init(&w->flight);
	if (err == 0)
		err = open_loop(w);
	if (err != 0) {
		flight_done(&w->flight);
		batch_done(&w->batch);
		free(w->relay.buffer);
		return err;
	}
	w->table = table_ref(table);
	w->geo = geo_db_ref(geo);
	return 0;
}

int worker_start(struct worker *w)
{
	sigset_t all, before;
	int err;

	/* Signals are the control thread's, but for the one that asks for this one's stack. */
	sigfillset(&all);
	sigdelset(&all, watchdog_signal());
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	w->started = err == 0;
	return -err;
}

void worker_join(struct worker *w)
{
	if (w->started)
		pthread_join(w->thread, NULL);
}

void worker_done(struct worker *w)
{
	set_clock(w);
	read_mail(w);
	close_all(w);
	read_mail(w); /* of what the last sessions gave back */
	table_unref(w->table);
	geo_db_unref(w->geo);
	object_pool_done(&w->session_pool);
	pipe_pool_done(&w->relay.pipes);
	mailbox_done(&w->mailbox);
	close(w->epoll_fd);
	flight_done(&w->flight);
	batch_done(&w->batch);
	free(w->relay.buffer);
}
