/* An arena: many small pieces of memory that are freed together. The owner thread only. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#define ARENA_CHUNK_BYTES (64u << 10)

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;
};

void arena_init(struct arena *a);
void arena_done(struct arena *a);
/* Aligned for any type, zeroed; NULL: out of memory. */
void *arena_alloc(struct arena *a, size_t size);
/* A copy with an end; NULL: out of memory. */
char *arena_strdup(struct arena *a, const char *text);

#endif
