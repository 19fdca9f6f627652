/* A pool of objects of one size, for what comes and goes by the thousand: sessions, pipes,
 * messages. Getting and putting are a few instructions, and a chunk goes back to the kernel as soon
 * as its last object is put back (but for one spare), so a burst of clients does not leave its
 * memory behind.
 *
 * A chunk has as many objects as a word has bits, so the word itself says which are free: that
 * makes a double put a CHECK and not a corruption. In front of each object stands the address of
 * its chunk. Chunks are mapped, not allocated: free() would keep them in the heap.
 *
 * It trusts its owner to be the only thread. It never moves an object. */
#include "base/pool.h"

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ALL_FREE UINT64_MAX

_Static_assert(POOL_CHUNK_OBJECTS == 64, "one bit of a word for each object of a chunk");

struct pool_chunk {
	struct list node; /* in partial or full; in neither when it is the spare */
	uint64_t free;
	size_t bytes;
	_Alignas(max_align_t) unsigned char cells[];
};

/* What stands in front of each object. */
struct cell {
	struct pool_chunk *chunk;
	_Alignas(max_align_t) unsigned char object[];
};

static size_t cell_bytes(const struct object_pool *p)
{
	size_t align = _Alignof(max_align_t);

	return sizeof(struct cell) + (p->object_size + align - 1) / align * align;
}

static struct pool_chunk *chunk_new(const struct object_pool *p)
{
	size_t bytes = sizeof(struct pool_chunk) + POOL_CHUNK_OBJECTS * cell_bytes(p);
	struct pool_chunk *chunk;

	chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk == MAP_FAILED)
		return NULL;
	list_init(&chunk->node);
	chunk->free = ALL_FREE;
	chunk->bytes = bytes;
	return chunk;
}

static void chunk_free(struct pool_chunk *chunk)
{
	if (chunk != NULL)
		munmap(chunk, chunk->bytes);
}

void object_pool_init(struct object_pool *p, size_t object_size)
{
	CHECK(object_size > 0);
	p->object_size = object_size;
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

void *object_pool_get(struct object_pool *p)
{
	struct pool_chunk *chunk = chunk_with_room(p);
	struct cell *cell;
	unsigned i;

	if (chunk == NULL)
		return NULL;
	i = (unsigned)__builtin_ctzll(chunk->free);
	chunk->free &= ~((uint64_t)1 << i);
	if (chunk->free == 0) {
		list_remove(&chunk->node);
		list_push_back(&p->full, &chunk->node);
	}
	p->in_use++;
	cell = (struct cell *)(void *)(chunk->cells + i * cell_bytes(p));
	cell->chunk = chunk;
	memset(cell->object, 0, p->object_size);
	return cell->object;
}

void object_pool_put(struct object_pool *p, void *object)
{
	struct cell *cell = (struct cell *)(void *)((char *)object - sizeof(struct cell));
	struct pool_chunk *chunk = cell->chunk;
	size_t i = (size_t)((unsigned char *)cell - chunk->cells) / cell_bytes(p);
	uint64_t bit;

	CHECK(i < POOL_CHUNK_OBJECTS && (unsigned char *)cell == chunk->cells + i * cell_bytes(p));
	bit = (uint64_t)1 << i;
	CHECK((chunk->free & bit) == 0);
	CHECK(p->in_use > 0);
	p->in_use--;
	if (chunk->free == 0) {
		list_remove(&chunk->node);
		list_push_back(&p->partial, &chunk->node);
	}
	chunk->free |= bit;
	if (chunk->free != ALL_FREE)
		return;
	list_remove(&chunk->node);
	if (p->spare == NULL)
		p->spare = chunk;
	else
		chunk_free(chunk);
}
