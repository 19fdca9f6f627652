/* The live state of backends. A table says what a backend should be; here is what it is now, under
 * a slot that stays the same from table to table.
 *
 * Three kinds of memory (live_memory.h), by who touches them. The connection counts
 * (connection_counts.c) are a dense array of atomics: every worker adds to them and every decision
 * scans them, so nothing else lies between. The slots beside them (id, generation, number of tables
 * that hold it) change only in the control thread, and only while nobody holds the slot; the count
 * of holders is atomic because the last user of a table, in whatever thread, lets go, and so are
 * the marks of a slot and the outcomes of its connections (live_marks.c). The index from id to slot
 * is the control thread's alone.
 *
 * Why a slot can be taken back without a lock: a worker reserves only through a table that it has,
 * and the table holds the slot. When the control thread reads no holders (acquire, against the
 * release in live_let_go()), every reservation that will ever be made has been made, and the count
 * can only fall; when it then reads 0 connections (acquire, against the release in live_release()),
 * the last session has stopped reading the id.
 *
 * In an upgrade the counts are memory of two or more processes. Each takes from and gives back to
 * the common count, and tells its own count after taking and before giving back: whenever it may be
 * killed, its own count is never more than its part of the common one, so giving that back for it
 * can only leave a place unused, never pass a limit.
 *
 * Address space for all slots is mapped at once, memory comes page by page as slots are used, and
 * no pointer ever moves. */
#include "route/live.h"

#include "base/hash.h"
#include "base/lazy_memory.h"
#include "route/connection_counts.h"
#include "route/limits.h"
#include "route/live_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS_MIN 64

static uint32_t *buckets_new(uint32_t count)
{
	uint32_t *buckets = malloc(count * sizeof(*buckets));

	if (buckets != NULL)
		memset(buckets, 0xff, count * sizeof(*buckets)); /* LIVE_NO_SLOT */
	return buckets;
}

/* All but the counts. NULL: out of memory. */
static struct live *live_make(void)
{
	struct live *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->counts_fd = -1;
	l->own_fd = -1;
	l->free = LIVE_NO_SLOT;
	l->bucket_count = BUCKETS_MIN;
	l->buckets = buckets_new(BUCKETS_MIN);
	l->slots = lazy_memory_init(&l->slot_memory, LIVE_SLOTS_MAX * sizeof(*l->slots));
	l->outcomes = lazy_memory_init(&l->outcome_memory, LIVE_SLOTS_MAX * sizeof(*l->outcomes));
	l->failed = lazy_memory_init(&l->failed_memory, LIVE_FAILED_WORDS * sizeof(*l->failed));
	if (l->buckets != NULL && l->slots != NULL && l->outcomes != NULL && l->failed != NULL)
		return l;
	live_free(l);
	return NULL;
}

struct live *live_new(void)
{
	struct live *l = live_make();

	if (l == NULL)
		return NULL;
	l->counts = connection_counts_new();
	if (l->counts == NULL) {
		live_free(l);
		return NULL;
	}
	l->connections = l->counts->by_slot;
	return l;
}

int live_new_shared(int shared_fd, struct live **ret_live)
{
	struct live *l = live_make();
	int err;

	if (l == NULL)
		return -ENOMEM;
	if (shared_fd < 0) {
		err = connection_counts_share("edgeproxy-counts", &l->counts_fd, &l->counts);
	} else {
		l->counts_fd = fcntl(shared_fd, F_DUPFD_CLOEXEC, 0);
		err = l->counts_fd < 0 ? -errno : connection_counts_map(l->counts_fd, &l->counts);
	}
	if (err == 0)
		err = connection_counts_share("edgeproxy-own-counts", &l->own_fd, &l->own);
	if (err != 0) {
		live_free(l);
		return err;
	}
	l->connections = l->counts->by_slot;
	*ret_live = l;
	return 0;
}

int live_shared_fd(const struct live *l)
{
	return l->counts_fd;
}

int live_own_fd(const struct live *l)
{
	return l->own_fd;
}

void live_free(struct live *l)
{
	uint32_t end;

	if (l == NULL)
		return;
	end = l->slots != NULL ? live_slot_end(l) : 0;
	for (uint32_t i = 0; i < end; i++)
		free(l->slots[i].id);
	lazy_memory_done(&l->failed_memory);
	lazy_memory_done(&l->outcome_memory);
	lazy_memory_done(&l->slot_memory);
	connection_counts_free(l->counts);
	connection_counts_free(l->own);
	if (l->counts_fd >= 0)
		close(l->counts_fd);
	if (l->own_fd >= 0)
		close(l->own_fd);
	free(l->buckets);
	free(l);
}

static uint32_t *bucket_of(const struct live *l, uint32_t id_hash)
{
	return &l->buckets[id_hash & (l->bucket_count - 1)];
}

