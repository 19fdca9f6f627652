/* A worker's side of a listening socket. Every worker watches the same socket (EPOLLEXCLUSIVE: the
 * kernel wakes one of them); whoever accepts hands the client to a worker with fewer sessions when
 * the difference is worth a wake-up.
 *
 * Errors of accept() never stop the listener and never spin it: when descriptors, memory or
 * max-conn are used up it pauses for LISTENER_PAUSE_MS; clients wait in the kernel's queue
 * meanwhile. The worker's thread only. */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

#include "base/list.h"
#include "net/socket.h"
#include "net/timer.h"
#include "route/service.h"

#include <stdbool.h>

struct worker;

/* Clients accepted in one turn of the loop, so that established sessions are served in between. */
#define ACCEPT_BATCH 32
#define LISTENER_PAUSE_MS 20
/* At most one line about a pause a listener and this long. */
#define LISTENER_COMPLAIN_MS 5000

struct listener {
	struct list node; /* in the worker's listeners */
	struct worker *worker;
	struct service *service; /* a reference, renewed with each table */
	struct timer resume;
	uint64_t complain_ms; /* not before */
	bool paused;
	bool wanted; /* by the table that is being adopted */
};

/* Its pause may be over. */
void listener_timer(struct timer *t, uint64_t now_ms);
/* The socket is readable. */
void listener_event(struct listener *l);

/* Watches the sockets of the worker's table's services, and no others. */
void listeners_adopt(struct worker *w);
/* Accepts what the kernel has queued and then no more. */
void listeners_stop(struct worker *w);
/* Accepts no more, at once: what is queued is for whoever else listens there. */
void listeners_pause(struct worker *w);
/* Accepts again. */
void listeners_resume(struct worker *w);

#endif
