/* The sketch of clients over HTTP, with all that `edgeproxy plan` needs to decide again: the
 * settings that decisions rest on, and what is true of each backend now beside its row. Addresses
 * of clients: the control socket only (routes.def). The sketch is small; backends come without a
 * limit, since a plan without one of them would be wrong. */
#include "api/core.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/json_text.h"
#include "recorder/client_sketch.h"

#include <limits.h>
#include <stdlib.h>

static json_t *client_json(const struct core *c, const struct client_entry *e, uint64_t now_ms)
{
	const struct client_seen *s = &e->latest;
	char prefix[PREFIX_TEXT_MAX];
	char ip[IP_TEXT_MAX];

	return json_pack(
		"{s:s, s:s, s:I, s:o, s:o, s:o, s:i, s:f, s:f, s:I}", "prefix",
		prefix_format(&e->prefix, prefix), "client", ip_format(&s->client, ip), "service",
		(json_int_t)s->service, "country", json_text(s->country), "region",
		json_text(region_name(s->region)), "backend",
		json_text(backend_names_get(c->recorder.names, c->table, s->slot, s->generation)),
		"region_score", (int)s->region_score, "weight", e->weight, "error", e->error,
		"last_secs", (json_int_t)((now_ms - e->latest_ms) / 1000));
}

static json_t *clients_json(const struct core *c, uint64_t now_ms)
{
	json_t *all = json_array();

	for (size_t i = 0; i < client_sketch_count(c->recorder.clients); i++) {
		struct client_entry e = client_sketch_entry(c->recorder.clients, i, now_ms);

		json_array_append_new(all, client_json(c, &e, now_ms));
	}
	return all;
}

static json_t *services_json(const struct core *c)
{
	json_t *all = json_array();
	char listen[ENDPOINT_TEXT_MAX];

	for (uint32_t i = 0; c->table != NULL && i < c->table->service_count; i++) {
		const struct service *s = c->table->services[i];

		json_array_append_new(all, json_pack("{s:I, s:s, s:s}", "key", (json_int_t)s->key,
		                                     "listen", endpoint_format(&s->listen, listen),
		                                     "app", s->app));
	}
	return all;
}

/* Short rows: there may be a hundred thousand. Those of which there is nothing to say are left out.
 */
static json_t *live_json(const struct core *c)
{
	json_t *all = json_array();

	for (uint32_t i = 0; c->table != NULL && i < c->table->backend_count; i++) {
		const struct backend *b = &c->table->backends[i];
		uint32_t connections = live_connections(c->live, b->slot);
		unsigned faults = live_faults(c->live, b->slot);
		struct live_view view = live_view(c->live, b->slot);

		if (connections == 0 && faults == 0 && view.ramp == LIVE_NO_RAMP &&
		    view.weight_percent == 100)
			continue;
		json_array_append_new(all,
		                      json_pack("{s:o, s:I, s:i, s:i, s:i}", "id", json_text(b->id),
		                                "connections", (json_int_t)connections, "faults",
		                                (int)faults, "ramp", (int)view.ramp,
		                                "weight_percent", (int)view.weight_percent));
	}
	return all;
}

static json_t *path_json(const char *path)
{
	char *real = path[0] != '\0' ? realpath(path, NULL) : NULL;
	json_t *j = json_string(real != NULL ? real : path);

	free(real);
	return j;
}

static json_t *settings_json(const struct core *c)
{
	const struct config *config = c->config;
	char listen[ENDPOINT_TEXT_MAX] = "";

	if (config_listens(config))
		endpoint_format(&config->listen_addr, listen);
	/* With the port that the kernel chose, where it did. */
	for (uint32_t i = 0; c->table != NULL && i < c->table->service_count; i++)
		if (config_listens(config) && config->listen_addr.port == 0 &&
		    ip_equal(&c->table->services[i]->listen.ip, &config->listen_addr.ip))
			endpoint_format(&c->table->services[i]->listen, listen);
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I}", "region", config->region, "app",
	                 config->app, "listen_addr", listen, "db_path", path_json(config->db_path),
	                 "geoip_path", path_json(config->geoip_path), "healthy_panic_threshold",
	                 (json_int_t)config->healthy_panic_threshold);
}

void route_clients(struct core *c, const struct request *q, struct reply *r)
{
	uint64_t now_ms = clock_now_ms();
	double total = client_sketch_total(c->recorder.clients, now_ms);

	(void)q;
	reply_json(r, 200,
	           json_pack("{s:o, s:o, s:o, s:o, s:f, s:f, s:i, s:i}", "settings",
	                     settings_json(c), "services", services_json(c), "clients",
	                     clients_json(c, now_ms), "live", live_json(c), "total_weight", total,
	                     "error_bound", total / CLIENT_SKETCH_ENTRIES, "entries_max",
	                     CLIENT_SKETCH_ENTRIES, "half_life_secs",
	                     (int)(CLIENT_SKETCH_HALF_LIFE_MS / 1000)));
}
