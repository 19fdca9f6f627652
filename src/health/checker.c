/* The health thread: who is checked, and when.
 *
 * Each target (a backend, or its agent) has a timer for its next check. When it is due the target
 * takes a place among those under way, or waits in line for one, first come first served; scripts,
 * which cost a process each, have a line of their own. A check under way is a flight: a probe, and
 * the timer that ends its time. What comes of it goes to health/target.c, and the next check is due
 * an interval after this one began.
 *
 * A new table comes by mail. A target that is in both tables goes on undisturbed, down if it was
 * down, while its check stays the same; a backend that has moved to another address begins anew.
 * Faults are set only in slots that the present table holds, and taken back before it is let go, so
 * no other backend can ever inherit them. Those that an earlier process has left are adopted with
 * the first table: each then has a target that can end it, or ends there.
 *
 * Nothing here waits for a backend. What this machine lacks (descriptors, memory, ports) never
 * counts against one. */
#include "health/checker.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/pool.h"
#include "health/probe.h"
#include "health/target.h"
#include "net/mailbox.h"
#include "net/timer.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS_MAX 128
/* Processes at one time. */
#define SCRIPTS_MAX 32

enum mail_kind { MAIL_TABLE, MAIL_LEAVE };

struct mail {
	struct message message;
	struct table *table;
};

/* A check under way. */
struct flight {
	struct probe probe;
	struct timer deadline;
	struct target *target;
};

/* Places for checks under way, and who waits for one. */
struct lane {
	struct list waiting; /* targets */
	uint32_t under_way;
	uint32_t places;
};

enum { LANE_CONNECT, LANE_SCRIPT, LANES };

/* Kinds of timers in the wheel. */
enum { TIMER_DUE, TIMER_DEADLINE };

/* Targets by slot; NULL where there is none. */
struct target_map {
	struct target **by_slot;
	uint32_t size;
};

struct checker {
	const struct config *config;
	struct live *live;
	char script_dir[PATH_MAX]; /* absolute; "": none */
	struct mailbox mailbox;
	struct mail leave;
	pthread_t thread;
	bool started;
	bool continued;

	/* The thread's. */
	bool leaving;
	int epoll_fd;
	struct rng rng;
	struct timer_wheel wheel;
	struct table *table;
	struct target_map checks;
	struct target_map agents;
	struct lane lanes[LANES];
	struct object_pool flights;
	struct probe_context context;
	uint64_t trouble_ms; /* logged; 0: never */
};

static bool spec_of(const struct checker *c, const struct target *t, struct check_spec *ret_spec)
{
	return t->agent ? spec_of_agent(c->config, t->row, &t->addr, ret_spec)
	                : spec_of_check(c->config, t->row, &t->addr, ret_spec);
}

/* Something of this machine that keeps checks from being made; now and then. */
static void log_trouble(struct checker *c, const char *event, const struct target *t,
                        const char *reason, uint64_t now_ms)
{
	struct log_line l;

	if (c->trouble_ms != 0 && now_ms - c->trouble_ms < CHECKER_TROUBLE_QUIET_MS)
		return;
	c->trouble_ms = now_ms;
	log_begin(&l, LOG_WARN, event);
	log_str(&l, "backend", live_id(c->live, t->slot));
	log_str(&l, "reason", reason);
	log_end(&l);
}

/* ---- flights ---- */

static struct lane *lane_of(struct checker *c, const struct check_spec *spec)
{
	return &c->lanes[spec->kind == PROBE_SCRIPT ? LANE_SCRIPT : LANE_CONNECT];
}

static void arm_due(struct target *t, uint64_t due_ms)
{
	uint64_t ticks = (due_ms + CHECKER_TICK_MS - 1) / CHECKER_TICK_MS;

	timer_arm(&t->checker->wheel, &t->due, ticks * CHECKER_TICK_MS);
}

static void schedule_next(struct target *t, const struct check_spec *spec, uint64_t now_ms)
{
	uint64_t due_ms = check_next_ms(&t->state, &spec->timing, t->started_ms, &t->checker->rng);

	arm_due(t, due_ms > now_ms ? due_ms : now_ms + 1);
}

