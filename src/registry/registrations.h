/* Backends that register and leave. Each answers one request. The API thread only. */
#ifndef REGISTRY_REGISTRATIONS_H
#define REGISTRY_REGISTRATIONS_H

#include "http/reply.h"
#include "http/request.h"
#include "registry/registrar.h"

/* A body with an id: of a new registration, or to renew one. */
void registrations_register(struct registrar *g, const struct request *q, struct reply *r);
/* The same for q->match.id, under the conditions of the request. */
void registrations_put(struct registrar *g, const struct request *q, struct reply *r);
void registrations_remove(struct registrar *g, const struct request *q, struct reply *r);

#endif
