/* A pool of objects of one size, carved out of chunks of POOL_CHUNK_OBJECTS. A chunk whose objects
 * are all free goes back to the system (one empty chunk is kept), so memory follows use down as
 * well as up. The owner thread only. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/list.h"

#include <stddef.h>

/* Chosen so that a chunk of sessions is a few pages. */
#define POOL_CHUNK_OBJECTS 64

struct pool_chunk;

struct object_pool {
	size_t object_size;
	struct list partial; /* chunks with a free object */
	struct list full;
	size_t in_use;
	struct pool_chunk *spare; /* an empty chunk kept against thrashing */
};

void object_pool_init(struct object_pool *p, size_t object_size);
/* All objects have been given back. */
void object_pool_done(struct object_pool *p);
/* Zeroed; NULL: out of memory. */
void *object_pool_get(struct object_pool *p);
void object_pool_put(struct object_pool *p, void *object);

#endif
