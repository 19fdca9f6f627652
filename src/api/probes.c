/* What monitors ask: whether the process lives, whether it serves, what the API is. Nothing here
 * needs a token, so nothing here names a backend. */
#include "api/core.h"
#include "api/openapi.h"
#include "api/routes.h"
#include "base/clock.h"

static uint32_t backends_in(const struct table *t)
{
	uint32_t count = 0;

	for (uint32_t i = 0; t != NULL && i < t->backend_count; i++)
		count += !t->backends[i].deleted;
	return count;
}

void route_health(struct core *c, const struct request *q, struct reply *r)
{
	bool stopping = atomic_load_explicit(c->stopping, memory_order_relaxed);

	(void)q;
	reply_json(r, 200,
	           json_pack("{s:s, s:s, s:I, s:I}", "status", stopping ? "stopping" : "ok",
	                     "version", EDGEPROXY_VERSION, "backends",
	                     (json_int_t)backends_in(c->table), "uptime_secs",
	                     (json_int_t)((clock_now_ms() - c->started_ms) / 1000)));
}

/* Alive is who answers. */
void route_healthz(struct core *c, const struct request *q, struct reply *r)
{
	(void)c;
	(void)q;
	reply_json(r, 200, json_pack("{s:s}", "status", "ok"));
}

void route_readyz(struct core *c, const struct request *q, struct reply *r)
{
	uint32_t usable = c->table != NULL ? c->table->usable_count : 0;

	(void)q;
	if (atomic_load_explicit(c->stopping, memory_order_relaxed))
		reply_problem(r, 503, NULL, "stopping: no new clients are accepted");
	else if (usable == 0)
		reply_problem(r, 503, NULL, "no backend takes clients");
	else
		reply_json(r, 200,
		           json_pack("{s:s, s:I}", "status", "ready", "usable",
		                     (json_int_t)usable));
}

void route_openapi(struct core *c, const struct request *q, struct reply *r)
{
	(void)c;
	(void)q;
	r->status = 200;
	r->content_type = "application/json";
	r->fixed = openapi_data;
	r->len = (size_t)openapi_bytes;
}
