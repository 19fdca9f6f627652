/* Taking over. Until predecessor_done() the old process can end this one at any moment and go on as
 * if nothing had been, so nothing here has an effect that outlives this process: no file is
 * written, nobody is accepted.
 *
 * That it will accept is said before it does: so a client is here only when the old process cannot
 * end this one any more, however late it comes to that. Nobody is lost in between: clients wait in
 * the queues of the sockets, which both have.
 *
 * The old process may die at any moment too. What it has handed over by then is used; its
 * connections are gone, so what it counted is given back. It may even die while it holds this one
 * still (successor.c), so its death sends SIGCONT, which is nothing to a process that runs.
 *
 * Several generations may drain at one time. Each has a link to the newest: when a process retires
 * it passes the links of its own predecessors on. So there is one list, in the process that serves,
 * and it does not matter in which order they end. */
#include "daemon/predecessor.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/listeners.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* News of one predecessor that are read in one tick. */
#define NEWS_A_TICK 16
/* What was refused for want of memory is tried again after so long. */
#define RETRY_NS 10000000

static int failed(const char *what, int err)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, "takeover_failed");
	log_str(&l, "stage", what);
	log_errno(&l, err);
	log_end(&l);
	return err;
}

void predecessor_find(struct runner *r)
{
	struct handover_message m = {
		.kind = HANDOVER_HELLO,
		.version = HANDOVER_VERSION,
		.pid = getpid(),
	};

	r->takeover_link = handover_take_variable();
	/* Before HELLO, so before it can come to stopping this one. Here and not by who starts it:
	 * an exec that gains a capability would forget it. The thread whose end counts is the one
	 * that started this process: the control thread, which ends with the process. It is taken
	 * back only in predecessors_free(), since how late the old one may still stop this one is
	 * known to nobody. */
	if (r->takeover_link >= 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGCONT);
	if (r->takeover_link >= 0 && handover_send(r->takeover_link, &m) != 0) {
		close(r->takeover_link); /* it is gone already: this is a start like any other */
		r->takeover_link = -1;
	}
}

/* ---- counts and slots ---- */

static int take_slot(void *arg, uint32_t slot, uint32_t generation, const char *id)
{
	struct runner *r = arg;
	int err = live_adopt(r->live, slot, generation, id);

	if (err == 0)
		r->predecessors.slots[r->predecessors.slot_count++] = slot;
	return err;
}

/* The slots come in a state that has nothing else; each takes some bytes of it. */
static int take_slots(struct runner *r, int fd)
{
	const struct state_reader reader = {.backend = take_slot, .arg = r};
	char error[STATE_ERROR_MAX];
	struct state_header h;
	uint8_t *data;
	size_t bytes;
	int err = state_slurp(fd, &data, &bytes, error);

	if (err != 0)
		return err;
	r->predecessors.slots = malloc((bytes / sizeof(struct state_backend) + 1) *
	                               sizeof(uint32_t));
	err = r->predecessors.slots == NULL ? -ENOMEM
	                                    : state_parse(data, bytes, &reader, &h, error);
	free(data);
	return err;
}

static void add_predecessor(struct runner *r, int link, int own_fd, pid_t pid)
{
	struct predecessors *p = &r->predecessors;

	p->all[p->count++] = (struct predecessor){.link = link, .own_fd = own_fd, .pid = pid};
}

/* The process that this one takes over from is the first in the list until it has retired. */
static int take_counts(struct runner *r, struct handover_message *m)
{
	int err = live_new_shared(m->fds[0], &r->live);

	if (err == 0)
		err = take_slots(r, m->fds[2]);
	if (err == 0) {
		r->takeover_pid = m->pid;
		add_predecessor(r, r->takeover_link, m->fds[1], m->pid);
		m->fds[1] = -1;
		if (m->fd_count == 4) {
			r->status_fd = m->fds[3];
			m->fds[3] = -1;
		}
	}
	handover_close_fds(m);
	return err;
}

static void let_go_of_slots(struct runner *r)
{
	struct predecessors *p = &r->predecessors;

	for (size_t i = 0; i < p->slot_count; i++)
		live_let_go(r->live, p->slots[i]);
	p->slot_count = 0;
}

