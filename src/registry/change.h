/* A transaction that changes one backend. The API thread only. */
#ifndef REGISTRY_CHANGE_H
#define REGISTRY_CHANGE_H

#include "http/reply.h"
#include "http/request.h"
#include "registry/registrar.h"

/* Begins a transaction and finds the backend of the request. False after it has answered, and then
 * there is no transaction. */
MUST_CHECK bool change_begin(struct registrar *g, const struct request *q,
                             struct backend_record *ret, struct reply *r);
/* err is what came of the changes: commits where it is 0. False after it has answered. */
MUST_CHECK bool change_end(struct registrar *g, int err, struct reply *r);
/* A line of the log: event, backend, app and, where q is given, whose token it was. */
void change_log(const struct request *q, const char *event, const char *id, const char *app);

#endif
