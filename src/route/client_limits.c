/* Limits of one client. An entry is kept for as long as its client has a connection, and after that
 * until its room is needed: the entries without a connection are a list, the longest idle first.
 * That one is also the one whose rate has most likely recovered, so little is forgotten with it.
 *
 * The rate is a token bucket, kept as one number (GCRA, the leaky bucket of ATM): the time at which
 * the bucket will be full again. Each connection puts it off by what one token takes to come, and
 * none may put it off by more than the whole bucket.
 *
 * Arrays are zeroed address space until they are used. A shard gives out its entries in order, then
 * the idle ones again; entries are named by number, 0 is the head of the idle list and in chains
 * means "none". The hash is keyed by a secret, so clients cannot aim at a bucket. */
#include "route/client_limits.h"

#include "base/hash.h"
#include "base/shards.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 0u
#define NONE 0u

struct entry {
	uint64_t client[2]; /* masked, as it lies in memory */
	uint64_t full_ns;   /* when its bucket is full again */
	uint32_t connections;
	uint32_t next;  /* in its bucket of the index */
	uint32_t newer; /* while it has no connections: in the idle list, HEAD behind the newest */
	uint32_t older;
};

struct shard {
	_Alignas(64) pthread_mutex_t lock;
	struct entry *entries; /* [0] is HEAD, [1..count] are in use */
	uint32_t *index;       /* first of a chain of entries, or NONE */
	uint32_t index_mask;
	uint32_t count;
	uint32_t max;
};

struct client_limits {
	struct client_limits_options options;
	uint64_t token_ns;  /* what one token takes to come */
	uint64_t bucket_ns; /* what all but one do */
	unsigned shard_bits;
	struct shard shards[];
};

static bool shard_init(struct shard *s, uint32_t max)
{
	uint32_t buckets = 1;

	while (buckets < max)
		buckets *= 2;
	pthread_mutex_init(&s->lock, NULL);
	s->entries = calloc((size_t)max + 1, sizeof(*s->entries));
	s->index = calloc(buckets, sizeof(*s->index));
	s->index_mask = buckets - 1;
	s->max = max;
	return s->entries != NULL && s->index != NULL;
}

struct client_limits *client_limits_new(const struct client_limits_options *options)
{
	uint32_t max = options->max_entries;
	uint32_t burst = options->burst != 0 ? options->burst : options->rate;
	struct client_limits *c;
	unsigned bits = shard_bits(max);
	size_t bytes;

	CHECK(max >= 1 && max <= CLIENT_LIMITS_ENTRIES_MAX);
	bytes = sizeof(*c) + ((size_t)1 << bits) * sizeof(struct shard);
	c = aligned_alloc(_Alignof(struct client_limits), bytes);
	if (c == NULL)
		return NULL;
	memset(c, 0, bytes);
	c->options = *options;
	c->shard_bits = bits;
	if (options->rate != 0) {
		c->token_ns = options->period_ns / options->rate;
		c->bucket_ns = c->token_ns * (burst - 1);
	}
	for (size_t i = 0; i < (size_t)1 << bits; i++) {
		if (!shard_init(&c->shards[i], shard_share(max, bits, i))) {
			client_limits_free(c);
			return NULL;
		}
	}
	return c;
}

void client_limits_free(struct client_limits *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < (size_t)1 << c->shard_bits; i++) {
		/* After a failure in client_limits_new() some are still zero. */
		free(c->shards[i].entries);
		free(c->shards[i].index);
		pthread_mutex_destroy(&c->shards[i].lock);
	}
	free(c);
}

static uint64_t key_hash(const struct client_limits *c, const uint64_t client[2])
{
	return hash_mix(hash_mix(c->options.seed ^ client[0]) ^ client[1]);
}

static uint32_t *bucket_of(const struct client_limits *c, const struct shard *s,
                           const uint64_t client[2])
{
	return &s->index[key_hash(c, client) & s->index_mask];
}

static void idle_push(struct shard *s, uint32_t i)
{
	struct entry *head = &s->entries[HEAD];
	struct entry *e = &s->entries[i];

	e->newer = HEAD;
	e->older = head->older;
	s->entries[head->older].newer = i;
	head->older = i;
}

static void idle_remove(struct shard *s, uint32_t i)
{
	struct entry *e = &s->entries[i];

	s->entries[e->newer].older = e->older;
	s->entries[e->older].newer = e->newer;
}

/* An entry without a client: a new one, or that of the client idle for longest. NONE: all have
 * connections. */
