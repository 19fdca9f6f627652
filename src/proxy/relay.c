/* Moving bytes. The rules that everything here keeps:
 *
 * - A direction never reads while its receiver is behind, so a slow receiver slows the sender
 * through TCP and costs at most one tail or one pipe.
 * - Sockets are read until they say EAGAIN or give less than was asked for; edge-triggered epoll
 *   reports again only what is new. After a hangup, and around urgent data, a short read proves
 *   nothing: it is read on.
 * - The end of a stream is reported only when every byte before it is delivered, and a failure is
 *   never reported as an end.
 *
 * It trusts the flags of the ends and never touches epoll, timers or sessions. */
#include "proxy/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* "Go on" beside the results that end a run. */
enum { GO_ON = -1 };

void relay_init(struct relay *r, enum relay_mode mode)
{
	*r = (struct relay){.bulk = mode == RELAY_SPLICE};
}

void relay_done(struct relay *r, struct relay_shared *shared)
{
	pipe_pool_put(&shared->pipes, r->pipe);
	r->pipe = NULL;
	free(r->tail);
	r->tail = NULL;
}

/* What a failed or refused write means. */
static int write_failed(struct end *dst)
{
	if (errno == EINTR)
		return GO_ON;
	if (errno != EAGAIN)
		return RELAY_DST_FAILED;
	dst->writable = false;
	return RELAY_WAIT;
}

/* What a failed or refused read means. */
static int read_failed(struct end *src)
{
	if (errno == EINTR)
		return GO_ON;
	if (errno != EAGAIN)
		return RELAY_SRC_FAILED;
	src->readable = false;
	return RELAY_WAIT;
}

static void count(struct relay *r, size_t n)
{
	r->bytes += n;
	r->stint = n > UINT32_MAX - r->stint ? UINT32_MAX : r->stint + (uint32_t)n;
}

static int flush_tail(struct relay *r, struct end *dst)
{
	while (r->tail->from < r->tail->to) {
		ssize_t n = send(dst->fd, r->tail->bytes + r->tail->from,
		                 r->tail->to - r->tail->from, MSG_NOSIGNAL);

		if (n < 0) {
			int result = write_failed(dst);

			if (result != GO_ON)
				return result;
			continue;
		}
		count(r, (size_t)n);
		r->tail->from += (uint32_t)n;
	}
	free(r->tail);
	r->tail = NULL;
	return GO_ON;
}

static int flush_pipe(struct relay *r, struct end *dst)
{
	while (r->pipe->used > 0) {
		ssize_t n = splice(r->pipe->read_fd, NULL, dst->fd, NULL, r->pipe->used,
		                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n < 0) {
			int result = write_failed(dst);

			if (result != GO_ON)
				return result;
			continue;
		}
		CHECK(n > 0); /* a pipe with bytes inside has no end */
		count(r, (size_t)n);
		r->pipe->used -= (uint32_t)n;
	}
	return GO_ON;
}

/* Delivers what is held. GO_ON when nothing is. */
static int flush(struct relay *r, struct end *dst)
{
	if (!relay_pending(r))
		return GO_ON;
	if (!dst->writable)
		return RELAY_WAIT;
	return r->tail != NULL ? flush_tail(r, dst) : flush_pipe(r, dst);
}

/* The source has ended and everything is delivered. */
static int end(struct relay *r)
{
	if (r->doomed)
		return RELAY_SRC_FAILED;
	r->state = RELAY_ENDED;
	return RELAY_DONE;
}

struct tail *relay_tail_new(const uint8_t *bytes, size_t n)
{
	struct tail *t = malloc(sizeof(*t) + n);

	if (t == NULL)
		return NULL;
	t->from = 0;
	t->to = (uint32_t)n;
	memcpy(t->bytes, bytes, n);
	return t;
}

/* Sends bytes of the shared buffer; what the receiver has no room for becomes the tail. flags:
 * MSG_MORE where something is sure to follow. */
static int deliver(struct relay *r, struct end *dst, const uint8_t *bytes, size_t len, int flags)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(dst->fd, bytes + sent, len - sent, MSG_NOSIGNAL | flags);

		if (n < 0) {
			int result = write_failed(dst);

			if (result == RELAY_WAIT) {
				r->tail = relay_tail_new(bytes + sent, len - sent);
				return r->tail != NULL ? RELAY_WAIT : RELAY_NO_MEMORY;
			}
			if (result != GO_ON)
				return result;
			continue;
		}
		count(r, (size_t)n);
		sent += (size_t)n;
	}
	return GO_ON;
}

/* Is the end sure to be passed on behind what can be read? Then it goes with the last bytes: that
 * is a packet less, for everybody on the way. */
