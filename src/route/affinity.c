/* The affinity table. Clients by the million, two touches for every connection, so: shards with a
 * lock each, a few cache lines an operation, and no moment at which much has to be done at once.
 *
 * A shard keeps its entries in one array without holes: a new entry goes to the end, and the last
 * one moves into the place of one that is removed. The index is a linear hash table (Litwin 1980):
 * with every few entries one bucket is split or two are joined, so it grows and shrinks a step at a
 * time and there is never a rehash. Both arrays are mapped for the shard's maximum at the start and
 * filled page by page; when most of a shard has expired, affinity_collect() gives the pages at the
 * ends back. Entries are named by their number, and there is no number 0, so that it means "none"
 * in chains and fresh pages mean "empty".
 *
 * There is no list by last use: to keep one would touch two more entries, somewhere in memory, at
 * each use. An entry has the time of its last use, and where there is no more room, the least
 * recently used of a few drawn by chance gives way: with sixteen draws it is one of the older half
 * but once in 65,536 times (Redis evicts so). The hash is keyed by a secret, so clients cannot aim
 * at a bucket. Nothing here knows what a slot is or whether its backend still exists: who finds a
 * binding has to check. */
#include "route/affinity.h"

#include "base/counter.h"
#include "base/hash.h"
#include "base/lazy_memory.h"
#include "base/shards.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Buckets are split below the first and joined above the second: as many at a time as one entry
 * more or less calls for, so that the index always keeps up. */
#define BUCKETS_AN_ENTRY 2
#define BUCKETS_AN_ENTRY_MAX 4
/* Entries that are compared to find one that gives way; in a shard with no more, it is the least
 * recently used one. */
#define EVICT_DRAWS 16
/* Entries that affinity_collect() looks at with a lock held. */
#define COLLECT_ENTRIES 256

#define NONE 0u

/* What is looked for. The address is masked, and in words as it lies in memory. */
struct key {
	uint64_t client[2];
	uint32_t service;
	uint64_t hash;
};

struct entry {
	uint64_t client[2];
	uint64_t used_ms;
	uint32_t service;
	struct binding binding;
	uint32_t next; /* in its bucket */
};

_Static_assert(sizeof(struct entry) + BUCKETS_AN_ENTRY * sizeof(uint32_t) <= 48,
               "what the header promises");

struct shard {
	_Alignas(64) pthread_mutex_t lock;
	struct entry *entries; /* [1..count] are in use */
	uint32_t *buckets;     /* first of a chain of entries, or NONE */
	uint32_t count;
	uint32_t max;
	uint32_t bucket_count;
	uint64_t draws;
	struct lazy_memory entry_memory;
	struct lazy_memory bucket_memory;
	/* Written under the lock, read without it: whoever asks must not make a worker wait. */
	struct gauge entries_now;
	struct counter hits, misses, evictions, expirations;
};

struct affinity {
	uint64_t ttl_ms;
	uint64_t seed;
	uint64_t v4_mask[2];
	uint64_t v6_mask[2];
	unsigned shard_bits;
	struct shard shards[];
};

static bool shard_init(struct shard *s, uint32_t max)
{
	size_t entries = ((size_t)max + 1) * sizeof(*s->entries);
	size_t buckets = ((size_t)max + 1) * BUCKETS_AN_ENTRY * sizeof(*s->buckets);

	pthread_mutex_init(&s->lock, NULL);
	s->entries = lazy_memory_init(&s->entry_memory, entries);
	s->buckets = lazy_memory_init(&s->bucket_memory, buckets);
	s->max = max;
	s->bucket_count = 1;
	return s->entries != NULL && s->buckets != NULL;
}

/* An address of all ones, masked, is a mask: of IPv4 addresses all begin alike. */
static void make_masks(struct affinity *a, const struct affinity_options *options)
{
	const uint8_t v4_ones[4] = {0xff, 0xff, 0xff, 0xff};
	struct ip v4 = ip_from_v4(v4_ones);
	struct ip v6;

	memset(&v6, 0xff, sizeof(v6));
	v4 = ip_masked(&v4, options->v4_bits, options->v6_bits);
	v6 = ip_masked(&v6, options->v4_bits, options->v6_bits);
	memcpy(a->v4_mask, &v4, sizeof(a->v4_mask));
	memcpy(a->v6_mask, &v6, sizeof(a->v6_mask));
}

struct affinity *affinity_new(const struct affinity_options *options)
{
	size_t max = options->max_entries;
	unsigned bits = shard_bits(max);
	struct affinity *a;
	size_t bytes;

