/* A pool of objects of one size, for what comes and goes by the thousand: sessions. Getting and
 * putting are a few instructions, and a chunk goes back to the kernel as soon as its last object is
 * put back (but for one spare), so a burst of clients does not leave its memory behind.
 *
 * A chunk lies at a multiple of its size, so an object's address says which chunk it belongs to,
 * and nothing stands between the objects. One bit for each says whether it is free, which makes a
 * double put a CHECK and not a corruption. Chunks are mapped, not allocated: free() would keep them
 * in the heap.
 *
 * It trusts its owner to be the only thread. It never moves an object. */
#include "base/pool.h"

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS 64
/* Words of free bits; there are never more objects in a chunk. */
#define CHUNK_WORDS 16

struct pool_chunk {
	struct list node; /* in partial or full; in neither when it is the spare */
	unsigned used;
	uint64_t free[CHUNK_WORDS];
	_Alignas(POOL_ALIGN) unsigned char objects[];
};

_Static_assert((POOL_CHUNK_BYTES & (POOL_CHUNK_BYTES - 1)) == 0, "chunks are found by masking");

/* Memory at a multiple of its size: twice as much is mapped, and what sticks out goes back. */
static void *map_aligned(void)
{
	size_t bytes = POOL_CHUNK_BYTES;
	unsigned char *p = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE,
	                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	before = (bytes - (uintptr_t)p % bytes) % bytes;
	if (before != 0)
		munmap(p, before);
	munmap(p + before + bytes, bytes - before);
	return p + before;
}

static struct pool_chunk *chunk_new(const struct object_pool *p)
{
	struct pool_chunk *chunk = map_aligned();

	if (chunk == NULL)
		return NULL;
	list_init(&chunk->node);
	for (unsigned i = 0; i < p->per_chunk; i++)
		chunk->free[i / WORD_BITS] |= (uint64_t)1 << i % WORD_BITS;
	return chunk;
}

static void chunk_free(struct pool_chunk *chunk)
{
	if (chunk != NULL)
		munmap(chunk, POOL_CHUNK_BYTES);
}

void object_pool_init(struct object_pool *p, size_t object_size)
{
	size_t room = POOL_CHUNK_BYTES - sizeof(struct pool_chunk);

	CHECK(object_size > 0 && object_size <= POOL_CHUNK_BYTES / 2);
	p->object_size = (object_size + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
	p->per_chunk = (unsigned)(room / p->object_size);
	if (p->per_chunk > CHUNK_WORDS * WORD_BITS)
		p->per_chunk = CHUNK_WORDS * WORD_BITS;
	list_init(&p->partial);
	list_init(&p->full);
	p->in_use = 0;
	p->spare = NULL;
}

void object_pool_done(struct object_pool *p)
{
	CHECK(p->in_use == 0);
	CHECK(list_empty(&p->partial) && list_empty(&p->full));
	chunk_free(p->spare);
	p->spare = NULL;
}

/* A chunk with a free object, in the partial list; NULL: out of memory. */
static struct pool_chunk *chunk_with_room(struct object_pool *p)
{
	struct pool_chunk *chunk;

	if (!list_empty(&p->partial))
		return list_entry(p->partial.next, struct pool_chunk, node);
	chunk = p->spare != NULL ? p->spare : chunk_new(p);
	p->spare = NULL;
	if (chunk != NULL)
		list_push_back(&p->partial, &chunk->node);
	return chunk;
}

/* The first free object; there is one. */
static unsigned take_bit(struct pool_chunk *chunk)
{
	unsigned word = 0;
	unsigned bit;

	while (chunk->free[word] == 0)
		word++;
	bit = (unsigned)__builtin_ctzll(chunk->free[word]);
	chunk->free[word] &= chunk->free[word] - 1;
	return word * WORD_BITS + bit;
}

static void move_to(struct pool_chunk *chunk, struct list *list)
{
	list_remove(&chunk->node);
	list_push_back(list, &chunk->node);
}

void *object_pool_get(struct object_pool *p)
{
	struct pool_chunk *chunk = chunk_with_room(p);
	void *object;

	if (chunk == NULL)
		return NULL;
	object = chunk->objects + take_bit(chunk) * p->object_size;
	if (++chunk->used == p->per_chunk)
		move_to(chunk, &p->full);
	p->in_use++;
	memset(object, 0, p->object_size);
	return object;
}

void object_pool_put(struct object_pool *p, void *object)
{
	size_t offset = (uintptr_t)object % POOL_CHUNK_BYTES;
	struct pool_chunk *chunk = (struct pool_chunk *)(void *)((unsigned char *)object - offset);
	size_t i = (offset - sizeof(struct pool_chunk)) / p->object_size;
	uint64_t bit = (uint64_t)1 << i % WORD_BITS;

	CHECK(i < p->per_chunk && object == chunk->objects + i * p->object_size);
	CHECK((chunk->free[i / WORD_BITS] & bit) == 0);
	CHECK(p->in_use > 0);
	p->in_use--;
	chunk->free[i / WORD_BITS] |= bit;
	if (chunk->used-- == p->per_chunk)
		move_to(chunk, &p->partial);
	if (chunk->used != 0)
		return;
	list_remove(&chunk->node);
	if (p->spare == NULL)
		p->spare = chunk;
	else
		chunk_free(chunk);
}