/* A process has ended: whatever it still counted is given back. */
static void bury(struct runner *r, unsigned i)
{
	struct predecessors *p = &r->predecessors;
	int64_t left = live_bury(r->live, p->all[i].own_fd);
	struct log_line l;

	log_begin(&l, left == 0 ? LOG_INFO : LOG_WARN, "predecessor_ended");
	log_int(&l, "pid", p->all[i].pid);
	if (left < 0)
		log_errno(&l, (int)left);
	else
		log_int(&l, "sessions_lost", left);
	log_uint(&l, "draining", p->count - 1);
	log_end(&l);
	close(p->all[i].link);
	close(p->all[i].own_fd);
	p->all[i] = p->all[--p->count];
	if (p->count == 0)
		let_go_of_slots(r);
}

/* The process that this one was about to take over from has died. */
static void takeover_orphaned(struct runner *r)
{
	if (r->predecessors.count > 0)
		bury(r, 0);
	else
		close(r->takeover_link);
	r->takeover_link = -1;
}

int predecessor_take_counts(struct runner *r)
{
	struct handover_message m;
	int err = -EPIPE;

	if (r->takeover_link >= 0) {
		err = handover_await(r->takeover_link, HANDOVER_COUNTS, PREDECESSOR_PATIENCE_MS,
		                     &m);
		if (err == 0)
			err = take_counts(r, &m);
		if (err == 0)
			return 0;
		if (err != -EPIPE)
			return failed("counts", err);
		takeover_orphaned(r);
	}
	err = live_new_shared(-1, &r->live);
	return err == 0 ? 0 : failed("counts", err);
}

/* ---- sockets ---- */

static void offer(struct runner *r, struct handover_message *m)
{
	char addr[ENDPOINT_TEXT_MAX];
	struct log_line l;

	for (uint32_t i = 0; i < m->count; i++) {
		int err = listeners_offer(reload_listeners(r->reload), &m->sockets[i].addr,
		                          m->fds[i], m->sockets[i].borrowed);

		if (err == 0) {
			m->fds[i] = -1;
			continue;
		}
		log_begin(&l, LOG_WARN, "socket_unusable");
		log_str(&l, "addr", endpoint_format(&m->sockets[i].addr, addr));
		log_errno(&l, err);
		log_end(&l);
	}
	handover_close_fds(m);
}

int predecessor_take_sockets(struct runner *r)
{
	struct handover_message m;
	int err;

	if (r->takeover_link < 0)
		return 0;
	reload_leave_files(r->reload, true);
	do {
		err = handover_await(r->takeover_link, HANDOVER_SOCKETS, PREDECESSOR_PATIENCE_MS,
		                     &m);
		if (err == 0)
			offer(r, &m);
	} while (err == 0);
	if (err == -EPROTO && m.kind == HANDOVER_START)
		return 0;
	if (err != -EPIPE)
		return failed("sockets", err);
	takeover_orphaned(r);
	return 0;
}

/* ---- what was learnt ---- */

static int import(struct runner *r, int fd, bool late, struct fault_watch *faults,
                  struct state_summary *ret)
{
	const struct state_import to = {
		.live = r->live,
		.affinity = r->affinity,
		.ttl_ms = r->config.binding_ttl_secs * 1000,
		.late = late,
		.faults = faults,
	};
	char error[STATE_ERROR_MAX];
	struct log_line l;
	int err = state_import(fd, &to, ret, error);

	if (err == 0)
		return 0;
	log_begin(&l, LOG_WARN, "state_ignored");
	log_str(&l, "path", "(predecessor)");
	log_str(&l, "error", error);
	log_str(&l, "effect", "clients are balanced and backends checked anew");
	log_end(&l);
	return err;
}

static int say(struct runner *r, enum handover_kind kind, int fd)
{
	const struct handover_message m = {
		.kind = kind,
		.version = HANDOVER_VERSION,
		.pid = getpid(),
		.fd_count = fd >= 0,
		.fds = {fd},
	};

	return handover_send(r->takeover_link, &m);
}

