/* An answer that is made while it is sent, for as long as it takes: a handler puts a stream into
 * its reply, and the server asks it for more whenever the client has taken what there was. A stream
 * with nothing to say sleeps, which costs nothing, until somebody wakes it. The API thread.
 *
 * A client that takes nothing of what is offered to it for SERVER_REQUEST_MS is gone; one that
 * sleeps is not at fault. */
#ifndef HTTP_STREAM_H
#define HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct MHD_Connection;
struct MHD_Response;

/* What read() says where it has no bytes. */
#define STREAM_LATER 0
#define STREAM_END (-1)

struct stream {
	/* The handler's. What comes next, at most room bytes: how many, STREAM_LATER or STREAM_END.
	 */
	ssize_t (*read)(struct stream *s, char *to, size_t room);
	/* It has ended, or the client has left, or the process ends: called once, frees it. */
	void (*free)(struct stream *s);

	/* The server's. */
	struct MHD_Connection *connection;
	struct stream **held; /* where the connection keeps it; NULL there when it is gone */
	bool asleep;
	uint64_t moved_ms; /* when it was asked last, or woken */
};

/* It has something to say (again): read() will be called soon. Nothing happens to one awake. */
void stream_wake(struct stream *s);

/* The server's: the response that reads from it, which owns it. NULL: out of memory; s is freed. */
struct MHD_Response *stream_response(struct stream *s, struct MHD_Connection *connection,
                                     struct stream **held);

#endif
