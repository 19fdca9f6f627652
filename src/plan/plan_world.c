/* The table, the place, the admission and the choice come from the code that the proxy runs; what
 * is made here is only what control/services.c and the health threads would have made: services
 * without sockets, and the marks in live. */
#include "plan/plan_world.h"

#include "route/access.h"
#include "route/panic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_listening(const struct endpoint *e)
{
	const struct endpoint nowhere = {0};

	return !endpoint_equal(e, &nowhere);
}

static int add_service(struct plan_world *w, const struct endpoint *listen, const char *app)
{
	struct service *s = service_new(listen, app, false, 0, NULL);

	if (s == NULL)
		return -ENOMEM;
	w->services[w->service_count++] = s;
	return 0;
}

/* As control/services.c has it: a row for EDGEPROXY_LISTEN_ADDR is no second listener. */
static int make_services(struct plan_world *w, const struct route_rows *rows)
{
	const struct plan_input *in = w->input;
	bool own = is_listening(&in->listen);
	int err = 0;

	for (size_t i = 0; err == 0 && i < rows->service_count && i < SERVICES_MAX; i++) {
		const struct service_row *row = &rows->services[i];

		own = own && !endpoint_equal(&row->listen, &in->listen);
		err = add_service(w, &row->listen, row->app != NULL ? row->app : in->app);
	}
	if (err == 0 && own)
		err = add_service(w, &in->listen, in->app);
	return err;
}

static uint32_t scaled(uint32_t limit, double scale)
{
	double s = limit * scale;

	return s < UINT32_MAX ? (uint32_t)s : UINT32_MAX;
}

static int make_table(struct plan_world *w, const struct route_rows *rows, double scale)
{
	const struct table_options options = {
		.local_region = w->input->region,
		.services = w->services,
		.service_count = w->service_count,
		.panics = w->input->panic_percent > 0,
	};
	struct route_rows copy = *rows;
	int err;

	copy.backends = calloc(rows->backend_count + 1, sizeof(*copy.backends));
	if (copy.backends == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < rows->backend_count; i++) {
		copy.backends[i] = rows->backends[i];
		copy.backends[i].soft_limit = scaled(rows->backends[i].soft_limit, scale);
		copy.backends[i].hard_limit = scaled(rows->backends[i].hard_limit, scale);
	}
	err = table_new(&copy, &options, w->live, &w->table);
	free(copy.backends);
	return err;
}

static void mark(struct plan_world *w, const struct plan_live *live)
{
	uint32_t slot = live_find(w->live, live->id);

	if (slot == LIVE_NO_SLOT)
		return;
	for (unsigned fault = 1; fault <= LIVE_AGENT_MAINT; fault <<= 1)
		live_set_fault(w->live, slot, (enum live_fault)fault, (live->faults & fault) != 0);
	live_set_ramp(w->live, slot, live->ramp);
	live_set_weight_percent(w->live, slot, live->weight_percent);
}

static void ignore_panic(void *arg, const struct panic_change *change)
{
	(void)arg;
	(void)change;
}

int plan_world_init(struct plan_world *w, const struct plan_input *input, enum plan_side side,
                    double scale)
{
	int err;

	*w = (struct plan_world){.input = input, .live = live_new()};
	if (w->live == NULL)
		return -ENOMEM;
	err = make_services(w, input->rows[side]);
	if (err == 0)
		err = make_table(w, input->rows[side], scale);
	if (err != 0)
		return err;
	for (size_t i = 0; i < input->live_count; i++)
		mark(w, &input->live[i]);
	panic_update(w->table, NULL, input->panic_percent, ignore_panic, NULL);
	return 0;
}

void plan_world_done(struct plan_world *w)
{
	table_unref(w->table);
	for (uint32_t i = 0; i < w->service_count; i++)
		service_unref(w->services[i]);
	live_free(w->live);
}

struct plan_standing plan_world_stand(const struct plan_world *w, const struct plan_client *client)
{
	struct plan_standing s = {0};
	const struct access_rule_row *rule;

	for (uint32_t i = 0; i < w->service_count; i++)
		if (endpoint_equal(&w->services[i]->listen, &client->listen))
			s.service = w->services[i];
	s.place = policy_locate(w->table, w->input->geo, &client->client);
	if (s.service == NULL)
		return s;
	rule = access_find(w->table->access, s.service->app, &client->client, s.place.country);
	s.denied = rule != NULL && !rule->allow;
	return s;
}

const struct backend *plan_world_decide(struct plan_world *w, const struct plan_client *client,
                                        const struct plan_standing *standing, uint32_t connections,
                                        uint64_t draw, unsigned *ret_region_score)
{
	struct rng rng = {.state = draw};
	struct choice choice;

	if (standing->service == NULL || standing->denied ||
	    policy_choose(&(struct policy_query){.table = w->table,
	                                         .service = standing->service,
	                                         .client = &client->client,
	                                         .place = &standing->place,
	                                         .rng = &rng},
	                  &choice) != 0)
		return NULL;
	if (connections == 0)
		live_release(w->live, choice.backend->slot);
	while (connections > 1 &&
	       live_reserve(w->live, choice.backend->slot, choice.backend->hard_limit))
		connections--;
	*ret_region_score = choice.terms.region_score;
	return choice.backend;
}

static int compare_id(const void *id, const void *backend)
{
	return strcmp(id, ((const struct backend *)backend)->id);
}

const struct backend *plan_world_backend(const struct plan_world *w, const char *id)
{
	const struct table *t = w->table;

	return t->backend_count == 0 ? NULL
	                             : bsearch(id, t->backends, t->backend_count,
	                                       sizeof(t->backends[0]), compare_id);
}

bool plan_world_keeps(const struct plan_world *w, const struct plan_standing *standing,
                      const char *id)
{
	const struct backend *b = plan_world_backend(w, id);
	struct balancer_query q = {.country = standing->place.country,
	                           .region = standing->place.region,
	                           .bound = true};
	enum exclusion e;

	if (b == NULL || standing->service == NULL || standing->denied)
		return false;
	if (standing->service->app[0] != '\0')
		q.app = standing->service->app;
	e = balancer_judge(w->table, b, &q).exclusion;
	return e == EXCLUDED_NOT || e == EXCLUDED_FULL;
}
