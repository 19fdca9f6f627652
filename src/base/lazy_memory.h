/* Memory for an array of which only the beginning is used: address space for its maximum, filled
 * page by page, and given back step by step when the array has shrunk. It reads as zeroes until it
 * is written to, and again once it was given back. Of one thread at a time. */
#ifndef BASE_LAZY_MEMORY_H
#define BASE_LAZY_MEMORY_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

/* What one call gives back at most: that takes a moment, and somebody may wait for a lock. */
#define LAZY_MEMORY_STEP ((size_t)1 << 20)

struct lazy_memory {
	unsigned char *start; /* at a page; NULL: none */
	size_t mapped;        /* bytes */
	size_t filled;        /* bytes from the start that may have been written */
};

/* The start of that many bytes; NULL: out of memory, and *m is zeroed. */
MUST_CHECK void *lazy_memory_init(struct lazy_memory *m, size_t bytes);
/* Zeroed is fine. */
void lazy_memory_done(struct lazy_memory *m);
/* The first bytes are, or are about to be, in use. */
void lazy_memory_used(struct lazy_memory *m, size_t bytes);
/* Gives back one step of the pages behind the used bytes, when they are the greater part. True when
 * there is more. */
bool lazy_memory_give_back(struct lazy_memory *m, size_t used);

#endif