static uint32_t find(const struct live *l, const char *id, uint32_t id_hash)
{
	uint32_t i = *bucket_of(l, id_hash);

	while (i != LIVE_NO_SLOT) {
		if (l->slots[i].id_hash == id_hash && strcmp(l->slots[i].id, id) == 0)
			break;
		i = l->slots[i].next;
	}
	return i;
}

/* Twice the buckets. Where memory is short the chains just grow longer. */
static void grow_index(struct live *l)
{
	uint32_t end = live_slot_end(l);
	uint32_t *buckets = buckets_new(l->bucket_count * 2);

	if (buckets == NULL)
		return;
	free(l->buckets);
	l->buckets = buckets;
	l->bucket_count *= 2;
	for (uint32_t i = 0; i < end; i++) {
		struct slot *s = &l->slots[i];
		uint32_t *bucket = bucket_of(l, s->id_hash);

		if (s->id == NULL)
			continue; /* its next is in the free list */
		s->next = *bucket;
		*bucket = i;
	}
}

/* A slot that is not given out: one taken back before a new one. LIVE_NO_SLOT when all are. */
static uint32_t take_slot(struct live *l)
{
	uint32_t i = l->free;
	uint32_t end = live_slot_end(l);

	if (i != LIVE_NO_SLOT) {
		l->free = l->slots[i].next;
		return i;
	}
	if (end == LIVE_SLOTS_MAX)
		return LIVE_NO_SLOT;
	atomic_store_explicit(&l->slot_end, end + 1, memory_order_relaxed);
	return end;
}

static void free_slot(struct live *l, uint32_t i)
{
	l->slots[i].id = NULL;
	l->slots[i].next = l->free;
	l->free = i;
}

/* Nothing is known of a backend that has just got a slot. */
static void forget(struct live *l, uint32_t i)
{
	struct slot *s = &l->slots[i];
	struct outcomes *o = &l->outcomes[i];

	atomic_store_explicit(&s->faults, 0, memory_order_relaxed);
	atomic_store_explicit(&s->weight_percent, 100, memory_order_relaxed);
	atomic_store_explicit(&s->trials, 0, memory_order_relaxed);
	atomic_store_explicit(&s->ramp, LIVE_NO_RAMP, memory_order_relaxed);
	atomic_store_explicit(&s->grace_until_s, 0, memory_order_relaxed);
	atomic_store_explicit(&o->connects, 0, memory_order_relaxed);
	atomic_store_explicit(&o->rtt_us, 0, memory_order_relaxed);
	atomic_store_explicit(&o->successes, 0, memory_order_relaxed);
	atomic_store_explicit(&o->failures, 0, memory_order_relaxed);
	atomic_store_explicit(&o->failures_in_a_row, 0, memory_order_relaxed);
}

/* Gives slot i, which nobody has, to an id, which becomes the slot's. */
static void name_slot(struct live *l, uint32_t i, char *id, uint32_t id_hash)
{
	struct slot *s = &l->slots[i];
	uint32_t *bucket;

	if (l->used >= l->bucket_count)
		grow_index(l);
	s->id = id;
	s->id_hash = id_hash;
	forget(l, i);
	bucket = bucket_of(l, id_hash);
	s->next = *bucket;
	*bucket = i;
	l->used++;
}

static int give_out(struct live *l, const char *id, uint32_t id_hash, uint32_t *ret_slot)
{
	char *copy;
	uint32_t i;

	if (l->frozen)
		return -ENOSPC;
	copy = strdup(id);
	if (copy == NULL)
		return -ENOMEM;
	i = take_slot(l);
	if (i == LIVE_NO_SLOT && live_collect(l) > 0)
		i = take_slot(l);
	if (i == LIVE_NO_SLOT) {
		free(copy);
		return -ENOSPC;
	}
	atomic_fetch_add_explicit(&l->slots[i].generation, 1, memory_order_relaxed);
	name_slot(l, i, copy, id_hash);
	*ret_slot = i;
	return 0;
}

static uint32_t hash_id(const char *id)
{
	return (uint32_t)hash_bytes(id, strlen(id), 0);
}

uint32_t live_find(const struct live *l, const char *id)
{
	return find(l, id, hash_id(id));
}

bool live_is_used(const struct live *l, uint32_t slot)
{
	return slot < live_slot_end(l) && l->slots[slot].id != NULL;
}

