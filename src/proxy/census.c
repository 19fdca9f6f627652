/* Workers write into one array: each takes the next free place by an atomic addition, so the
 * records of several mix, and each is written by one. The last part that is finished publishes all
 * of them.
 *
 * Nothing here is on the way of a connection, and an idle census costs nothing: the loop asks
 * whether the list of censuses is empty. */
#include "proxy/census.h"

#include "proxy/closing.h"
#include "proxy/session.h"
#include "proxy/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct census {
	struct census_filter filter;
	bool end;
	size_t most;
	int wake_fd;
	atomic_uint refs;
	atomic_uint unfinished; /* parts */
	atomic_size_t matched;
	atomic_size_t seen;
	struct census_record *records;
	struct census_part parts[];
};

/* ---- ids ---- */

char *session_id_format(const struct session_id *id, char buf[SESSION_ID_TEXT_MAX])
{
	snprintf(buf, SESSION_ID_TEXT_MAX, "%u-%" PRIx64, id->worker, id->accept_ns);
	return buf;
}

/* Only in the spelling that session_id_format() has. */
int session_id_parse(const char *text, struct session_id *ret_id)
{
	char again[SESSION_ID_TEXT_MAX];
	struct session_id id;
	int end = 0;

	if (sscanf(text, "%5u-%16" SCNx64 "%n", &id.worker, &id.accept_ns, &end) != 2 ||
	    text[end] != '\0' || strcmp(session_id_format(&id, again), text) != 0)
		return -EINVAL;
	*ret_id = id;
	return 0;
}

static struct session_id id_of(const struct session *s)
{
	return (struct session_id){
		.worker = worker_number(s->worker),
		.accept_ns = s->accept_ns,
	};
}

/* ---- life ---- */

int census_new(const struct census_filter *filter, bool end, size_t most, int wake_fd,
               unsigned workers, struct census **ret_census)
{
	struct census *c = calloc(1, sizeof(*c) + workers * sizeof(c->parts[0]));

	CHECK(most <= CENSUS_RECORDS_MAX);
	if (c == NULL)
		return -ENOMEM;
	c->filter = *filter;
	c->end = end;
	c->most = most;
	c->records = calloc(most + 1, sizeof(c->records[0]));
	c->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
	if (c->records == NULL || c->wake_fd < 0) {
		int err = c->records == NULL ? -ENOMEM : -errno;

		if (c->wake_fd >= 0)
			close(c->wake_fd);
		free(c->records);
		free(c);
		return err;
	}
	for (unsigned i = 0; i < workers; i++) {
		list_init(&c->parts[i].node);
		c->parts[i].census = c;
	}
	atomic_init(&c->refs, workers + 1);
	atomic_init(&c->unfinished, workers);
	*ret_census = c;
	return 0;
}

void census_unref(struct census *c)
{
	if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	close(c->wake_fd);
	free(c->records);
	free(c);
}

bool census_is_done(const struct census *c)
{
	return atomic_load_explicit(&c->unfinished, memory_order_acquire) == 0;
}

const struct census_record *census_records(const struct census *c, size_t *ret_count)
{
	size_t matched = census_matched(c);

	*ret_count = matched < c->most ? matched : c->most;
	return c->records;
}

size_t census_matched(const struct census *c)
{
	return atomic_load_explicit(&c->matched, memory_order_relaxed);
}

size_t census_seen(const struct census *c)
{
	return atomic_load_explicit(&c->seen, memory_order_relaxed);
}

struct census_part *census_part(struct census *c, unsigned n)
{
	return &c->parts[n];
}

void census_leave(struct census_part *part)
{
	struct census *c = part->census;
	uint64_t one = 1;

	/* The analyser cannot see that each part has a reference of its own.
	 * NOLINTBEGIN(clang-analyzer-unix.Malloc) */
	list_remove(&part->node);
	if (atomic_fetch_sub_explicit(&c->unfinished, 1, memory_order_acq_rel) == 1)
		(void)!write(c->wake_fd, &one, sizeof(one));
	census_unref(c);
	/* NOLINTEND(clang-analyzer-unix.Malloc) */
}

/* ---- looking ---- */