	CHECK(max >= 1 && max <= AFFINITY_ENTRIES_MAX);
	CHECK(options->v4_bits >= 1 && options->v4_bits <= 32);
	CHECK(options->v6_bits >= 1 && options->v6_bits <= 128);
	bytes = sizeof(*a) + ((size_t)1 << bits) * sizeof(struct shard);
	a = aligned_alloc(_Alignof(struct affinity), bytes);
	if (a == NULL)
		return NULL;
	memset(a, 0, bytes);
	a->ttl_ms = options->ttl_ms;
	a->seed = options->seed;
	make_masks(a, options);
	a->shard_bits = bits;
	for (size_t i = 0; i < (size_t)1 << bits; i++) {
		if (!shard_init(&a->shards[i], shard_share(max, bits, i))) {
			affinity_free(a);
			return NULL;
		}
	}
	return a;
}

void affinity_free(struct affinity *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < (size_t)1 << a->shard_bits; i++) {
		struct shard *s = &a->shards[i];

		/* After a failure in affinity_new() some are not there. */
		lazy_memory_done(&s->entry_memory);
		lazy_memory_done(&s->bucket_memory);
		pthread_mutex_destroy(&s->lock);
	}
	free(a);
}

static uint64_t key_hash(const struct affinity *a, const uint64_t client[2], uint32_t service)
{
	uint64_t hash = hash_mix(a->seed ^ client[0]);

	hash = hash_mix(hash ^ client[1]);
	return hash_mix(hash + (uint64_t)service * 0x9e3779b97f4a7c15u + a->seed);
}

/* Negative: before. The clock's zero is nothing special: see affinity.h. */
static int64_t elapsed_ms(uint64_t from_ms, uint64_t to_ms)
{
	return (int64_t)(to_ms - from_ms);
}

static bool entry_expired(const struct affinity *a, const struct entry *e, uint64_t now_ms)
{
	return elapsed_ms(e->used_ms, now_ms) >= (int64_t)a->ttl_ms;
}

/* Buckets are numbered by the low bits of the hash; one that has not been split off yet is still
 * part of the one with the top bit off. */
static uint32_t *bucket_of(const struct shard *s, uint64_t hash)
{
	uint32_t mask = UINT32_MAX >> __builtin_clz((s->bucket_count - 1) | 1);
	uint32_t i = (uint32_t)hash & mask;

	return &s->buckets[i < s->bucket_count ? i : i & (mask >> 1)];
}

static uint64_t entry_hash(const struct affinity *a, const struct entry *e)
{
	return key_hash(a, e->client, e->service);
}

static void chain_push(struct shard *s, uint64_t hash, uint32_t i)
{
	uint32_t *bucket = bucket_of(s, hash);

	s->entries[i].next = *bucket;
	*bucket = i;
}

/* Puts to (which may be entry i's successor) in the place of i in the chain. */
static void chain_replace(struct shard *s, uint64_t hash, uint32_t i, uint32_t to)
{
	uint32_t *link = bucket_of(s, hash);

	while (*link != i)
		link = &s->entries[*link].next;
	*link = to;
}

/* Distributes a chain anew, after the number of buckets has changed. */
static void chain_deal(const struct affinity *a, struct shard *s, uint32_t i)
{
	uint32_t next;

	for (; i != NONE; i = next) {
		next = s->entries[i].next;
		chain_push(s, entry_hash(a, &s->entries[i]), i);
	}
}

static void add_bucket(const struct affinity *a, struct shard *s)
{
	/* The bucket that the new one is split off from: where its number leads while it is absent.
	 */
	uint32_t *bucket = bucket_of(s, s->bucket_count);
	uint32_t chain = *bucket;

	*bucket = NONE;
	s->bucket_count++;
	lazy_memory_used(&s->bucket_memory, s->bucket_count * sizeof(*s->buckets));
	chain_deal(a, s, chain);
}

static void drop_bucket(const struct affinity *a, struct shard *s)
{
	uint32_t *bucket = &s->buckets[s->bucket_count - 1];
	uint32_t chain = *bucket;

	*bucket = NONE;
	s->bucket_count--;
	chain_deal(a, s, chain);
}

/* Removes entry i; the last entry moves into its place. */
static void entry_remove(const struct affinity *a, struct shard *s, uint32_t i)
{
	uint32_t last = s->count;

	chain_replace(s, entry_hash(a, &s->entries[i]), i, s->entries[i].next);
	if (i != last) {
		chain_replace(s, entry_hash(a, &s->entries[last]), last, i);
		s->entries[i] = s->entries[last];
	}
	s->count--;
	gauge_set(&s->entries_now, s->count);
	for (int n = 0; n < BUCKETS_AN_ENTRY_MAX; n++) {
		if (s->bucket_count > 1 && s->bucket_count > s->count * BUCKETS_AN_ENTRY_MAX)
			drop_bucket(a, s);
	}
}

