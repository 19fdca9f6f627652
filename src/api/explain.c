/* GET /api/v1/explain: where one client would go now, by the table, the faults, the bindings, the
 * limits of clients and the queue that the workers have. Looking changes nothing. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "explain/explanation_json.h"
#include "http/query.h"

#include <string.h>

/* The service whose client it would be: the first for the app, or else the first of all. */
static const struct service *find_service(const struct table *t, const char *app)
{
	for (uint32_t i = 0; i < t->service_count; i++)
		if (app[0] == '\0' || strcmp(t->services[i]->app, app) == 0)
			return t->services[i];
	return NULL;
}

static void reply_explanation(struct core *c, const struct explain_query *query, size_t most,
                              struct reply *r)
{
	struct explanation e;

	if (explain(query, &e) != 0) {
		reply_problem(r, 503, NULL, "out of memory");
		return;
	}
	reply_json(r, 200,
	           explanation_json(&e, &(struct explain_sources){
						.db_path = c->config->db_path,
						.geoip_path = c->config->geoip_path,
						.most = most,
					}));
	explanation_done(&e);
}

void route_explain(struct core *c, const struct request *q, struct reply *r)
{
	char text[IP_TEXT_MAX], app[APP_NAME_MAX + 1], number[8];
	const struct query_field fields[] = {
		{"ip", text, sizeof(text)},
		{"app", app, sizeof(app)},
		{"limit", number, sizeof(number)},
	};
	unsigned long most = QUERY_PAGE_DEFAULT;
	const struct service *service;
	struct ip client;

	if (!query_read(q, fields, sizeof(fields) / sizeof(fields[0]), r) ||
	    !query_number("limit", number, 1, QUERY_PAGE_MAX, &most, r))
		return;
	if (ip_parse(text, &client) != 0) {
		reply_problem(r, 400, "ip", "ip must be an IPv4 or IPv6 address");
		return;
	}
	service = find_service(c->table, app);
	if (service == NULL) {
		reply_problem(r, 404, "app",
		              app[0] != '\0'
		                      ? "no service is for this app only: ask without app, or "
		                        "offline"
		                      : "the proxy has no service");
		return;
	}
	if (!query_may_see(q, service->app, r))
		return;
	reply_explanation(c,
	                  &(struct explain_query){
				  .table = c->table,
				  .geo = c->geo,
				  .service = service,
				  .client = &client,
				  .now_ms = clock_now_ms(),
				  .seed = clock_now_ns(),
				  .affinity = c->affinity,
				  .queue = c->queue,
				  .limits = c->client_limits,
				  .now_ns = clock_now_ns(),
				  .may_wait = c->config->queue_max > 0,
			  },
	                  most, r);
}
