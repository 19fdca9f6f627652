/* An answer that cannot be given at once. A handler that has to wait sets reply.pending; its
 * connection rests, everything else goes on, and when ready() says so, or PENDING_MS are over, the
 * handler is called again with it in request.pending. The API thread only. */
#ifndef HTTP_PENDING_H
#define HTTP_PENDING_H

#include <stdbool.h>

/* After so long the handler has to answer with what there is. */
#define PENDING_MS 5000
/* Requests that may rest at one time: a handler asks query_may_wait() before it begins. */
#define PENDING_MAX 16

/* The first member of what a handler waits for. */
struct pending {
	bool busy; /* ready() works, a little each time, and wants to be called again at once */
	bool (*ready)(struct pending *p);
	void (*drop)(struct pending *p); /* frees it, ready or not */
};

#endif
