/* An upgrade, seen from the new process: what it takes over from the old one, and how it deals with
 * those that still drain. Control thread. See control/handover.h for the conversation. */
#ifndef DAEMON_PREDECESSOR_H
#define DAEMON_PREDECESSOR_H

#include "base/check.h"
#include "daemon/runner.h"

/* The old one may take so long for any answer. */
#define PREDECESSOR_PATIENCE_MS 60000

/* Before the configuration is read: looks whether this process was started as a successor. */
void predecessor_find(struct runner *r);
/* Makes r->live: with the counts and slots of the predecessor, if there is one. One that dies now
 * is as none. 0 or -errno, logged. */
MUST_CHECK int predecessor_take_counts(struct runner *r);
/* Offers the predecessor's sockets to the reload. 0 or -errno, logged. */
MUST_CHECK int predecessor_take_sockets(struct runner *r);
/* Everything is ready: takes over what was learnt. Returns when the predecessor accepts no more (or
 * has died). 0 or -errno, logged: this process must end. */
MUST_CHECK int predecessor_take_over(struct runner *r);
/* From here on there is no way back: lets this process accept. */
void predecessor_done(struct runner *r);

/* Reads what draining predecessors have to say, and buries the dead. */
void predecessors_tick(struct runner *r);
void predecessors_free(struct runner *r);

#endif