static uint32_t entry_find(const struct shard *s, const struct key *key)
{
	uint32_t i = *bucket_of(s, key->hash);

	while (i != NONE) {
		const struct entry *e = &s->entries[i];

		if (memcmp(e->client, key->client, sizeof(e->client)) == 0 &&
		    e->service == key->service)
			break;
		i = e->next;
	}
	return i;
}

static uint32_t draw(const struct affinity *a, struct shard *s)
{
	uint64_t number = hash_mix(a->seed + s->draws++) >> 32;

	return 1 + (uint32_t)(number * s->count >> 32);
}

/* The entry that gives way. */
static uint32_t choose_victim(const struct affinity *a, struct shard *s)
{
	bool all = s->count <= EVICT_DRAWS;
	uint32_t victim = all ? 1 : draw(a, s);

	for (uint32_t k = 2; k <= (all ? s->count : EVICT_DRAWS); k++) {
		uint32_t i = all ? k : draw(a, s);

		if (elapsed_ms(s->entries[i].used_ms, s->entries[victim].used_ms) > 0)
			victim = i;
	}
	return victim;
}

static void entry_add(const struct affinity *a, struct shard *s, const struct key *key,
                      struct binding binding, uint64_t now_ms)
{
	struct entry *e;

	if (s->count == s->max) {
		entry_remove(a, s, choose_victim(a, s));
		counter_add(&s->evictions, 1);
	}
	s->count++;
	gauge_set(&s->entries_now, s->count);
	lazy_memory_used(&s->entry_memory, ((size_t)s->count + 1) * sizeof(*s->entries));
	e = &s->entries[s->count];
	memcpy(e->client, key->client, sizeof(e->client));
	e->service = key->service;
	e->binding = binding;
	e->used_ms = now_ms;
	chain_push(s, key->hash, s->count);
	for (int n = 0; n < BUCKETS_AN_ENTRY; n++) {
		if (s->bucket_count < s->count * BUCKETS_AN_ENTRY)
			add_bucket(a, s);
	}
}

static void entry_use(struct entry *e, uint64_t now_ms)
{
	if (elapsed_ms(e->used_ms, now_ms) > 0) /* threads read the clock apart */
		e->used_ms = now_ms;
}

/* What every operation begins with: the key, and its shard, locked. */
static struct shard *enter(struct affinity *a, const struct ip *client, uint32_t service,
                           struct key *ret_key)
{
	const uint64_t *mask = ip_is_v4(client) ? a->v4_mask : a->v6_mask;
	struct shard *s;

	memcpy(ret_key->client, client->b, sizeof(ret_key->client));
	ret_key->client[0] &= mask[0];
	ret_key->client[1] &= mask[1];
	ret_key->service = service;
	ret_key->hash = key_hash(a, ret_key->client, service);
	s = &a->shards[shard_of(ret_key->hash, a->shard_bits)];
	pthread_mutex_lock(&s->lock);
	return s;
}

bool affinity_find(struct affinity *a, const struct ip *client, uint32_t service, uint64_t now_ms,
                   struct binding *ret_binding)
{
	struct key key;
	struct shard *s = enter(a, client, service, &key);
	uint32_t i = entry_find(s, &key);

	if (i != NONE && entry_expired(a, &s->entries[i], now_ms)) {
		entry_remove(a, s, i);
		counter_add(&s->expirations, 1);
		i = NONE;
	}
	if (i != NONE) {
		*ret_binding = s->entries[i].binding;
		entry_use(&s->entries[i], now_ms);
		counter_add(&s->hits, 1);
	} else {
		counter_add(&s->misses, 1);
	}
	pthread_mutex_unlock(&s->lock);
	return i != NONE;
}

bool affinity_peek(struct affinity *a, const struct ip *client, uint32_t service, uint64_t now_ms,
                   struct binding *ret_binding)
{
	struct key key;
	struct shard *s = enter(a, client, service, &key);
	uint32_t i = entry_find(s, &key);
	bool found = i != NONE && !entry_expired(a, &s->entries[i], now_ms);

	if (found)
		*ret_binding = s->entries[i].binding;
	pthread_mutex_unlock(&s->lock);
	return found;
}

void affinity_forget(struct affinity *a, const struct ip *client, uint32_t service)
{
	struct key key;
	struct shard *s = enter(a, client, service, &key);
	uint32_t i = entry_find(s, &key);

	if (i != NONE)
		entry_remove(a, s, i);
	pthread_mutex_unlock(&s->lock);
}

