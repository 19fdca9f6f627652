/* A sweep: a worker looks over all its sessions for those whose backend is gone or down and has to
 * lose them (route/drain.h). A few in each turn of the loop, so that nobody else waits. The
 * worker's thread only. */
#ifndef PROXY_SWEEP_H
#define PROXY_SWEEP_H

struct session;
struct worker;

/* In one turn so many sessions are looked at, or so many ended or sent elsewhere. */
#define SWEEP_LOOKS_A_TURN 256
#define SWEEP_ENDS_A_TURN 16

/* One turn's share of the walk WALK_SWEEP. */
void sweep_turn(struct worker *w);

/* The end time that a sweep gave this relaying session has come. */
void sweep_end(struct session *s);

#endif
