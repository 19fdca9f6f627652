/* A bounded pool of kernel pipes. It trusts the borrower to keep pipe->used right: a pipe that is
 * put back with bytes inside must never be lent again, or one session would read another's data. */
#include "proxy/pipe_pool.h"

#include "base/check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void pipe_pool_init(struct pipe_pool *p, uint32_t max, uint32_t bytes)
{
	*p = (struct pipe_pool){.max = max, .bytes = bytes};
}

static void pipe_close(struct pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	free(pipe);
}

void pipe_pool_done(struct pipe_pool *p)
{
	CHECK(p->lent == 0);
	while (p->free != NULL) {
		struct pipe *pipe = p->free;

		p->free = pipe->next;
		pipe_close(pipe);
	}
}

static struct pipe *pipe_new(uint32_t bytes)
{
	struct pipe *pipe = malloc(sizeof(*pipe));
	int fd[2];

	if (pipe == NULL)
		return NULL;
	if (pipe2(fd, O_NONBLOCK | O_CLOEXEC) != 0) {
		free(pipe);
		return NULL;
	}
	/* Refused beyond /proc/sys/fs/pipe-user-pages-soft: the default size works too. */
	(void)fcntl(fd[1], F_SETPIPE_SZ, (int)bytes);
	*pipe = (struct pipe){.read_fd = fd[0], .write_fd = fd[1]};
	return pipe;
}

struct pipe *pipe_pool_get(struct pipe_pool *p)
{
	struct pipe *pipe = p->free;

	if (pipe != NULL) {
		p->free = pipe->next;
		p->free_count--;
	} else if (p->lent < p->max) {
		pipe = pipe_new(p->bytes);
	}
	if (pipe != NULL)
		p->lent++;
	return pipe;
}

void pipe_pool_put(struct pipe_pool *p, struct pipe *pipe)
{
	if (pipe == NULL)
		return;
	p->lent--;
	if (pipe->used != 0 || p->free_count == PIPES_KEPT_MAX) {
		pipe_close(pipe);
		return;
	}
	pipe->next = p->free;
	p->free = pipe;
	p->free_count++;
}
