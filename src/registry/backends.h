/* Backends as operators see them. Each answers one request; q->match.id is the backend. The API
 * thread only. */
#ifndef REGISTRY_BACKENDS_H
#define REGISTRY_BACKENDS_H

#include "http/reply.h"
#include "http/request.h"
#include "registry/registrar.h"
#include "route/rows.h"

/* Those that the parameters ask for (list_query.h), a page of them. */
void backends_list(struct registrar *g, const struct request *q, struct reply *r);
void backends_show(struct registrar *g, const struct request *q, struct reply *r);
void backends_set_state(struct registrar *g, const struct request *q, enum admin_state state,
                        struct reply *r);

#endif
