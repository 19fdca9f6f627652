/* Who is still there. The API thread only. */
#ifndef API_HEARTBEATS_H
#define API_HEARTBEATS_H

#include "api/registrar.h"
#include "api/reply.h"
#include "api/request.h"

#include <stdint.h>

/* Answers one: q->match.id is alive. */
void heartbeats_beat(struct registrar *g, const struct request *q, struct reply *r);
/* What is due by the clock: silences, and what others have changed in the database. */
void heartbeats_tick(struct registrar *g, uint64_t now_ms);

#endif
