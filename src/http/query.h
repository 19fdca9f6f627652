/* The parameters of a request, by a table: each known, each once, each decoded and short enough.
 * The API thread. */
#ifndef HTTP_QUERY_H
#define HTTP_QUERY_H

#include "base/check.h"
#include "base/log.h"
#include "http/reply.h"
#include "http/request.h"
#include "net/prefix.h"

#include <stdbool.h>
#include <stddef.h>

/* Rows of one page of a list. */
#define QUERY_PAGE_DEFAULT 100
#define QUERY_PAGE_MAX 1000

struct query_field {
	const char *key;
	char *to; /* "" where it is not given */
	size_t room;
};

/* All return false after they have answered 400, naming the parameter. */

MUST_CHECK bool query_read(const struct request *q, const struct query_field *fields, size_t count,
                           struct reply *r);
/* least..most; text "": *ret stays as it is. */
MUST_CHECK bool query_number(const char *key, const char *text, unsigned long least,
                             unsigned long most, unsigned long *ret, struct reply *r);
/* "true"; text "": *ret is false. */
MUST_CHECK bool query_true(const char *key, const char *text, bool *ret, struct reply *r);
/* "192.0.2.0/24", "2001:db8::1". text "": *ret_given is false. */
MUST_CHECK bool query_prefix(const char *key, const char *text, struct prefix *ret, bool *ret_given,
                             struct reply *r);
/* May this request see what belongs to app ("": every app)? Answers 403 otherwise. */
MUST_CHECK bool query_may_see(const struct request *q, const char *app, struct reply *r);

/* Ends a line of the log with what was asked for: every parameter, and whose token it was. */
void query_log_end(struct log_line *l, const struct request *q);

/* Is there room for one more request that waits? Answers 503 otherwise. */
MUST_CHECK bool query_may_wait(const struct request *q, struct reply *r);

#endif
