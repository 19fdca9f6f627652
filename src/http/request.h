/* What a handler is asked. The server fills it; texts live as long as the request. The API thread.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "http/door_kind.h"
#include "http/pending.h"
#include "http/router.h"
#include "http/tokens.h"

#include <stdbool.h>
#include <stddef.h>

/* Longest body of a request. */
#define REQUEST_BODY_MAX 16384
/* Different parameters in a query; more are refused. */
#define REQUEST_QUERY_MAX 8

struct query_parameter {
	const char *key;
	const char *value; /* still percent-encoded */
};

struct request {
	struct route_match match;
	enum door_kind door;
	const struct token *token; /* NULL: there are none, or the route needs none */
	const char *if_match;      /* headers; NULL: not sent */
	const char *if_none_match;
	const char *body;
	size_t body_len;
	struct query_parameter query[REQUEST_QUERY_MAX];
	size_t query_count;
	bool may_wait;           /* fewer than PENDING_MAX rest now */
	struct pending *pending; /* the handler is called again: what it has waited for */
};

#endif