/* Gives its place back. Who waits for it is served by start_waiting(). */
static void end_flight(struct target *t)
{
	struct checker *c = t->checker;
	struct flight *f = t->flight;

	timer_cancel(&c->wheel, &f->deadline);
	lane_of(c, &f->probe.spec)->under_way--;
	t->flight = NULL;
	object_pool_put(&c->flights, f);
}

static void finish(struct flight *f, enum probe_verdict verdict, uint64_t now_ms)
{
	struct target *t = f->target;
	struct checker *c = t->checker;
	struct check_spec spec = f->probe.spec;

	if (verdict == PROBE_GOING)
		return;
	if (verdict == PROBE_NOT_RUN)
		log_trouble(c, "health_not_run", t, f->probe.reason, now_ms);
	else
		target_result(t, c->live, &spec, verdict, &f->probe, now_ms);
	end_flight(t);
	schedule_next(t, &spec, now_ms);
}

static void on_deadline(struct timer *timer, uint64_t now_ms)
{
	struct flight *f = list_entry(timer, struct flight, deadline);

	finish(f, probe_expire(&f->probe), now_ms);
}

static void start(struct target *t, const struct check_spec *spec, struct lane *lane,
                  uint64_t now_ms)
{
	struct checker *c = t->checker;
	const struct backend *b = table_backend_in_slot(c->table, t->slot);
	struct flight *f = object_pool_get(&c->flights);
	struct script_about about = {
		.backend = b->id,
		.app = b->app,
		.addr = spec->addr,
		.connections = live_connections(c->live, t->slot),
		.hard_limit = b->hard_limit,
	};

	t->started_ms = now_ms;
	if (f == NULL) {
		log_trouble(c, "health_not_run", t, "out of memory", now_ms);
		schedule_next(t, spec, now_ms);
		return;
	}
	f->target = t;
	t->flight = f;
	lane->under_way++;
	timer_init(&f->deadline, TIMER_DEADLINE);
	timer_arm(&c->wheel, &f->deadline, now_ms + spec->timing.timeout_ms);
	finish(f, probe_start(&f->probe, spec, &about, &c->context), now_ms);
}

static void start_waiting(struct checker *c, uint64_t now_ms)
{
	for (int i = 0; i < LANES; i++) {
		struct lane *lane = &c->lanes[i];

		while (lane->under_way < lane->places && !list_empty(&lane->waiting)) {
			struct target *t = list_entry(lane->waiting.next, struct target, queue);
			struct check_spec spec;

			list_remove(&t->queue);
			CHECK(spec_of(c, t, &spec));
			if (now_ms - t->wanted_ms > spec.timing.inter_ms)
				log_trouble(
					c, "health_late", t,
					"too many checks under way: EDGEPROXY_HEALTH_CONCURRENCY",
					now_ms);
			start(t, &spec, lane, now_ms);
		}
	}
}

/* All start from start_waiting(), after what ends in this turn has given back its place. */
static void on_due(struct timer *timer, uint64_t now_ms)
{
	struct target *t = list_entry(timer, struct target, due);
	struct check_spec spec;

	CHECK(spec_of(t->checker, t, &spec));
	t->wanted_ms = now_ms;
	list_push_back(&lane_of(t->checker, &spec)->waiting, &t->queue);
}

/* ---- targets ---- */

static struct target *target_in(const struct target_map *m, uint32_t slot)
{
	return slot < m->size ? m->by_slot[slot] : NULL;
}

/* Makes room for slots below end. 0 or -ENOMEM. */
static int grow(struct target_map *m, uint32_t end)
{
	struct target **more;

	if (end <= m->size)
		return 0;
	more = reallocarray(m->by_slot, end, sizeof(const void *));
	if (more == NULL)
		return -ENOMEM;
	memset(more + m->size, 0, (end - m->size) * sizeof(const void *));
	m->by_slot = more;
	m->size = end;
	return 0;
}

/* Ends what is under way, and the waiting. */
static void interrupt(struct target *t)
{
	if (t->flight != NULL) {
		probe_cancel(&t->flight->probe);
		end_flight(t);
	}
	list_remove(&t->queue);
	timer_cancel(&t->checker->wheel, &t->due);
}

static void drop(struct checker *c, struct target_map *m, uint32_t slot, bool forget)
{
	struct target *t = m->by_slot[slot];

	if (t == NULL)
		return;
	interrupt(t);
	if (forget)
		target_forget(t, c->live);
	m->by_slot[slot] = NULL;
	free(t);
}

