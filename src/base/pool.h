/* A pool of objects of one size, carved out of chunks of POOL_CHUNK_BYTES. A chunk whose objects
 * are all free goes back to the system (one empty chunk is kept), so memory follows use down as
 * well as up. The owner thread only. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/list.h"

#include <stddef.h>

/* A few pages, so that a long-lived object pins little. A power of two. */
#define POOL_CHUNK_BYTES 32768
/* Objects are aligned to, and their size rounded up to, this. */
#define POOL_ALIGN 8

struct pool_chunk;

struct object_pool {
	size_t object_size; /* rounded up */
	unsigned per_chunk;
	struct list partial; /* chunks with a free object */
	struct list full;
	size_t in_use;
	struct pool_chunk *spare; /* an empty chunk kept against thrashing */
};

/* object_size: 1 to POOL_CHUNK_BYTES / 2. */
void object_pool_init(struct object_pool *p, size_t object_size);
/* All objects have been given back. */
void object_pool_done(struct object_pool *p);
/* Zeroed; NULL: out of memory. */
void *object_pool_get(struct object_pool *p);
void object_pool_put(struct object_pool *p, void *object);

#endif
