/* The health thread: who is checked. When each is, and what is under way, is the schedule's
 * (schedule.c); this file has the targets of the present table, the mail and the loop.
 *
 * A new table comes by mail. A target that is in both tables goes on undisturbed, down if it was
 * down, while its check stays the same; a backend that has moved to another address begins anew.
 * Faults are set only in slots that the present table holds, and taken back before it is let go, so
 * no other backend can ever inherit them. Those that an earlier process has left are adopted with
 * the first table: each then has a target that can end it, or ends there.
 *
 * Nothing here waits for a backend. */
#include "health/checker.h"

#include "base/clock.h"
#include "base/list.h"
#include "health/schedule.h"
#include "health/target.h"
#include "net/mailbox.h"

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

enum mail_kind { MAIL_TABLE, MAIL_LEAVE };

struct mail {
	struct message message;
	struct table *table;
};

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
	struct table *table;
	struct target_map checks;
	struct target_map agents;
	struct schedule schedule;
};

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

static void drop(struct checker *c, struct target_map *m, uint32_t slot, bool forget)
{
	struct target *t = m->by_slot[slot];

	if (t == NULL)
		return;
	schedule_remove(t);
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

/* Nothing is known of it. */
static void begin(struct target *t, const struct check_spec *spec, uint64_t now_ms)
{
	check_begin(&t->state, &spec->timing, now_ms);
	t->silent = false;
}

static void add(struct checker *c, struct target_map *m, const struct target *wanted,
                const struct check_spec *spec, uint64_t now_ms)
{
	struct target *t = malloc(sizeof(*t));

	if (t == NULL || grow(m, wanted->slot + 1) != 0) {
		free(t);
		schedule_trouble(&c->schedule, "health_not_run", wanted, "out of memory", now_ms);
		target_forget(wanted, c->live);
		return;
	}
	*t = *wanted;
	m->by_slot[t->slot] = t;
	begin(t, spec, now_ms);
	schedule_add(&c->schedule, t, spec, now_ms);
	if (c->table == NULL)
		target_adopt(t, c->live, c->continued);
}

/* NULL: the environment's. */
static bool same_row(const struct health_check_row *a, const struct health_check_row *b)
{
	return a == NULL || b == NULL ? a == b : health_check_equal(a, b);
}

/* A target that was there before: its row is still there, as the table is that had it. */
static void renew(struct checker *c, struct target *t, const struct target *wanted,
                  const struct check_spec *spec, uint64_t now_ms)
{
	bool moved = !endpoint_equal(&t->addr, &wanted->addr);
	bool same = !moved && same_row(t->row, wanted->row);

	t->row = wanted->row;
	t->addr = wanted->addr;
	if (same) {
		/* The texts of the old table are about to go. */
		schedule_respec(t, spec);
		return;
	}
	schedule_restart(t, spec, now_ms);
	if (moved) {
		target_forget(t, c->live);
		begin(t, spec, now_ms);
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
			.slot = b->slot,
			.agent = agents,
			.row = health_check_find(table->checks, table->check_count, b->id, b->app),
			.addr = b->addr,
		};
		struct check_spec spec;

		if (!is_checked(b) || !target_spec(&wanted, c->config, &spec)) {
			if (t != NULL)
				drop(c, m, b->slot, true);
			else if (c->table == NULL)
				target_forget(&wanted, c->live);
		} else if (t != NULL) {
			renew(c, t, &wanted, &spec, now_ms);
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
	c->schedule.table = table;
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
		int wait_ms = schedule_wait_ms(&c->schedule, clock_now_ms());
		int n = epoll_wait(c->epoll_fd, events, EVENTS_MAX, wait_ms);
		uint64_t now_ms = clock_now_ms();
		bool mail = false;

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				mail = true;
			else
				schedule_event(&c->schedule, events[i].data.ptr, events[i].events,
				               now_ms);
		}
		schedule_advance(&c->schedule, now_ms);
		/* After the batch: a new table ends flights that events may still name. */
		if (mail)
			read_mail(c, now_ms);
		schedule_start(&c->schedule, now_ms);
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
	c->epoll_fd = -1;
	c->mailbox.event_fd = -1;
	err = find_script_dir(c);
	if (err == 0)
		err = open_loop(c);
	if (err == 0)
		err = schedule_init(&c->schedule,
		                    &(struct schedule_options){
					    .config = c->config,
					    .live = c->live,
					    .concurrency = options->concurrency,
					    .seed = options->seed,
					    .epoll_fd = c->epoll_fd,
					    .script_dir = c->script_dir,
				    },
		                    clock_now_ms());
	if (err != 0) {
		checker_free(c);
		return err;
	}
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
	schedule_done(&c->schedule);
	if (c->mailbox.event_fd >= 0)
		mailbox_done(&c->mailbox);
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	free(c);
}