/* A backend that is in maintenance is left alone, and begins anew when it is back. */
static bool is_checked(const struct backend *b)
{
	return !b->deleted && b->state != STATE_MAINT;
}

static void begin(struct target *t, const struct check_spec *spec, uint64_t now_ms)
{
	check_begin(&t->state, &spec->timing, now_ms);
	t->silent = false;
	arm_due(t, check_first_ms(&spec->timing, now_ms, &t->checker->rng));
}

static void add(struct checker *c, struct target_map *m, const struct target *wanted,
                const struct check_spec *spec, uint64_t now_ms)
{
	struct target *t = malloc(sizeof(*t));

	if (t == NULL || grow(m, wanted->slot + 1) != 0) {
		free(t);
		log_trouble(c, "health_not_run", wanted, "out of memory", now_ms);
		target_forget(wanted, c->live);
		return;
	}
	*t = *wanted;
	list_init(&t->queue);
	timer_init(&t->due, TIMER_DUE);
	m->by_slot[t->slot] = t;
	begin(t, spec, now_ms);
	if (c->table == NULL)
		target_adopt(t, c->live, c->continued);
}

/* NULL: the environment's. */
static bool same_row(const struct health_check_row *a, const struct health_check_row *b)
{
	return a == NULL || b == NULL ? a == b : health_check_equal(a, b);
}

/* A target that was there before: its row is still there, as the table is that had it. */
static void renew(struct target *t, const struct target *wanted, const struct check_spec *spec,
                  uint64_t now_ms)
{
	bool moved = !endpoint_equal(&t->addr, &wanted->addr);
	bool same = !moved && same_row(t->row, wanted->row);

	t->row = wanted->row;
	t->addr = wanted->addr;
	if (same) {
		/* The texts of the old table are about to go. */
		if (t->flight != NULL)
			t->flight->probe.spec = *spec;
		return;
	}
	interrupt(t);
	if (moved) {
		target_forget(t, t->checker->live);
		begin(t, spec, now_ms);
	} else {
		arm_due(t, check_first_ms(&spec->timing, now_ms, &t->checker->rng));
	}
}

/* Makes the targets of one map those of the table. */
static void adopt_targets(struct checker *c, struct target_map *m, bool agents, struct table *table,
                          uint64_t now_ms)
{
	for (uint32_t slot = 0; slot < m->size; slot++)
		if (table_backend_in_slot(table, slot) == NULL)
			drop(c, m, slot, true);
	for (uint32_t i = 0; i < table->backend_count; i++) {
		const struct backend *b = &table->backends[i];
		struct target *t = target_in(m, b->slot);
		struct target wanted = {
			.checker = c,
			.slot = b->slot,
			.agent = agents,
			.row = health_check_find(table->checks, table->check_count, b->id, b->app),
			.addr = b->addr,
		};
		struct check_spec spec;

		if (!is_checked(b) || !spec_of(c, &wanted, &spec)) {
			if (t != NULL)
				drop(c, m, b->slot, true);
			else if (c->table == NULL)
				target_forget(&wanted, c->live);
		} else if (t != NULL) {
			renew(t, &wanted, &spec, now_ms);
		} else {
			add(c, m, &wanted, &spec, now_ms);
		}
	}
}

/* Takes over the reference. */
static void adopt_table(struct checker *c, struct table *table, uint64_t now_ms)
{
	struct table *before = c->table;

	adopt_targets(c, &c->checks, false, table, now_ms);
	adopt_targets(c, &c->agents, true, table, now_ms);
	c->table = table;
	table_unref(before);
}

/* ---- mail ---- */

static void read_mail(struct checker *c, uint64_t now_ms)
{
	struct message *m = mailbox_take(&c->mailbox);
	struct table *latest = NULL;

	while (m != NULL) {
		struct mail *mail = list_entry(m, struct mail, message);

		m = m->next;
		if (mail->message.kind == MAIL_LEAVE) {
			c->leaving = true;
			continue;
		}
		table_unref(latest);
		latest = mail->table;
		free(mail);
	}
	if (latest != NULL)
		adopt_table(c, latest, now_ms);
}

