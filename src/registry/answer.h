/* What handlers answer about backends. The API thread only. */
#ifndef REGISTRY_ANSWER_H
#define REGISTRY_ANSWER_H

#include "http/reply.h"
#include "http/request.h"
#include "registry/registrar.h"

/* err is what came of using the database: said in the log when that changes. */
void answer_database_state(struct registrar *g, int err);
/* 503, and the above. err is not 0. */
void answer_database(struct registrar *g, struct reply *r, int err);
/* 403: the token does not cover the app. field NULL: no field of the request says which. */
void answer_scope(struct reply *r, const char *field);
/* 404. */
void answer_unknown(struct reply *r);
/* 409: the row is an operator's. */
void answer_operators_row(struct reply *r);

/* A text, or null for an empty one. The caller's to json_decref(). */
json_t *answer_text(const char *text);
/* One backend; the same. NULL: out of memory. */
json_t *answer_row(const struct registrar *g, const struct backend_record *b);
/* The backend of that id as it stands in the database now. False after it has answered. */
MUST_CHECK bool answer_find(struct registrar *g, const struct request *q, const char *id,
                            struct backend_record *ret, struct reply *r);
/* The same, answered. */
void answer_backend(struct registrar *g, const struct request *q, const char *id, unsigned status,
                    struct reply *r);

/* Does what has this entity tag (NULL: nothing) meet If-Match and If-None-Match of the request?
 * False after it has answered: 304 where it reads, 412, or 400. */
MUST_CHECK bool answer_condition(const struct request *q, const char *tag, bool reads,
                                 struct reply *r);

#endif
