/* The loop.
 *
 * Order is what this file is about. Events come first, because each is a small piece of work that
 * somebody waits for; a session with bulk gets one quantum each way when they are done, and then
 * the kernel is asked for events again without waiting. So a bulk transfer delays a ping by one
 * quantum at most, and pings cannot be starved by any number of transfers.
 *
 * Sessions closed during a turn are freed at its end: events of the same batch may still name them.
 */
#include "proxy/loop.h"

#include "base/clock.h"
#include "proxy/census.h"
#include "proxy/closing.h"
#include "proxy/dispatch.h"
#include "proxy/listener.h"
#include "proxy/mail.h"
#include "proxy/places.h"
#include "proxy/session.h"
#include "proxy/sweep.h"
#include "proxy/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

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
				listeners_adopt(w);
			places_offer_all(w);
			break;
		case MAIL_GEO:
			geo_db_unref(w->geo);
			w->geo = mail->geo;
			break;
		case MAIL_CLIENT:
			dispatch_start(w, mail->fd, &mail->peer, mail->service);
			break;
		case MAIL_SWEEP:
			walk_start(&w->walks, WALK_SWEEP, &w->sessions);
			break;
		case MAIL_CENSUS:
			census_join(w, mail->part);
			break;
		case MAIL_PLACES:
			dispatch_places(w);
			break;
		case MAIL_STOP:
			listeners_stop(w);
			break;
		case MAIL_PAUSE:
			listeners_pause(w);
			break;
		case MAIL_RESUME:
			listeners_resume(w);
			break;
		case MAIL_LEAVE:
			listeners_stop(w);
			w->leaving = true;
			break;
		}
		free(mail);
	}
}

static void serve(struct worker *w, const struct epoll_event *event)
{
	enum event_tag tag = (enum event_tag)(event->data.u64 & TAG_BITS);
	void *owner = (void *)(uintptr_t)(event->data.u64 & ~TAG_BITS);

	switch (tag) {
	case TAG_END_0:
	case TAG_END_1:
		dispatch_event(owner, tag, event->events);
		break;
	case TAG_LISTENER:
		dispatch_held(w); /* to make connections takes long */
		listener_event(owner);
		break;
	case TAG_MAILBOX:
		w->mail_waits = true;
		break;
	}
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
	closing_run(w);
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
		n = epoll_wait(w->epoll_fd, events, LOOP_EVENTS, 0);
		note_turn(w, clock_now_ns());
		return n;
	}
	now_ns = clock_now_ns();
	note_turn(w, now_ns);
	wait_ms = timer_wheel_wait_ms(&w->timers, now_ns / 1000000);
	if (wait_ms != 0 && w->spin_ns != 0) {
		uint64_t until_ns = now_ns + w->spin_ns;

		do {
			n = epoll_wait(w->epoll_fd, events, LOOP_EVENTS, 0);
			if (n != 0)
				return n;
		} while (clock_now_ns() < until_ns);
	}
	return epoll_wait(w->epoll_fd, events, LOOP_EVENTS, wait_ms);
}

static void turn(struct worker *w)
{
	struct epoll_event events[LOOP_EVENTS];
	int n = wait_for_events(w, events);

	worker_set_clock(w);
	heartbeat_turn(&w->beat);
	w->batch.open = true;
	for (int i = 0; i < n; i++)
		serve(w, &events[i]);
	dispatch_held(w);
	w->batch.open = false;
	/* After the batch: a new table frees listeners that later events of it may name. */
	if (w->mail_waits)
		read_mail(w);
	timer_wheel_advance(&w->timers, w->now_ms);
	if (!list_empty(&w->bulk))
		dispatch_bulk(w);
	if (walk_active(&w->walks, WALK_SWEEP))
		sweep_turn(w);
	if (!list_empty(&w->censuses))
		census_turn(w);
	CHECK(list_empty(&w->closing)); /* whoever closes sessions has seen to it */
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

	snprintf(name, sizeof(name), "worker-%u", worker_number(w));
	pthread_setname_np(pthread_self(), name);
	heartbeat_begin(&w->beat, name, wake, w);

	worker_set_clock(w);
	if (!atomic_load_explicit(&w->stopped, memory_order_relaxed))
		listeners_adopt(w);
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

int loop_init(struct worker *w, const struct worker_shared *shared, uint64_t seed,
              struct table *table, struct geo_db *geo, bool paused)
{
	const struct config *c = shared->config;
	uint64_t number;
	int err;

	*w = (struct worker){
		.shared = shared, .rng = {.state = seed}, .sample_rng = {.state = ~seed}};
	number = worker_number(w);
	atomic_init(&w->load, 0);
	atomic_init(&w->stopped, paused);
	list_init(&w->listeners);
	list_init(&w->sessions);
	list_init(&w->closing);
	list_init(&w->dead);
	list_init(&w->bulk);
	walks_init(&w->walks);
	list_init(&w->censuses);
	object_pool_init(&w->session_pool, sizeof(struct session));
	timer_wheel_init(&w->timers, clock_now_ms());
	timer_wheel_on(&w->timers, WORKER_TIMER_SESSION, dispatch_timer);
	timer_wheel_on(&w->timers, WORKER_TIMER_LISTENER, listener_timer);
	timer_wheel_on(&w->timers, WORKER_TIMER_OFFER, dispatch_offer);
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

int loop_start(struct worker *w)
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

void loop_join(struct worker *w)
{
	if (w->started)
		pthread_join(w->thread, NULL);
}

void loop_done(struct worker *w)
{
	worker_set_clock(w);
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
