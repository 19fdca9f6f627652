/* A hash table for finding, and two lists for the clock: the alive and the late, each ordered by
 * when it was last heard of, so that a heartbeat costs a move to the end and a tick looks at heads
 * only.
 *
 * It does no I/O and trusts its caller to write down what it says. */
#include "registry/registry.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 32768 /* a power of two; four entries in each at the most there can be */

struct registry {
	uint64_t ttl_ms;
	uint64_t forget_ms;
	size_t count;
	unsigned round;
	struct list alive;
	struct list late;
	struct registration *buckets[BUCKETS];
};

struct registry *registry_new(uint64_t ttl_ms, uint64_t forget_ms)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->ttl_ms = ttl_ms;
	r->forget_ms = forget_ms;
	list_init(&r->alive);
	list_init(&r->late);
	return r;
}

void registry_free(struct registry *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (r->buckets[i] != NULL) {
			struct registration *e = r->buckets[i];

			r->buckets[i] = e->next;
			free(e);
		}
	}
	free(r);
}

static struct registration **bucket_of(struct registry *r, const char *id)
{
	return &r->buckets[hash_bytes(id, strlen(id), 0) % BUCKETS];
}

struct registration *registry_find(struct registry *r, const char *id)
{
	struct registration *e = *bucket_of(r, id);

	while (e != NULL && strcmp(e->id, id) != 0)
		e = e->next;
	return e;
}

size_t registry_count(const struct registry *r)
{
	return r->count;
}

/* Puts e where it belongs by last_ms: nearly always at the end. */
static void put_in_order(struct registry *r, struct registration *e)
{
	struct list *head = e->late ? &r->late : &r->alive;
	struct list *after;

	list_remove(&e->order);
	after = head->prev;
	while (after != head && list_entry(after, struct registration, order)->last_ms > e->last_ms)
		after = after->prev;
	list_push_back(after->next, &e->order);
}

static int insert(struct registry *r, const char *id, struct registration **ret)
{
	struct registration **bucket = bucket_of(r, id);
	struct registration *e;

	if (r->count == REGISTRATIONS_MAX)
		return -ENOSPC;
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	strncpy(e->id, id, sizeof(e->id) - 1);
	list_init(&e->order);
	e->next = *bucket;
	*bucket = e;
	r->count++;
	*ret = e;
	return 0;
}

static void set_app(struct registration *e, const char *app)
{
	memset(e->app, 0, sizeof(e->app));
	strncpy(e->app, app, sizeof(e->app) - 1);
}

int registry_add(struct registry *r, const char *id, const char *app, uint64_t now_ms)
{
	struct registration *e = registry_find(r, id);
	int err = e == NULL ? insert(r, id, &e) : 0;

	if (err != 0)
		return err;
	set_app(e, app);
	e->round = r->round;
	e->late = false;
	registry_beat(r, e, now_ms);
	return 0;
}

void registry_beat(struct registry *r, struct registration *e, uint64_t now_ms)
{
	e->heard = true;
	e->last_ms = now_ms;
	put_in_order(r, e);
}

void registry_set_late(struct registry *r, struct registration *e, bool late)
{
	e->late = late;
	put_in_order(r, e);
}

void registry_remove(struct registry *r, struct registration *e)
{
	struct registration **at = bucket_of(r, e->id);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	list_remove(&e->order);
	free(e);
	r->count--;
}

static size_t collect(struct list *head, uint64_t now_ms, uint64_t silence_ms,
                      struct registration **ret_due, size_t max)
{
	size_t n = 0;

	for (struct list *l = head->next; l != head && n < max; l = l->next) {
		struct registration *e = list_entry(l, struct registration, order);

		if (now_ms < e->last_ms + silence_ms)
			break;
		ret_due[n++] = e;
	}
	return n;
}

size_t registry_due(struct registry *r, uint64_t now_ms, struct registration **ret_due, size_t max)
{
	size_t n = collect(&r->alive, now_ms, r->ttl_ms, ret_due, max);

	if (r->forget_ms != 0)
		n += collect(&r->late, now_ms, r->forget_ms, ret_due + n, max - n);
	return n;
}

void registry_sync_begin(struct registry *r)
{
	r->round++;
}

int registry_sync(struct registry *r, const char *id, const char *app, bool late, uint64_t now_ms)
{
	struct registration *e = registry_find(r, id);

	if (e == NULL) {
		int err = insert(r, id, &e);

		if (err != 0)
			return err;
		e->last_ms = now_ms;
	}
	set_app(e, app);
	e->round = r->round;
	e->late = late;
	put_in_order(r, e);
	return 0;
}

void registry_sync_end(struct registry *r)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct registration *e = r->buckets[i];

		while (e != NULL) {
			struct registration *next = e->next;

			if (e->round != r->round)
				registry_remove(r, e);
			e = next;
		}
	}
}