/* A state that cannot be used costs bindings, not the upgrade. */
static int take_state(struct runner *r, uint64_t *ret_bindings)
{
	struct state_summary s = {0};
	struct handover_message m;
	int err = handover_await(r->takeover_link, HANDOVER_STATE, PREDECESSOR_PATIENCE_MS, &m);

	if (err != 0)
		return err;
	if (import(r, m.fds[0], false, NULL, &s) == 0)
		*ret_bindings = s.bindings;
	handover_close_fds(&m);
	return say(r, HANDOVER_TAKEN, -1);
}

static int take_rest(struct runner *r, uint64_t *ret_faults)
{
	struct state_summary s = {0};
	struct handover_message m;
	int err = handover_await(r->takeover_link, HANDOVER_GO, PREDECESSOR_PATIENCE_MS, &m);

	if (err != 0)
		return err;
	if (import(r, m.fds[0], false, r->faults, &s) == 0)
		*ret_faults = s.faults;
	for (uint32_t i = 0; i < m.count && r->predecessors.count < PREDECESSORS_MAX; i++) {
		add_predecessor(r, m.fds[1 + 2 * i], m.fds[2 + 2 * i], m.pids[i]);
		m.fds[1 + 2 * i] = -1;
		m.fds[2 + 2 * i] = -1;
	}
	handover_close_fds(&m);
	return 0;
}

int predecessor_take_over(struct runner *r)
{
	uint64_t bindings = 0, faults = 0;
	struct log_line l;
	int err;

	if (r->takeover_link < 0) {
		state_file_load(r->state_file);
		return 0;
	}
	err = say(r, HANDOVER_READY, live_own_fd(r->live));
	if (err == 0)
		err = take_state(r, &bindings);
	if (err == 0)
		err = take_rest(r, &faults);
	if (err != 0 && err != -EPIPE)
		return failed("state", err);
	log_begin(&l, err == 0 ? LOG_INFO : LOG_WARN, "took_over");
	log_int(&l, "pid", getpid());
	log_int(&l, "predecessor", r->takeover_pid);
	log_uint(&l, "bindings", bindings);
	log_uint(&l, "faults", faults);
	log_uint(&l, "draining", r->predecessors.count);
	if (err != 0)
		log_str(&l, "error", "the predecessor died before it had handed over everything");
	log_end(&l);
	if (err != 0) {
		takeover_orphaned(r);
		if (bindings == 0)
			state_file_load(r->state_file);
	}
	return 0;
}

void predecessor_done(struct runner *r)
{
	static const struct timespec pause = {.tv_nsec = RETRY_NS};
	int err = r->takeover_link >= 0 ? say(r, HANDOVER_ACCEPTING, -1) : 0;

	/* Unless it has died, it has to know before this one accepts; how long that may take is its
	 * decision (successor.c). */
	while (err != 0 && err != -EPIPE) {
		nanosleep(&pause, NULL);
		err = say(r, HANDOVER_ACCEPTING, -1);
	}
	r->takeover_link = -1; /* one of the predecessors' now */
	reload_leave_files(r->reload, false);
	while (crew_resume(r->crew) != 0)
		nanosleep(&pause, NULL);
}

/* ---- those that drain ---- */

/* False: it has ended. */
static bool hear(struct runner *r, const struct predecessor *p)
{
	struct state_summary s;

	for (int i = 0; i < NEWS_A_TICK; i++) {
		struct handover_message m;
		int err = handover_receive(p->link, &m);

		if (err == -EPIPE)
			return false;
		if (err != 0)
			return true; /* nothing, or nothing that can be read */
		if (m.kind == HANDOVER_NEWS)
			(void)import(r, m.fds[0], true, NULL, &s);
		handover_close_fds(&m);
	}
	return true;
}

void predecessors_tick(struct runner *r)
{
	for (unsigned i = r->predecessors.count; i-- > 0;) {
		if (!hear(r, &r->predecessors.all[i]))
			bury(r, i);
	}
}

void predecessors_free(struct runner *r)
{
	struct predecessors *p = &r->predecessors;

	/* SIGCONT takes back a SIGSTOP that has been sent and not obeyed yet, as a debugger sends
	 * it when it attaches; and the leak sanitizer is one, at the end of the process. */
	(void)prctl(PR_SET_PDEATHSIG, 0);
	for (unsigned i = 0; i < p->count; i++) {
		close(p->all[i].link);
		close(p->all[i].own_fd);
	}
	free(p->slots);
	*p = (struct predecessors){0};
}