static const char *app_of(const struct session *s)
{
	const struct backend *b;

	if (s->service->app[0] != '\0' || s->slot == LIVE_NO_SLOT)
		return s->service->app;
	b = table_backend_in_slot(s->worker->table, s->slot);
	return b != NULL ? b->app : "";
}

static bool matches(const struct census_filter *f, const struct session *s)
{
	if (f->by_id && (f->id.accept_ns != s->accept_ns || f->id.worker != id_of(s).worker))
		return false;
	if (f->by_client && !prefix_contains(&f->client, &s->client.ip))
		return false;
	if (f->country[0] != '\0' && memcmp(f->country, s->country, sizeof(s->country)) != 0)
		return false;
	if (f->backend[0] != '\0' &&
	    (s->slot == LIVE_NO_SLOT ||
	     strcmp(f->backend, live_id(s->worker->shared->live, s->slot)) != 0))
		return false;
	return f->app[0] == '\0' || strcmp(f->app, app_of(s)) == 0;
}

static void copy_text(char *to, size_t room, const char *text)
{
	snprintf(to, room, "%s", text);
}

static void record(struct census_record *r, const struct session *s)
{
	const struct worker *w = s->worker;

	*r = (struct census_record){
		.id = id_of(s),
		.client = s->client,
		.region = s->region,
		.state = s->state,
		.region_score = s->region_score,
		.connected = s->connected,
		.from_affinity = s->from_affinity,
		.ending = s->ending,
		.age_ms = (w->now_ns > s->accept_ns ? w->now_ns - s->accept_ns : 0) / 1000000,
		.bytes = {s->dir[CLIENT].bytes, s->dir[BACKEND].bytes},
		.connect_us = s->connected ? s->connect_us : 0,
		.queue_us = s->queued ? s->queue_us : 0,
		.retries = s->retries,
	};
	/* In ABORT that field is a deadline. */
	if (s->state == SESSION_RELAY && w->now_ms > s->active_ms)
		r->idle_ms = w->now_ms - s->active_ms;
	memcpy(r->country, s->country, sizeof(s->country));
	copy_text(r->service, sizeof(r->service), s->service->name);
	copy_text(r->app, sizeof(r->app), app_of(s));
	if (s->slot == LIVE_NO_SLOT)
		return;
	r->backend_addr = s->backend_addr;
	copy_text(r->backend, sizeof(r->backend), live_id(w->shared->live, s->slot));
}

/* True: that took some work. */
static bool look_at(struct census *c, struct session *s)
{
	size_t n;

	if (!matches(&c->filter, s))
		return false;
	n = atomic_fetch_add_explicit(&c->matched, 1, memory_order_relaxed);
	if (n < c->most)
		record(&c->records[n], s);
	if (c->end)
		session_close(s, CLOSE_OPERATOR);
	return c->end || n < c->most;
}

static struct census_part *first_part(const struct worker *w)
{
	return list_entry(w->censuses.next, struct census_part, node);
}

static void begin_next(struct worker *w)
{
	if (!list_empty(&w->censuses))
		walk_start(&w->walks, WALK_CENSUS, &w->sessions);
}

void census_join(struct worker *w, struct census_part *part)
{
	bool idle = list_empty(&w->censuses);

	list_push_back(&w->censuses, &part->node);
	if (idle)
		begin_next(w);
}

void census_turn(struct worker *w)
{
	struct census_part *part = first_part(w);
	unsigned looks = 0;
	unsigned deeds = 0;
	bool over = false;

	while (looks < CENSUS_LOOKS_A_TURN && deeds < CENSUS_DEEDS_A_TURN) {
		struct list *node = walk_next(&w->walks, WALK_CENSUS, &w->sessions);

		over = node == NULL;
		if (over)
			break;
		looks++;
		deeds += look_at(part->census, list_entry(node, struct session, node));
		closing_run(w); /* who asked for ends is told when they are over */
	}
	atomic_fetch_add_explicit(&part->census->seen, looks, memory_order_relaxed);
	if (!over)
		return;
	census_leave(part);
	begin_next(w);
}

void census_stop(struct worker *w)
{
	walk_stop(&w->walks, WALK_CENSUS);
	while (!list_empty(&w->censuses))
		census_leave(first_part(w));
}
