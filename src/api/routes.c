/* The table of routes, and the handlers of those that the registry answers by itself: it knows
 * nothing of the rest of the API. */
#include "api/routes.h"

#include "registry/backends.h"
#include "registry/heartbeats.h"
#include "registry/registrations.h"

#define ACCESS_OPEN false
#define ACCESS_TOKEN true
#define BODY_NONE false
#define BODY_JSON true

const struct route api_routes[ROUTE_COUNT] = {
#define ROUTE(handler, method, pattern, access, doors, body) \
	{#method, pattern, ACCESS_##access, BODY_##body, doors, route_##handler},
#include "api/routes.def"
#undef ROUTE
};

void route_register(struct core *c, const struct request *q, struct reply *r)
{
	registrations_register(&c->registrar, q, r);
}

void route_put(struct core *c, const struct request *q, struct reply *r)
{
	registrations_put(&c->registrar, q, r);
}

void route_remove(struct core *c, const struct request *q, struct reply *r)
{
	registrations_remove(&c->registrar, q, r);
}

void route_heartbeat(struct core *c, const struct request *q, struct reply *r)
{
	heartbeats_beat(&c->registrar, q, r);
}

void route_list(struct core *c, const struct request *q, struct reply *r)
{
	backends_list(&c->registrar, q, r);
}

void route_show(struct core *c, const struct request *q, struct reply *r)
{
	backends_show(&c->registrar, q, r);
}

void route_drain(struct core *c, const struct request *q, struct reply *r)
{
	backends_set_state(&c->registrar, q, STATE_DRAIN, r);
}

void route_ready(struct core *c, const struct request *q, struct reply *r)
{
	backends_set_state(&c->registrar, q, STATE_READY, r);
}

void route_maint(struct core *c, const struct request *q, struct reply *r)
{
	backends_set_state(&c->registrar, q, STATE_MAINT, r);
}
