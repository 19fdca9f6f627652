/* A sweep: a worker looks over all its sessions for those whose backend is gone or down and has to
 * lose them (route/drain.h). A few in each turn of the loop, so that nobody else waits. The
 * worker's thread only. */
#ifndef PROXY_SWEEP_H
#define PROXY_SWEEP_H

#include "base/list.h"

#include <stdbool.h>

struct session;
struct worker;

/* In one turn so many sessions are looked at, or so many ended or sent elsewhere. */
#define SWEEP_LOOKS_A_TURN 256
#define SWEEP_ENDS_A_TURN 16

struct sweep {
	struct list place; /* among the worker's sessions: those before it have been seen */
};

void sweep_init(struct sweep *s);
/* From the beginning, also when one is under way. */
void sweep_start(struct worker *w);
bool sweep_active(const struct worker *w);
/* One turn's share. */
void sweep_turn(struct worker *w);
void sweep_stop(struct worker *w);

/* The end time that a sweep gave this relaying session has come. */
void sweep_end(struct session *s);

#endif
