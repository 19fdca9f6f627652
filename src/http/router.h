/* From a request line to a route. Pure; any thread. */
#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H

#include "base/check.h"
#include "http/door_kind.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>

struct core; /* the handlers' own: nothing that is looked into here */
struct request;
struct reply;

struct route {
	const char *method;
	const char *pattern; /* {id} is one segment, percent-encoded */
	bool needs_token;    /* where there are tokens */
	bool takes_json;     /* its body must be declared to be JSON */
	unsigned doors;      /* of enum door_bit */
	void (*handler)(struct core *c, const struct request *q, struct reply *r);
};

/* Room for every method of one path: "GET, HEAD, PUT, DELETE". */
#define ROUTER_ALLOW_MAX 48

struct route_match {
	const struct route *route;
	char id[BACKEND_ID_MAX + 1];  /* decoded; "" where the pattern has none */
	char allow[ROUTER_ALLOW_MAX]; /* of -EPERM: the methods that the path has */
};

/* path as it stands in the request line, without a query. 0; -ENOENT (no such path at this door);
 * -EPERM (not with this method); -EINVAL (the id is not percent-encoded rightly, or no backend's
 * can be so long). */
MUST_CHECK int router_match(const struct route *routes, size_t route_count, const char *method,
                            const char *path, enum door_kind door, struct route_match *ret_match);

/* Decodes len bytes of percent-encoding into at most room bytes and the end. 0; -EINVAL (a bad
 * escape, or an encoded NUL); -ENAMETOOLONG. */
MUST_CHECK int percent_decode(const char *text, size_t len, char *to, size_t room);

#endif
