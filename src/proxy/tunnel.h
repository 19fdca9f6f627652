/* Two ends that are connected (states RELAY and ABORT): bytes flow both ways, each direction ends
 * on its own, and a reset on one side becomes one on the other. The worker's thread only. */
#ifndef PROXY_TUNNEL_H
#define PROXY_TUNNEL_H

#include <stdint.h>

struct session;
struct worker;

/* How long a reset is held back so that what was sent before it can be delivered, and how often we
 * look whether it has been. */
#define ABORT_FLUSH_MS 2000
#define ABORT_POLL_MS 2

/* All of these may close the session. */

/* Its backend is connected. */
void tunnel_start(struct session *s);
/* News of one end, which its flags have been told. */
void tunnel_event(struct session *s, unsigned side, uint32_t events);
/* Its timer has fired. */
void tunnel_timeout(struct session *s, uint64_t now_ms);
/* A turn for bulk: one quantum each way. */
void tunnel_turn(struct session *s);
/* Passes on what the worker's sessions have read and left in the batch. */
void tunnel_deliver_held(struct worker *w);

#endif
