/* Handing over. Every step can fail and leaves this process serving as before, until the new one
 * says that it accepts; then there is no way back. In between both have the listening sockets, and
 * at most one accepts: clients wait in the kernel's queue, which belongs to the socket and not to a
 * process, so none is lost.
 *
 * The order keeps that wait short. The bulk of what was learnt is written and read while this
 * process still accepts; only what came since is handed over after it has stopped.
 *
 * A new process that fails, hangs or is killed is ended before anything else is undone: two must
 * never accept. One that is only late may be about to say that it accepts while its time runs out
 * here, and then ending it would end clients. So it is stopped first (SIGSTOP), and then listened
 * to once more: it says ACCEPTING before it accepts, so either it has said so, and is let go on, or
 * it has no client and never will. Should this process die in between, the kernel lets the new one
 * go on (predecessor.c), and that serves. */
#include "daemon/successor.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/listeners.h"
#include "control/notify.h"
#include "daemon/predecessor.h"
#include "daemon/successor_process.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One tick may write for so long. */
#define SLICE_MS 5
/* What was refused for want of memory is tried again after so long. */
#define RETRY_NS 10000000

bool successor_starts(const struct runner *r)
{
	return r->successor.state != SUCCESSOR_NONE && r->successor.state != SUCCESSOR_SERVES;
}

bool successor_serves(const struct runner *r)
{
	return r->successor.state == SUCCESSOR_SERVES;
}

/* ---- when it fails ---- */

static const char *stage(const struct successor *s)
{
	static const char *const words[] = {
		[SUCCESSOR_NONE] = "spawn",    [SUCCESSOR_STARTING] = "start",
		[SUCCESSOR_COPYING] = "copy",  [SUCCESSOR_READING] = "read",
		[SUCCESSOR_PAUSING] = "pause", [SUCCESSOR_TAKING] = "take",
		[SUCCESSOR_SERVES] = "serve",
	};

	return words[s->state];
}

/* The one reason after which this process does not go on. */
static const char told_to_stop[] = "this process was told to stop";

static void log_failed(const struct runner *r, const char *error, const char *ended)
{
	const struct successor *s = &r->successor;
	struct log_line l;

	log_begin(&l, LOG_ERROR, "upgrade_failed");
	log_str(&l, "stage", stage(s));
	log_str(&l, "path", r->path);
	log_str(&l, "error", error);
	if (s->pid > 0) {
		log_int(&l, "successor", s->pid);
		log_str(&l, "ended", ended);
	}
	if (error != told_to_stop)
		log_str(&l, "effect", "this process goes on as before");
	log_end(&l);
}

static void forget(struct successor *s)
{
	if (s->link >= 0)
		close(s->link);
	if (s->own_fd >= 0)
		close(s->own_fd);
	if (s->state_fd >= 0)
		close(s->state_fd);
	state_writer_free(s->writer);
	*s = (struct successor){.link = -1, .own_fd = -1, .state_fd = -1};
}

static void go_on_accepting(struct runner *r)
{
	static const struct timespec pause = {.tv_nsec = RETRY_NS};

	while (crew_resume(r->crew) != 0)
		nanosleep(&pause, NULL);
}

/* Takes everything back. ends: the new process has hung up. */
static void take_back(struct runner *r, const char *error, bool ends)
{
	struct successor *s = &r->successor;
	bool paused = s->state == SUCCESSOR_PAUSING || s->state == SUCCESSOR_TAKING;
	char ended[SUCCESSOR_PROCESS_END_MAX] = "";

	if (s->pid > 0)
		successor_process_end(s->pid, ends, ended);
	log_failed(r, error, ended);
	/* It may have accepted and connected before it died. */
	if (s->own_fd >= 0)
		(void)live_bury(r->live, s->own_fd);
	if (paused)
		go_on_accepting(r);
	live_freeze(r->live, false);
	reload_leave_files(r->reload, false);
	forget(s);
}

static void fail(struct runner *r, int err)
{
	take_back(r, err == -EPIPE ? "it hung up" : strerror(-err), err == -EPIPE);
}

/* ---- the start ---- */

/* Why there can be none, or NULL. */
static const char *refusal(const struct runner *r)
{
	if (successor_serves(r))
		return "this process has been upgraded already";
	if (successor_starts(r))
		return "an upgrade is under way";
	if (getpid() == 1)
		return "this is process 1, whose end would end its successor too";
	if (r->predecessors.count >= PREDECESSORS_MAX - 1)
		return "too many earlier processes still drain";
	return NULL;
}

void successor_start(struct runner *r)
{
	struct successor *s = &r->successor;
	const char *why = refusal(r);
	int ends[2], err;
	struct log_line l;

	if (why != NULL) {
		log_begin(&l, LOG_ERROR, "upgrade_failed");
		log_str(&l, "error", why);
		log_str(&l, "effect", "this process goes on as before");
		log_end(&l);
		return;
	}
	err = handover_pair(ends);
	if (err == 0) {
		s->link = ends[0];
		err = successor_process_start(r->path, ends[1], &s->pid);
		close(ends[1]);
	}
	if (err != 0) {
		log_failed(r, strerror(-err), NULL);
		forget(s);
		return;
	}
	s->state = SUCCESSOR_STARTING;
	s->started_ns = clock_now_ns();
	s->deadline_ms = clock_now_ms() + SUCCESSOR_START_MS;
	live_freeze(r->live, true);
	reload_leave_files(r->reload, true);
	state_file_cancel(r->state_file);
	log_begin(&l, LOG_INFO, "upgrade_started");
	log_str(&l, "path", r->path);
	log_int(&l, "successor", s->pid);
	log_end(&l);
}

