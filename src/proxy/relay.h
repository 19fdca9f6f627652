/* The relay: moves bytes one way, from one socket to another. Two of them make a session. It knows
 * sockets, bytes and ends of streams, and nothing of clients, backends or protocols.
 *
 * Interactive traffic is received into memory that all directions of a worker share, and sent at
 * once or, where the caller gives room, a moment later (batch.h). A direction that fills a whole
 * read RELAY_PROMOTE_READS times in a row carries bulk: it is moved through a borrowed pipe
 * (splice), in quanta, when the worker has nothing more urgent.
 * Memory belongs to a direction only while the receiver is behind.
 *
 * The worker's thread only. */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "base/check.h"
#include "config/config.h"
#include "proxy/pipe_pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One read of an interactive direction, and the number of full ones that make it bulk. */
#define RELAY_CHUNK_BYTES (64u << 10)
#define RELAY_PROMOTE_READS 4
/* What a bulk direction may move before the next one has its turn. */
#define RELAY_QUANTUM_BYTES (256u << 10)
/* A bulk direction that moved less than this since it last waited is interactive again. */
#define RELAY_DEMOTE_BYTES (64u << 10)
/* The shared buffer: bulk is copied in larger pieces when there is no pipe. */
#define RELAY_BUFFER_BYTES RELAY_QUANTUM_BYTES

/* One socket of a session. The flags follow edge-triggered epoll: set by an event, cleared by
 * EAGAIN. */
struct end {
	int fd; /* -1: none */
	bool readable;
	bool writable;
	bool hangup; /* the peer has ended or failed, or there is urgent data: a short read does not
	                mean that nothing is left */
	bool ended : 1;  /* the peer has ended: nothing comes behind what can be read */
	bool failed : 1; /* the peer has failed */
};

enum relay_state {
	RELAY_FLOWING,
	RELAY_ENDING, /* the source has ended; bytes are still to be delivered */
	RELAY_ENDED,  /* everything is delivered: the end is to be passed on */
};

/* Bytes that the receiver had no room for, or that may have to be sent again. free() it. */
struct tail {
	uint32_t from;
	uint32_t to;
	uint8_t bytes[];
};

struct relay {
	uint64_t bytes;     /* delivered */
	struct tail *tail;  /* NULL unless the receiver is behind */
	struct pipe *pipe;  /* NULL unless bulk is under way */
	uint32_t stint;     /* bytes since the direction last had to wait */
	uint8_t full_reads; /* consecutive */
	uint8_t state;      /* enum relay_state */
	bool bulk;          /* to be run in turns, behind everything interactive */
	bool doomed;        /* the session will be reset: an end is not passed on as an end */
};

/* What the directions of one worker share. */
struct relay_shared {
	uint8_t *buffer; /* RELAY_BUFFER_BYTES */
	/* RELAY_CHUNK_BYTES where interactive bytes may be left (RELAY_HELD); NULL: nowhere. */
	uint8_t *room;
	uint32_t held; /* bytes left there */
	struct pipe_pool pipes;
	enum relay_mode mode;
};

enum relay_result {
	RELAY_WAIT,       /* until an event */
	RELAY_HELD,       /* bytes are in the room: relay_deliver() them before anything else */
	RELAY_YIELD,      /* there is more to do, after others had their turn */
	RELAY_DONE,       /* state became RELAY_ENDED: shut the receiver down for writing */
	RELAY_SRC_FAILED, /* the source was reset, or failed otherwise */
	RELAY_DST_FAILED, /* the receiver was reset */
	RELAY_NO_MEMORY,
};

/* A copy of n bytes. NULL: out of memory. */
struct tail *relay_tail_new(const uint8_t *bytes, size_t n);

void relay_init(struct relay *r, enum relay_mode mode);
/* Gives back whatever is held; undelivered bytes are lost. */
void relay_done(struct relay *r, struct relay_shared *shared);
/* Moves what can be moved now. */
enum relay_result relay_run(struct relay *r, struct end *src, struct end *dst,
                            struct relay_shared *shared);
/* What was held: passed on, and then whatever else can be moved now. */
enum relay_result relay_deliver(struct relay *r, struct end *src, struct end *dst,
                                struct relay_shared *shared, const uint8_t *bytes, size_t len);
/* Is the receiver behind? */
static inline bool relay_pending(const struct relay *r)
{
	return r->tail != NULL || (r->pipe != NULL && r->pipe->used != 0);
}

#endif