int live_adopt(struct live *l, uint32_t slot, uint32_t generation, const char *id)
{
	uint32_t id_hash = hash_id(id);
	char *copy;

	if (slot < live_slot_end(l) || generation == 0 || find(l, id, id_hash) != LIVE_NO_SLOT)
		return -EINVAL;
	if (slot >= LIVE_SLOTS_MAX)
		return -ENOSPC;
	copy = strdup(id);
	if (copy == NULL)
		return -ENOMEM;
	/* What the predecessor had taken back lies between. */
	for (uint32_t i = live_slot_end(l); i < slot; i++)
		free_slot(l, i);
	atomic_store_explicit(&l->slot_end, slot + 1, memory_order_relaxed);
	atomic_store_explicit(&l->slots[slot].generation, generation, memory_order_relaxed);
	name_slot(l, slot, copy, id_hash);
	atomic_fetch_add_explicit(&l->slots[slot].holders, 1, memory_order_relaxed);
	return 0;
}

void live_freeze(struct live *l, bool frozen)
{
	l->frozen = frozen;
}

/* The slot of an id, given out where it has none. 0 or -errno. */
static int find_or_give_out(struct live *l, const char *id, uint32_t *ret_slot)
{
	uint32_t id_hash = hash_id(id);

	*ret_slot = find(l, id, id_hash);
	return *ret_slot != LIVE_NO_SLOT ? 0 : give_out(l, id, id_hash, ret_slot);
}

int live_hold(struct live *l, const char *id, uint32_t *ret_slot)
{
	uint32_t i = l->expected;
	int err;

	if (!live_is_used(l, i) || strcmp(l->slots[i].id, id) != 0) {
		err = find_or_give_out(l, id, &i);
		if (err < 0)
			return err;
	}
	l->expected = i + 1;
	atomic_fetch_add_explicit(&l->slots[i].holders, 1, memory_order_relaxed);
	*ret_slot = i;
	return 0;
}

void live_let_go(struct live *l, uint32_t slot)
{
	unsigned holders;

	CHECK(slot < LIVE_SLOTS_MAX);
	holders = atomic_fetch_sub_explicit(&l->slots[slot].holders, 1, memory_order_release);
	CHECK(holders > 0);
}

static bool in_use(const struct live *l, uint32_t slot)
{
	/* In this order: see above. */
	return atomic_load_explicit(&l->slots[slot].holders, memory_order_acquire) > 0 ||
	       atomic_load_explicit(&l->connections[slot], memory_order_acquire) > 0;
}

size_t live_collect(struct live *l)
{
	uint32_t end = live_slot_end(l);
	size_t n = 0;

	for (uint32_t i = 0; i < end; i++) {
		struct slot *s = &l->slots[i];
		uint32_t *link;

		if (s->id == NULL || in_use(l, i))
			continue;
		link = bucket_of(l, s->id_hash);
		while (*link != i)
			link = &l->slots[*link].next;
		*link = s->next;
		free(s->id);
		free_slot(l, i);
		l->used--;
		n++;
	}
	return n;
}

uint32_t live_generation(const struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	return atomic_load_explicit(&l->slots[slot].generation, memory_order_relaxed);
}

const char *live_id(const struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX && l->slots[slot].id != NULL);
	return l->slots[slot].id;
}

uint32_t live_slot_end(const struct live *l)
{
	return atomic_load_explicit(&l->slot_end, memory_order_relaxed);
}

const _Atomic uint32_t *live_counts(const struct live *l)
{
	return l->connections;
}

uint32_t live_connections(const struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	return atomic_load_explicit(&l->connections[slot], memory_order_relaxed);
}

bool live_reserve(struct live *l, uint32_t slot, uint32_t hard_limit)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	if (!connection_count_take(&l->connections[slot], hard_limit))
		return false;
	if (l->own != NULL)
		(void)atomic_fetch_add_explicit(&l->own->by_slot[slot], 1, memory_order_relaxed);
	return true;
}

void live_release(struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	if (l->own != NULL)
		connection_count_give_back(&l->own->by_slot[slot]);
	connection_count_give_back(&l->connections[slot]);
}

/* ---- the whole process ---- */

bool live_reserve_total(struct live *l, uint32_t max_conn)
{
	if (!connection_count_take(&l->counts->total, max_conn))
		return false;
	if (l->own != NULL)
		(void)atomic_fetch_add_explicit(&l->own->total, 1, memory_order_relaxed);
	return true;
}

void live_release_total(struct live *l)
{
	if (l->own != NULL)
		connection_count_give_back(&l->own->total);
	connection_count_give_back(&l->counts->total);
}

uint32_t live_total(const struct live *l)
{
	return atomic_load_explicit(&l->counts->total, memory_order_relaxed);
}

uint32_t live_own_total(const struct live *l)
{
	const struct connection_counts *c = l->own != NULL ? l->own : l->counts;

	return atomic_load_explicit(&c->total, memory_order_relaxed);
}

int64_t live_bury(struct live *l, int own_fd)
{
	struct connection_counts *dead;
	int err = connection_counts_map(own_fd, &dead);
	uint32_t total;

	if (err != 0)
		return err;
	total = connection_counts_subtract(l->counts, dead);
	connection_counts_free(dead);
	return total;
}
