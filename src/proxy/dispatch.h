/* All ways in which something happens to a session: which state's business it is. When one of these
 * returns, whatever it has closed has been given back. The worker's thread only. */
#ifndef PROXY_DISPATCH_H
#define PROXY_DISPATCH_H

#include "net/addr.h"
#include "net/timer.h"
#include "route/service.h"

#include <stdint.h>

struct session;
struct worker;

/* Sessions that are given places in one turn of the loop, before others have their turn. */
#define DISPATCH_PLACES_A_TURN 32

/* Takes a client that was accepted (its connection is counted in live): fd, its address and a
 * reference to the service. Never fails: without memory the client is closed and logged. */
void dispatch_start(struct worker *w, int fd, const struct endpoint *peer, struct service *service);
/* An epoll event of one end. */
void dispatch_event(struct session *s, unsigned side, uint32_t events);
/* A session's timer has fired. */
void dispatch_timer(struct timer *t, uint64_t now_ms);
/* What sessions have read and held is passed on. */
void dispatch_held(struct worker *w);
/* Sessions of this worker have been given places. */
void dispatch_places(struct worker *w);
/* The timer of a worker with waiting sessions: places are offered to all. */
void dispatch_offer(struct timer *t, uint64_t now_ms);
/* The first session that waits for a turn with its bulk has it. */
void dispatch_bulk(struct worker *w);

#endif
