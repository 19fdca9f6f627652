/* The routes of the API, as the table that the HTTP server is given, and their handlers. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/core.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/router.h"

enum route_id {
#define ROUTE(handler, method, pattern, access, doors, body) ROUTE_##handler,
#include "api/routes.def"
#undef ROUTE
	ROUTE_COUNT
};

/* By route_id. */
extern const struct route api_routes[ROUTE_COUNT];

/* One handler a row. The API thread. */
#define ROUTE(handler, method, pattern, access, doors, body) \
	void route_##handler(struct core *c, const struct request *q, struct reply *r);
#include "api/routes.def"
#undef ROUTE

#endif