/* A use of a binding, which is written where there is none, or where it may replace another. */
static void use_binding(struct affinity *a, const struct ip *client, uint32_t service,
                        struct binding binding, uint64_t now_ms, bool replace)
{
	struct key key;
	struct shard *s;
	uint32_t i;

	if (a->ttl_ms == 0)
		return;
	s = enter(a, client, service, &key);
	i = entry_find(s, &key);
	if (i == NONE) {
		entry_add(a, s, &key, binding, now_ms);
	} else if (replace || (s->entries[i].binding.slot == binding.slot &&
	                       s->entries[i].binding.generation == binding.generation)) {
		s->entries[i].binding = binding;
		entry_use(&s->entries[i], now_ms);
	}
	pthread_mutex_unlock(&s->lock);
}

void affinity_put(struct affinity *a, const struct ip *client, uint32_t service,
                  struct binding binding, uint64_t now_ms)
{
	use_binding(a, client, service, binding, now_ms, true);
}

void affinity_touch(struct affinity *a, const struct ip *client, uint32_t service,
                    struct binding binding, uint64_t now_ms)
{
	use_binding(a, client, service, binding, now_ms, false);
}

/* One step with the lock held, from the end to the beginning: what moves into the place of a
 * removed entry has been looked at. True when there is more to do. */
static bool shard_collect(const struct affinity *a, struct shard *s, struct affinity_cursor *cursor,
                          uint64_t now_ms)
{
	bool more;

	pthread_mutex_lock(&s->lock);
	if (!cursor->inside || cursor->left > s->count)
		cursor->left = s->count;
	cursor->inside = true;
	for (int k = 0; k < COLLECT_ENTRIES && cursor->left > 0; k++) {
		uint32_t i = cursor->left--;

		if (!entry_expired(a, &s->entries[i], now_ms))
			continue;
		entry_remove(a, s, i);
		counter_add(&s->expirations, 1);
	}
	more = cursor->left > 0;
	if (!more) {
		more = lazy_memory_give_back(&s->entry_memory,
		                             ((size_t)s->count + 1) * sizeof(*s->entries)) ||
		       lazy_memory_give_back(&s->bucket_memory,
		                             s->bucket_count * sizeof(*s->buckets));
	}
	pthread_mutex_unlock(&s->lock);
	return more;
}

bool affinity_collect(struct affinity *a, struct affinity_cursor *cursor, uint64_t now_ms)
{
	for (uint32_t n = 0; n < AFFINITY_COLLECT_STEPS; n++) {
		if (shard_collect(a, &a->shards[cursor->shard], cursor, now_ms))
			continue;
		cursor->inside = false;
		cursor->shard++;
		if (cursor->shard == 1u << a->shard_bits) {
			cursor->shard = 0;
			return false;
		}
	}
	return true;
}

struct affinity_counts affinity_counts(const struct affinity *a)
{
	struct affinity_counts sum = {0};

	for (size_t i = 0; i < (size_t)1 << a->shard_bits; i++) {
		const struct shard *s = &a->shards[i];

		sum.entries += gauge_read(&s->entries_now);
		sum.hits += counter_read(&s->hits);
		sum.misses += counter_read(&s->misses);
		sum.evictions += counter_read(&s->evictions);
		sum.expirations += counter_read(&s->expirations);
	}
	return sum;
}

/* From the end to the beginning: an entry that moves while the lock is free moves from the end into
 * a gap, so from what has been copied into what has or has not, and never past the cursor unseen.
 */
static size_t shard_export(const struct affinity *a, struct shard *s,
                           struct affinity_cursor *cursor, uint64_t since_ms, uint64_t now_ms,
                           struct affinity_entry *entries)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	if (!cursor->inside || cursor->left > s->count)
		cursor->left = s->count;
	cursor->inside = true;
	for (int k = 0; k < AFFINITY_EXPORT_ENTRIES && cursor->left > 0; k++) {
		const struct entry *e = &s->entries[cursor->left--];

		if (elapsed_ms(since_ms, e->used_ms) < 0 || entry_expired(a, e, now_ms))
			continue;
		memcpy(entries[n].client.b, e->client, sizeof(entries[n].client.b));
		entries[n].service = e->service;
		entries[n].binding = e->binding;
		entries[n].used_ms = e->used_ms;
		n++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool affinity_export(struct affinity *a, struct affinity_cursor *cursor, uint64_t since_ms,
                     uint64_t now_ms, struct affinity_entry entries[AFFINITY_EXPORT_ENTRIES],
                     size_t *ret_count)
{
	*ret_count = shard_export(a, &a->shards[cursor->shard], cursor, since_ms, now_ms, entries);
	if (cursor->left > 0)
		return true;
	cursor->inside = false;
	cursor->shard++;
	return cursor->shard < 1u << a->shard_bits;
}
