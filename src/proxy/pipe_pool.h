/* Pipes for splicing, lent to directions that carry bulk. A pipe costs two descriptors and pins
 * kernel pages, so their number is capped; whoever gets none copies instead. One pool a worker; the
 * worker's thread only. */
#ifndef PROXY_PIPE_POOL_H
#define PROXY_PIPE_POOL_H

#include <stddef.h>
#include <stdint.h>

/* Free pipes that are kept for the next borrower; more are closed. */
#define PIPES_KEPT_MAX 16

struct pipe {
	int read_fd;
	int write_fd;
	uint32_t used; /* bytes inside */
	struct pipe *next;
};

struct pipe_pool {
	struct pipe *free;
	uint32_t free_count;
	uint32_t lent;
	uint32_t max;   /* free and lent together */
	uint32_t bytes; /* wanted size of a pipe */
};

void pipe_pool_init(struct pipe_pool *p, uint32_t max, uint32_t bytes);
void pipe_pool_done(struct pipe_pool *p);
/* An empty pipe, or NULL: the cap is reached, or the system gives none. */
struct pipe *pipe_pool_get(struct pipe_pool *p);
/* A pipe that still has bytes inside is closed with them. NULL-safe. */
void pipe_pool_put(struct pipe_pool *p, struct pipe *pipe);

#endif
