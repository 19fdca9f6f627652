/* What a backend is sent first: a PROXY header where its service wants one, and the client's first
 * bytes. Those are kept, so that the next backend can be sent all of it when this one fails before
 * it has answered.
 *
 * The worker's thread only. */
#ifndef PROXY_OPENING_H
#define PROXY_OPENING_H

#include "base/check.h"
#include "net/addr.h"
#include "net/socket.h"
#include "proxy/relay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* What of a client's first bytes goes with a fast open: one packet holds no more. */
#define OPENING_FASTOPEN_BYTES 1200

struct opening {
	struct session *session;
	struct endpoint dst; /* where the client meant to go, for a PROXY header */
	struct tail *first;  /* the client's first bytes, once it has been asked for some: those
	                        before from are sent to the backend that is being tried */
	bool header_sent;    /* the PROXY header went with the first packet */
};

/* dst is where a PROXY header of the client says that it meant to go; NULL: there was none. */
void opening_init(struct opening *o, struct session *s, const struct endpoint *dst);
/* Frees what is kept, and counts what of it the backend was sent (counters.bytes). */
void opening_done(struct opening *o);

/* How many of the client's first bytes the backend has been sent. */
static inline uint32_t opening_sent(const struct opening *o)
{
	return o->first != NULL ? o->first->from : 0;
}

/* The next backend is sent all of it. */
void opening_rewind(struct opening *o);

/* With TCP Fast Open: header and first bytes, if they are there, for the first packet, in the
 * worker's buffer. 0, or -errno of the client's socket, or -ENOMEM. */
MUST_CHECK int opening_pack(struct opening *o, struct first_bytes *ret_first);
/* So much of it went with the packet. 0, or -EIO: not even the whole header. */
MUST_CHECK int opening_note_packed(struct opening *o, size_t sent);

/* The header, unless it went with the first packet: the backend's socket has just been connected,
 * so its send buffer is empty and the whole header fits; anything else is a failed connect. 0 or
 * -errno. */
MUST_CHECK int opening_send_header(struct opening *o);

enum opening_result {
	OPENING_KEPT, /* all that there is has been passed on, and is kept */
	OPENING_FULL, /* there is more than is kept, or nothing is gained by waiting: commit */
	OPENING_CLIENT_FAILED,
	OPENING_BACKEND_FAILED,
	OPENING_NO_MEMORY,
};

/* Passes the client's first bytes on and keeps them, RELAY_CHUNK_BYTES at most. *ret_err: the
 * -errno of the end that has failed. */
MUST_CHECK enum opening_result opening_pass(struct opening *o, int *ret_err);
/* Nothing will be sent again: what the backend has not taken yet becomes the tail of the client's
 * direction. */
void opening_commit(struct opening *o);

#endif