int checker_post_table(struct checker *c, struct table *table)
{
	struct mail *mail = malloc(sizeof(*mail));

	if (mail == NULL)
		return -ENOMEM;
	mail->message.kind = MAIL_TABLE;
	mail->table = table_ref(table);
	mailbox_send(&c->mailbox, &mail->message);
	return 0;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
	struct checker *c = arg;
	struct epoll_event events[EVENTS_MAX];

	pthread_setname_np(pthread_self(), "health");
	while (!c->leaving) {
		int wait_ms = timer_wheel_wait_ms(&c->wheel, clock_now_ms());
		int n = epoll_wait(c->epoll_fd, events, EVENTS_MAX, wait_ms);
		uint64_t now_ms = clock_now_ms();
		bool mail = false;

		for (int i = 0; i < n; i++) {
			struct flight *f;

			if (events[i].data.ptr == NULL) {
				mail = true;
				continue;
			}
			f = list_entry(events[i].data.ptr, struct flight, probe);
			finish(f, probe_event(&f->probe, events[i].events, &c->context), now_ms);
		}
		timer_wheel_advance(&c->wheel, now_ms);
		/* After the batch: a new table ends flights that events may still name. */
		if (mail)
			read_mail(c, now_ms);
		start_waiting(c, now_ms);
	}
	return NULL;
}

/* ---- the start and the end ---- */

static int find_script_dir(struct checker *c)
{
	const char *dir = c->config->health_script_dir;
	struct stat st;

	if (dir[0] == '\0')
		return 0;
	if (realpath(dir, c->script_dir) == NULL || stat(c->script_dir, &st) != 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int open_loop(struct checker *c)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int err;

	c->context.buffer = malloc(PROBE_BUFFER_BYTES);
	if (c->context.buffer == NULL)
		return -ENOMEM;
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll_fd < 0)
		return -errno;
	err = mailbox_init(&c->mailbox);
	if (err != 0)
		return err;
	if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->mailbox.event_fd, &event) == 0)
		return 0;
	err = -errno;
	mailbox_done(&c->mailbox);
	c->mailbox.event_fd = -1;
	return err;
}

static int start_thread(struct checker *c)
{
	sigset_t all, before;
	int err;

	/* Signals are the control thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	c->started = err == 0;
	return -err;
}

int checker_new(const struct checker_options *options, struct checker **ret_checker)
{
	struct checker *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL)
		return -ENOMEM;
	c->config = options->config;
	c->live = options->live;
	c->rng.state = options->seed;
	c->epoll_fd = -1;
	c->mailbox.event_fd = -1;
	timer_wheel_init(&c->wheel, clock_now_ms());
	timer_wheel_on(&c->wheel, TIMER_DUE, on_due);
	timer_wheel_on(&c->wheel, TIMER_DEADLINE, on_deadline);
	object_pool_init(&c->flights, sizeof(struct flight));
	for (int i = 0; i < LANES; i++)
		list_init(&c->lanes[i].waiting);
	c->lanes[LANE_CONNECT].places = options->concurrency;
	c->lanes[LANE_SCRIPT].places = options->concurrency < SCRIPTS_MAX ? options->concurrency
	                                                                  : SCRIPTS_MAX;
	err = find_script_dir(c);
	if (err == 0)
		err = open_loop(c);
	if (err != 0) {
		checker_free(c);
		return err;
	}
	c->context.epoll_fd = c->epoll_fd;
	c->context.script_dir = c->script_dir;
	*ret_checker = c;
	return 0;
}

int checker_start(struct checker *c, struct table *table, bool continued)
{
	c->continued = continued;
	adopt_table(c, table_ref(table), clock_now_ms());
	return start_thread(c);
}

static void end_all(struct checker *c, struct target_map *m)
{
	for (uint32_t slot = 0; slot < m->size; slot++)
		drop(c, m, slot, false);
	free(m->by_slot);
}

void checker_free(struct checker *c)
{
	if (c == NULL)
		return;
	if (c->started) {
		c->leave.message.kind = MAIL_LEAVE;
		mailbox_send(&c->mailbox, &c->leave.message);
		pthread_join(c->thread, NULL);
	}
	end_all(c, &c->checks);
	end_all(c, &c->agents);
	table_unref(c->table);
	object_pool_done(&c->flights);
	if (c->mailbox.event_fd >= 0)
		mailbox_done(&c->mailbox);
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	free(c->context.buffer);
	free(c);
}
