/* An arena gives out memory by moving a mark through a chunk, and takes it back all at once. It is
 * for things that live and die together, such as the texts of a set of rows or the arrays of one
 * table: a thousand small objects cost no more to free than one.
 *
 * Chunks come from calloc(), which is what makes every piece zeroed; a piece is never handed out
 * twice, so nothing has to be cleared again. A piece too large to share a chunk gets one of its own
 * behind the current one, so that the room left in the current chunk is not lost.
 *
 * It trusts its owner to be the only thread, and never frees or moves a piece before
 * arena_done(). */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A piece of more than this gets a chunk of its own: at most a quarter of a chunk is wasted. */
#define ARENA_SHARED_MAX (ARENA_CHUNK_BYTES / 4)

struct arena_chunk {
	struct arena_chunk *next;
	size_t size; /* of data */
	size_t used;
	_Alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *a)
{
	a->chunks = NULL;
}

void arena_done(struct arena *a)
{
	struct arena_chunk *next;

	for (struct arena_chunk *c = a->chunks; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	a->chunks = NULL;
}

static struct arena_chunk *chunk_new(size_t size)
{
	struct arena_chunk *c;

	if (size > SIZE_MAX - sizeof(*c))
		return NULL;
	c = calloc(1, sizeof(*c) + size);
	if (c != NULL)
		c->size = size;
	return c;
}

static void *alloc_own_chunk(struct arena *a, size_t size)
{
	struct arena_chunk *c = chunk_new(size);

	if (c == NULL)
		return NULL;
	c->used = size;
	if (a->chunks == NULL) {
		a->chunks = c;
	} else {
		c->next = a->chunks->next;
		a->chunks->next = c;
	}
	return c->data;
}

static void *alloc_aligned(struct arena *a, size_t size, size_t align)
{
	struct arena_chunk *c = a->chunks;
	size_t start;

	if (size > ARENA_SHARED_MAX)
		return alloc_own_chunk(a, size);
	start = c == NULL ? 0 : (c->used + align - 1) & ~(align - 1);
	if (c == NULL || start > c->size || size > c->size - start) {
		c = chunk_new(ARENA_CHUNK_BYTES - sizeof(*c));
		if (c == NULL)
			return NULL;
		c->next = a->chunks;
		a->chunks = c;
		start = 0;
	}
	c->used = start + size;
	return c->data + start;
}

void *arena_alloc(struct arena *a, size_t size)
{
	/* A piece of no bytes still has an address of its own. */
	return alloc_aligned(a, size == 0 ? 1 : size, _Alignof(max_align_t));
}

char *arena_strdup(struct arena *a, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = alloc_aligned(a, size, 1);

	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}