static bool end_follows(const struct relay *r, const struct end *src)
{
	return src->ended && !src->failed && !r->doomed;
}

/* Reads once, and writes what came; where there is room, what is all there is for now is left
 * there. */
static int copy_step(struct relay *r, struct end *src, struct end *dst, struct relay_shared *shared,
                     size_t chunk)
{
	uint8_t *bytes = shared->room != NULL ? shared->room : shared->buffer;
	ssize_t n = recv(src->fd, bytes, chunk, 0);

	if (n < 0)
		return read_failed(src);
	if (n == 0) {
		r->state = RELAY_ENDING;
		return GO_ON;
	}
	if ((size_t)n == chunk) {
		r->full_reads += r->full_reads < UINT8_MAX;
	} else {
		r->full_reads = 0;
		src->readable = src->hangup;
	}
	if (shared->room != NULL && !src->readable) {
		shared->held = (uint32_t)n;
		return RELAY_HELD;
	}
	return deliver(r, dst, bytes, (size_t)n,
	               (size_t)n < chunk && end_follows(r, src) ? MSG_MORE : 0);
}

static int splice_step(struct relay *r, struct end *src, struct end *dst,
                       struct relay_shared *shared, size_t chunk)
{
	ssize_t n = splice(src->fd, NULL, r->pipe->write_fd, NULL, chunk,
	                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	/* splice() halts before urgent data as if there were nothing, or the end: recv() knows. */
	if (n == 0 || (n < 0 && errno == EAGAIN))
		return copy_step(r, src, dst, shared, RELAY_CHUNK_BYTES);
	if (n < 0)
		return read_failed(src);
	r->pipe->used = (uint32_t)n;
	return GO_ON;
}

/* A direction that has to wait gives its pipe back; one that moved little meanwhile is interactive
 * from now on. */
static void rest(struct relay *r, struct relay_shared *shared)
{
	if (relay_pending(r))
		return;
	pipe_pool_put(&shared->pipes, r->pipe);
	r->pipe = NULL;
	if (r->bulk && r->stint < RELAY_DEMOTE_BYTES && shared->mode != RELAY_SPLICE) {
		r->bulk = false;
		r->full_reads = 0;
	}
	r->stint = 0;
}

/* GO_ON when nothing is held and there may be something to read. */
static int before_read(struct relay *r, const struct end *src, struct end *dst)
{
	int result = flush(r, dst);

	if (result != GO_ON)
		return result;
	if (r->state == RELAY_ENDING)
		return end(r);
	return src->readable ? GO_ON : RELAY_WAIT;
}

static int run_interactive(struct relay *r, struct end *src, struct end *dst,
                           struct relay_shared *shared)
{
	for (;;) {
		int result = before_read(r, src, dst);

		if (result != GO_ON)
			return result;
		if (r->full_reads >= RELAY_PROMOTE_READS) {
			r->bulk = true;
			return RELAY_YIELD;
		}
		result = copy_step(r, src, dst, shared, RELAY_CHUNK_BYTES);
		if (result != GO_ON)
			return result;
	}
}

static int run_bulk(struct relay *r, struct end *src, struct end *dst, struct relay_shared *shared)
{
	uint64_t stop_at = r->bytes + RELAY_QUANTUM_BYTES;

	CHECK(shared->room == NULL); /* which holds less than a piece of bulk */
	for (;;) {
		int result = before_read(r, src, dst);

		if (result != GO_ON)
			return result;
		if (r->bytes >= stop_at)
			return RELAY_YIELD;
		if (r->pipe == NULL && shared->mode != RELAY_COPY)
			r->pipe = pipe_pool_get(&shared->pipes);
		if (r->pipe != NULL)
			result = splice_step(r, src, dst, shared, shared->pipes.bytes);
		else
			result = copy_step(r, src, dst, shared, RELAY_BUFFER_BYTES);
		if (result != GO_ON)
			return result;
	}
}

enum relay_result relay_run(struct relay *r, struct end *src, struct end *dst,
                            struct relay_shared *shared)
{
	int result;

	if (r->state == RELAY_ENDED)
		return RELAY_WAIT;
	result = r->bulk ? run_bulk(r, src, dst, shared) : run_interactive(r, src, dst, shared);
	if (result == RELAY_WAIT || result == RELAY_DONE)
		rest(r, shared);
	return (enum relay_result)result;
}

enum relay_result relay_deliver(struct relay *r, struct end *src, struct end *dst,
                                struct relay_shared *shared, const uint8_t *bytes, size_t len)
{
	int result = deliver(r, dst, bytes, len, 0);

	if (result == GO_ON || result == RELAY_WAIT)
		return relay_run(r, src, dst, shared);
	return (enum relay_result)result;
}
