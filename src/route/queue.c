/* The queue of clients without a place.
 *
 * Waiters stand in lines by the hash of their app, and those of every app in a line of their own,
 * so that a place of one app is not looked for among the waiters of another. In a line they are in
 * the order of their tickets, and of two lines the lower ticket goes first. Somebody who has tried
 * a backend is passed over for places there, and only for those.
 *
 * Nobody may wait while there is a place for him. Two things could let that happen. A place is
 * given back between a client's look and its joining: the length is raised before the client looks
 * again, and a release reads the length after it has lowered the count, all in one order (seq_cst),
 * so one of the two sees the other. A place appears without a release (a new table, a fault that
 * is gone): whoever learns of it offers it, and the workers offer everything once in a while.
 *
 * A served waiter stays in a list of its owner's until that takes it, or until it leaves; so a
 * message to the owner names nobody and cannot come too late for anybody. */
#include "route/queue.h"

#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LINES 256
#define LINE_EVERY_APP LINES

struct line {
	struct list waiters;
	atomic_uint length;
};

struct queue {
	_Alignas(64) atomic_uint length; /* read by all, written when somebody waits */

	_Alignas(64) pthread_mutex_t lock;
	uint32_t max;
	uint64_t last_ticket;
	struct list *served; /* by owner */
	struct line lines[LINES + 1];
};

struct queue *queue_new(uint32_t max, unsigned owners)
{
	struct queue *q = aligned_alloc(_Alignof(struct queue), sizeof(*q));

	if (q == NULL)
		return NULL;
	memset(q, 0, sizeof(*q));
	q->served = calloc(owners, sizeof(*q->served));
	if (q->served == NULL) {
		free(q);
		return NULL;
	}
	q->max = max;
	atomic_init(&q->length, 0);
	pthread_mutex_init(&q->lock, NULL);
	for (unsigned i = 0; i < owners; i++)
		list_init(&q->served[i]);
	for (unsigned i = 0; i <= LINES; i++) {
		list_init(&q->lines[i].waiters);
		atomic_init(&q->lines[i].length, 0);
	}
	return q;
}

void queue_free(struct queue *q)
{
	if (q == NULL)
		return;
	CHECK(queue_length(q) == 0);
	pthread_mutex_destroy(&q->lock);
	free(q->served);
	free(q);
}

uint32_t queue_length(const struct queue *q)
{
	return atomic_load_explicit(&q->length, memory_order_seq_cst);
}

static uint32_t line_of(const char *app)
{
	if (app[0] == '\0')
		return LINE_EVERY_APP;
	return (uint32_t)(hash_bytes(app, strlen(app), 0) % LINES);
}

static bool line_empty(const struct queue *q, uint32_t line)
{
	return atomic_load_explicit(&q->lines[line].length, memory_order_relaxed) == 0;
}

bool queue_wanted(const struct queue *q, const char *app)
{
	return queue_length(q) != 0 &&
	       (!line_empty(q, LINE_EVERY_APP) || !line_empty(q, line_of(app)));
}

/* Before the first whose ticket is higher. A new ticket is the highest. */
static void insert(struct list *waiters, struct waiter *w, bool is_new)
{
	struct list *at = is_new ? waiters : waiters->next;

	while (at != waiters && list_entry(at, struct waiter, node)->ticket < w->ticket)
		at = at->next;
	list_push_back(at, &w->node);
}

int queue_join(struct queue *q, struct waiter *w)
{
	bool is_new = w->ticket == 0;

	CHECK(w->state == WAITER_OUT);
	pthread_mutex_lock(&q->lock);
	if (is_new && queue_length(q) >= q->max) {
		pthread_mutex_unlock(&q->lock);
		return -ENOSPC;
	}
	if (is_new)
		w->ticket = ++q->last_ticket;
	w->line = line_of(w->app);
	w->state = WAITER_WAITING;
	insert(&q->lines[w->line].waiters, w, is_new);
	atomic_fetch_add_explicit(&q->lines[w->line].length, 1, memory_order_seq_cst);
	atomic_fetch_add_explicit(&q->length, 1, memory_order_seq_cst);
	pthread_mutex_unlock(&q->lock);
#ifndef __SANITIZE_THREAD__ /* which does not know fences */
	atomic_thread_fence(memory_order_seq_cst);
#endif
	return 0;
}

/* The next three are called with the lock held. */

static void remove_waiting(struct queue *q, struct waiter *w)
{
	list_remove(&w->node);
	atomic_fetch_sub_explicit(&q->lines[w->line].length, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&q->length, 1, memory_order_relaxed);
}

static struct waiter *first_in(struct queue *q, uint32_t line, const char *app, uint32_t slot)
{
	struct list *waiters = &q->lines[line].waiters;

	for (struct list *n = waiters->next; n != waiters; n = n->next) {
		struct waiter *w = list_entry(n, struct waiter, node);

		if (strcmp(w->app, app) == 0 && !tried_has(w->tried, slot))
			return w;
	}
	return NULL;
}

static struct waiter *first_for(struct queue *q, const struct backend *b)
{
	struct waiter *of_app = first_in(q, line_of(b->app), b->app, b->slot);
	struct waiter *of_all = first_in(q, LINE_EVERY_APP, "", b->slot);

	if (of_app == NULL || (of_all != NULL && of_all->ticket < of_app->ticket))
		return of_all;
	return of_app;
}

/* live NULL: the place is reserved already. */
static uint32_t give(struct queue *q, struct live *live, const struct backend *b)
{
	uint32_t owner = QUEUE_NOBODY;
	struct waiter *w;

	if (!queue_wanted(q, b->app))
		return QUEUE_NOBODY;
	pthread_mutex_lock(&q->lock);
	w = first_for(q, b);
	if (w != NULL && (live == NULL || live_reserve(live, b->slot, b->hard_limit))) {
		remove_waiting(q, w);
		w->state = WAITER_SERVED;
		w->slot = b->slot;
		owner = w->owner;
		list_push_back(&q->served[owner], &w->node);
	}
	pthread_mutex_unlock(&q->lock);
	return owner;
}

uint32_t queue_pass(struct queue *q, const struct backend *b)
{
	return give(q, NULL, b);
}

uint32_t queue_offer(struct queue *q, struct live *live, const struct backend *b)
{
	return give(q, live, b);
}

uint32_t queue_leave(struct queue *q, struct waiter *w)
{
	uint32_t slot = LIVE_NO_SLOT;

	pthread_mutex_lock(&q->lock);
	switch (w->state) {
	case WAITER_OUT:
		break;
	case WAITER_WAITING:
		remove_waiting(q, w);
		break;
	case WAITER_SERVED:
		list_remove(&w->node);
		slot = w->slot;
		break;
	}
	w->state = WAITER_OUT;
	pthread_mutex_unlock(&q->lock);
	return slot;
}

struct waiter *queue_take(struct queue *q, uint32_t owner, uint32_t *ret_slot)
{
	struct waiter *w = NULL;

	pthread_mutex_lock(&q->lock);
	if (!list_empty(&q->served[owner])) {
		w = list_entry(q->served[owner].next, struct waiter, node);
		list_remove(&w->node);
		w->state = WAITER_OUT;
		*ret_slot = w->slot;
	}
	pthread_mutex_unlock(&q->lock);
	return w;
}