/* ---- what it gets ---- */

static int say(struct runner *r, struct handover_message *m)
{
	m->version = HANDOVER_VERSION;
	m->pid = getpid();
	return handover_send(r->successor.link, m);
}

/* A state in memory. fd or -errno. */
static int write_state(const struct state_source *from)
{
	int fd = memfd_create("edgeproxy-state", MFD_CLOEXEC);
	struct state_writer *w = NULL;
	int err = fd < 0 ? -errno : state_writer_new(fd, from, &w);

	if (err == 0)
		err = state_writer_finish(w);
	state_writer_free(w);
	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err;
}

static int send_counts(struct runner *r)
{
	int slots = write_state(&(struct state_source){.live = r->live});
	struct handover_message m = {
		.kind = HANDOVER_COUNTS,
		.fd_count = r->status_fd >= 0 ? 4 : 3,
		.fds = {live_shared_fd(r->live), live_own_fd(r->live), slots, r->status_fd},
	};
	int err = slots < 0 ? slots : say(r, &m);

	if (slots >= 0)
		close(slots);
	return err;
}

static int send_sockets(struct runner *r)
{
	const struct listeners *l = reload_listeners(r->reload);
	int err = 0;

	for (size_t i = 0; err == 0 && i < l->count;) {
		struct handover_message m = {.kind = HANDOVER_SOCKETS};

		for (; i < l->count && m.count < HANDOVER_SOCKETS_MAX; i++) {
			m.sockets[m.count++] = (struct handover_socket){
				.addr = l->all[i].addr,
				.borrowed = l->all[i].socket->borrowed,
			};
			m.fds[m.fd_count++] = l->all[i].socket->fd;
		}
		err = say(r, &m);
	}
	if (err == 0)
		err = say(r, &(struct handover_message){.kind = HANDOVER_START});
	return err;
}

static int begin_copying(struct runner *r)
{
	struct successor *s = &r->successor;

	s->state_fd = memfd_create("edgeproxy-state", MFD_CLOEXEC);
	if (s->state_fd < 0)
		return -errno;
	s->copied_ms = clock_now_ms();
	s->state = SUCCESSOR_COPYING;
	return state_writer_new(s->state_fd,
	                        &(struct state_source){
					.live = r->live,
					.affinity = r->affinity,
					/* Since for ever. */
					.since_ms = s->copied_ms - (uint64_t)INT64_MAX / 2,
				},
	                        &s->writer);
}

/* What was learnt, a slice a tick: it may be a million bindings. */
static int copy(struct runner *r, uint64_t now_ms)
{
	struct successor *s = &r->successor;
	uint64_t until_ms = clock_now_ms() + SLICE_MS;
	int rc;

	do
		rc = state_writer_step(s->writer);
	while (rc > 0 && clock_now_ms() < until_ms);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = say(r, &(struct handover_message){
			    .kind = HANDOVER_STATE, .fd_count = 1, .fds = {s->state_fd}});
	s->state = SUCCESSOR_READING;
	s->deadline_ms = now_ms + SUCCESSOR_START_MS; /* a million takes a second */
	return rc;
}

static int send_rest(struct runner *r, uint64_t now_ms)
{
	struct successor *s = &r->successor;
	struct handover_message m = {.kind = HANDOVER_GO, .fd_count = 1};
	const struct state_source rest = {
		.live = r->live,
		.faults = r->faults, /* only here: until now they could change */
		.affinity = r->affinity,
		.since_ms = s->copied_ms,
	};
	int err;

	s->copied_ms = clock_now_ms();
	m.fds[0] = write_state(&rest);
	if (m.fds[0] < 0)
		return m.fds[0];
	for (unsigned i = 0; i < r->predecessors.count; i++) {
		m.pids[m.count++] = r->predecessors.all[i].pid;
		m.fds[m.fd_count++] = r->predecessors.all[i].link;
		m.fds[m.fd_count++] = r->predecessors.all[i].own_fd;
	}
	err = say(r, &m);
	close(m.fds[0]);
	s->state = SUCCESSOR_TAKING;
	s->deadline_ms = now_ms + SUCCESSOR_ANSWER_MS;
	return err;
}

/* ---- the point of no return ---- */

