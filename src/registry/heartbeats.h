/* Who is still there. The API thread only. */
#ifndef REGISTRY_HEARTBEATS_H
#define REGISTRY_HEARTBEATS_H

#include "http/reply.h"
#include "http/request.h"
#include "registry/registrar.h"

#include <stdint.h>

/* Answers one: q->match.id is alive. */
void heartbeats_beat(struct registrar *g, const struct request *q, struct reply *r);
/* What is due by the clock: silences, and what others have changed in the database. */
void heartbeats_tick(struct registrar *g, uint64_t now_ms);

#endif