static uint32_t free_entry(const struct client_limits *c, struct shard *s)
{
	uint32_t i = s->entries[HEAD].newer; /* the oldest */
	uint32_t *link;

	if (s->count < s->max)
		return ++s->count;
	if (i == HEAD)
		return NONE;
	idle_remove(s, i);
	link = bucket_of(c, s, s->entries[i].client);
	while (*link != i)
		link = &s->entries[*link].next;
	*link = s->entries[i].next;
	return i;
}

static uint32_t find(const struct client_limits *c, const struct shard *s, const uint64_t client[2])
{
	uint32_t i = *bucket_of(c, s, client);

	while (i != NONE && memcmp(s->entries[i].client, client, sizeof(s->entries[i].client)) != 0)
		i = s->entries[i].next;
	return i;
}

/* The entry of a client, made where there is none, idle then. NONE: no room. */
static uint32_t find_or_add(const struct client_limits *c, struct shard *s,
                            const uint64_t client[2])
{
	uint32_t i = find(c, s, client);
	uint32_t *bucket;

	if (i != NONE)
		return i;
	i = free_entry(c, s);
	if (i == NONE)
		return NONE;
	bucket = bucket_of(c, s, client);
	s->entries[i] = (struct entry){.client = {client[0], client[1]}, .next = *bucket};
	*bucket = i;
	idle_push(s, i);
	return i;
}

/* What all operations begin with: the key, and its shard, locked. */
static struct shard *enter(struct client_limits *c, const struct ip *client, uint64_t ret_key[2])
{
	struct ip masked = ip_masked(client, c->options.v4_bits, c->options.v6_bits);
	struct shard *s;

	memcpy(ret_key, masked.b, sizeof(masked.b));
	s = &c->shards[shard_of(key_hash(c, ret_key), c->shard_bits)];
	pthread_mutex_lock(&s->lock);
	return s;
}

static enum client_verdict judge(const struct client_limits *c, const struct entry *e,
                                 uint64_t now_ns)
{
	if (c->options.max_conn != 0 && e->connections >= c->options.max_conn)
		return CLIENT_AT_LIMIT;
	/* Threads read the clock apart, so full_ns may lie ahead even where it is only now. */
	if (c->options.rate != 0 && e->full_ns > now_ns && e->full_ns - now_ns > c->bucket_ns)
		return CLIENT_TOO_FAST;
	return CLIENT_COUNTED;
}

enum client_verdict client_limits_enter(struct client_limits *c, const struct ip *client,
                                        uint64_t now_ns)
{
	enum client_verdict verdict = CLIENT_UNCOUNTED;
	uint64_t key[2];
	struct shard *s = enter(c, client, key);
	uint32_t i = find_or_add(c, s, key);
	struct entry *e = &s->entries[i];

	if (i != NONE)
		verdict = judge(c, e, now_ns);
	if (verdict == CLIENT_COUNTED) {
		e->full_ns = (e->full_ns > now_ns ? e->full_ns : now_ns) + c->token_ns;
		if (e->connections++ == 0)
			idle_remove(s, i);
	}
	pthread_mutex_unlock(&s->lock);
	return verdict;
}

void client_limits_leave(struct client_limits *c, const struct ip *client)
{
	uint64_t key[2];
	struct shard *s = enter(c, client, key);
	uint32_t i = find(c, s, key);

	CHECK(i != NONE && s->entries[i].connections > 0);
	if (--s->entries[i].connections == 0)
		idle_push(s, i);
	pthread_mutex_unlock(&s->lock);
}

enum client_verdict client_limits_look(struct client_limits *c, const struct ip *client,
                                       uint64_t now_ns, uint32_t *ret_count)
{
	enum client_verdict verdict = CLIENT_COUNTED; /* who is not known has a whole bucket */
	uint64_t key[2];
	struct shard *s = enter(c, client, key);
	uint32_t i = find(c, s, key);

	if (i != NONE)
		verdict = judge(c, &s->entries[i], now_ns);
	else if (s->count == s->max && s->entries[HEAD].newer == HEAD)
		verdict = CLIENT_UNCOUNTED;
	*ret_count = i != NONE ? s->entries[i].connections : 0;
	pthread_mutex_unlock(&s->lock);
	return verdict;
}

uint32_t client_limits_count(struct client_limits *c)
{
	uint32_t n = 0;

	for (size_t i = 0; i < (size_t)1 << c->shard_bits; i++) {
		pthread_mutex_lock(&c->shards[i].lock);
		n += c->shards[i].count;
		pthread_mutex_unlock(&c->shards[i].lock);
	}
	return n;
}