static void retire(struct runner *r, uint64_t now_ms)
{
	struct successor *s = &r->successor;
	struct log_line l;

	notify_send("MAINPID=%d\nREADY=1\nSTATUS=serving", (int)s->pid);
	s->state = SUCCESSOR_SERVES;
	reload_retire(r->reload);
	if (r->status_fd >= 0)
		close(r->status_fd);
	r->status_fd = -1;
	predecessors_free(r);     /* they are the successor's now */
	checker_free(r->checker); /* backends are checked by the successor */
	r->checker = NULL;
	s->told_sessions = live_own_total(r->live);
	s->news_ms = now_ms;
	s->deadline_ms = r->config.hard_stop_after_secs != 0
	                         ? now_ms + r->config.hard_stop_after_secs * 1000
	                         : UINT64_MAX;
	close(s->own_fd);
	s->own_fd = -1;
	log_begin(&l, LOG_INFO, "retired");
	log_int(&l, "pid", getpid());
	log_int(&l, "successor", s->pid);
	log_uint(&l, "sessions", live_own_total(r->live));
	log_uint(&l, "hard_stop_after_secs", r->config.hard_stop_after_secs);
	log_ms(&l, "took_ms", clock_now_ns() - s->started_ns);
	log_end(&l);
}

/* Bindings change here only when a session ends, or a client that was accepted before finds its
 * backend: tells the successor. */
static void tell_news(struct runner *r)
{
	struct successor *s = &r->successor;
	struct handover_message m = {.kind = HANDOVER_NEWS, .fd_count = 1};
	uint64_t since_ms = s->copied_ms;

	s->copied_ms = clock_now_ms();
	m.fds[0] = write_state(&(struct state_source){
		.live = r->live, .affinity = r->affinity, .since_ms = since_ms});
	if (m.fds[0] < 0 || say(r, &m) != 0)
		s->copied_ms = since_ms; /* next time, or never if it is gone */
	if (m.fds[0] >= 0)
		close(m.fds[0]);
}

static void drain(struct runner *r, uint64_t now_ms)
{
	struct successor *s = &r->successor;
	uint32_t sessions = live_own_total(r->live);

	if (s->pid > 0 && waitpid(s->pid, NULL, WNOHANG) == s->pid)
		s->pid = 0; /* not this one's business any more, but its child */
	if (sessions == s->told_sessions || now_ms < s->news_ms + SUCCESSOR_NEWS_MS)
		return;
	s->news_ms = now_ms;
	s->told_sessions = sessions;
	tell_news(r);
}

/* ---- the conversation ---- */

static int on_message(struct runner *r, struct handover_message *m, uint64_t now_ms)
{
	struct successor *s = &r->successor;
	int err;

	if (m->kind == HANDOVER_HELLO && s->state == SUCCESSOR_STARTING && !s->greeted) {
		s->greeted = true;
		err = send_counts(r);
		return err != 0 ? err : send_sockets(r);
	}
	if (m->kind == HANDOVER_READY && s->state == SUCCESSOR_STARTING && s->greeted) {
		s->own_fd = m->fds[0];
		m->fds[0] = -1;
		return begin_copying(r);
	}
	if (m->kind == HANDOVER_TAKEN && s->state == SUCCESSOR_READING) {
		s->state = SUCCESSOR_PAUSING;
		s->deadline_ms = now_ms + SUCCESSOR_ANSWER_MS;
		return crew_pause(r->crew);
	}
	if (m->kind == HANDOVER_ACCEPTING && s->state == SUCCESSOR_TAKING) {
		retire(r, now_ms);
		return 0;
	}
	return -EPROTO;
}

/* What it has said by now. */
static int listen_to_it(struct runner *r, uint64_t now_ms)
{
	struct handover_message m;
	int err = 0;

	while (err == 0 && !successor_serves(r)) {
		err = handover_receive(r->successor.link, &m);
		if (err == 0) {
			err = on_message(r, &m, now_ms);
			handover_close_fds(&m);
		}
	}
	return err == -EAGAIN ? 0 : err;
}

/* It is given up, unless it accepts by now: then it stays, for its clients are nobody else's. */
static void give_up(struct runner *r, const char *error, uint64_t now_ms)
{
	struct successor *s = &r->successor;

	if (s->state == SUCCESSOR_TAKING) {
		successor_process_hold(s->pid);
		(void)listen_to_it(r, now_ms);
		if (successor_serves(r)) {
			successor_process_let_go(s->pid);
			return;
		}
	}
	take_back(r, error, false);
}

void successor_refuse(struct runner *r, uint64_t now_ms)
{
	give_up(r, told_to_stop, now_ms);
}

void successor_leave(struct runner *r)
{
	tell_news(r);
	forget(&r->successor);
}

void successor_tick(struct runner *r, uint64_t now_ms)
{
	struct successor *s = &r->successor;
	int err;

	if (s->state == SUCCESSOR_NONE)
		return;
	if (successor_serves(r)) {
		drain(r, now_ms);
		return;
	}
	err = listen_to_it(r, now_ms);
	if (err == 0 && s->state == SUCCESSOR_COPYING)
		err = copy(r, now_ms);
	else if (err == 0 && s->state == SUCCESSOR_PAUSING && crew_stopped(r->crew))
		err = send_rest(r, now_ms);
	if (err != 0)
		fail(r, err);
	else if (successor_starts(r) && now_ms >= s->deadline_ms)
		give_up(r, "it did not answer in time", now_ms);
}
