/* An explanation as JSON: one object, with the names that the database, the log and the environment
 * use. What is unknown is null, never left out. */
#include "explain/explanation_json.h"

#include "base/json_text.h"
#include "geo/country.h"

#include <stdio.h>

static const char *region_source_word(enum region_source source)
{
	switch (source) {
	case REGION_FROM_OVERRIDE:
		return "geo_overrides";
	case REGION_FROM_COUNTRY_REGIONS:
		return "country_regions";
	case REGION_FROM_DEFAULT:
		return "default";
	case REGION_FROM_NOWHERE:
		break;
	}
	return NULL;
}

/* Every json_pack() below takes its values over ("o"), also when one of them is NULL: then it fails
 * as a whole, and the one check at the end sees it. */

static json_t *place_json(const struct explanation *e)
{
	const struct place *p = &e->place;
	char network[PREFIX_TEXT_MAX] = "";
	json_t *special = json_null();

	if (p->source != PLACE_UNKNOWN)
		prefix_format(&p->network, network);
	if (p->source == PLACE_SPECIAL)
		special = json_pack("{s:o, s:o}", "name", json_text(p->special->name), "rfc",
		                    json_text(p->special->rfc));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "source",
	                 json_text(place_source_word(p->source)), "network", json_text(network),
	                 "special", special, "country", json_text(p->country), "country_name",
	                 json_text(country_name(p->country)), "region",
	                 json_text(region_name(p->region)), "region_source",
	                 json_text(region_source_word(e->region_source)));
}

static json_t *access_json(const struct explanation *e)
{
	const struct access_rule_row *rule = e->rule;
	char prefix[PREFIX_TEXT_MAX] = "";
	const char *country = "";

	if (rule == NULL)
		return json_pack("{s:s, s:n}", "action", "allow", "rule");
	if (rule->match == ACCESS_CIDR)
		prefix_format(&rule->prefix, prefix);
	else
		country = rule->match == ACCESS_ALL ? "*" : rule->country;
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "action", rule->allow ? "allow" : "deny",
	                 "rule", json_text(rule->id), "app",
	                 json_text(rule->app[0] != '\0' ? rule->app : "*"), "cidr",
	                 json_text(prefix), "country", json_text(country));
}

static json_t *geo_json(const struct explanation *e, const struct explain_sources *s)
{
	if (e->geo == NULL)
		return json_null();
	return json_pack("{s:o, s:o, s:I}", "path", json_text(s->geoip_path), "type",
	                 json_text(geo_db_type(e->geo)), "build_epoch",
	                 (json_int_t)geo_db_build_epoch(e->geo));
}

static json_t *candidate_json(const struct explanation *e, const struct candidate *c)
{
	const struct backend *b = c->backend;
	uint8_t ramp = live_ramp(e->table->live, b->slot);
	char addr[ENDPOINT_TEXT_MAX];
	json_t *row = json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "id",
	                        json_text(b->id), "app", json_text(b->app), "region",
	                        json_text(region_name(b->region)), "country", json_text(b->country),
	                        "addr", json_text(endpoint_format(&b->addr, addr)), "weight",
	                        (json_int_t)b->weight, "soft_limit", (json_int_t)b->soft_limit,
	                        "hard_limit", (json_int_t)b->hard_limit, "connections",
	                        (json_int_t)live_connections(e->table->live, b->slot), "excluded",
	                        json_text(exclusion_word(c->terms.exclusion)), "ramp",
	                        ramp != LIVE_NO_RAMP ? json_integer(ramp) : json_null());
	json_t *terms;

	if (row == NULL || c->terms.exclusion != EXCLUDED_NOT)
		return row;
	terms = json_pack("{s:I, s:f, s:f, s:b, s:f}", "region_score",
	                  (json_int_t)c->terms.region_score, "load_factor", c->terms.load_factor,
	                  "score", c->terms.score, "own_country", c->terms.own_country, "share",
	                  c->share);
	if (terms == NULL || json_object_update(row, terms) != 0) {
		json_decref(row);
		row = NULL;
	}
	json_decref(terms);
	return row;
}

static json_t *candidates_json(const struct explanation *e, size_t most)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->candidate_count && i < most; i++) {
		if (json_array_append_new(list, candidate_json(e, &e->candidates[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *routes_json(const struct explanation *e, const struct explain_sources *s)
{
	return json_pack("{s:o, s:I, s:I, s:o}", "path", json_text(s->db_path), "backends",
	                 (json_int_t)e->table->backend_count, "usable",
	                 (json_int_t)e->table->usable_count, "quarantined",
	                 s->quarantined != NULL ? json_incref(s->quarantined) : json_null());
}

/* The limit that refuses the client, as the log names it; NULL: none does. */
static const char *limit_word(enum client_verdict verdict)
{
	switch (verdict) {
	case CLIENT_AT_LIMIT:
		return "client-conn-limit";
	case CLIENT_TOO_FAST:
		return "client-rate-limit";
	case CLIENT_COUNTED:
	case CLIENT_UNCOUNTED:
		break;
	}
	return NULL;
}

/* What only a running proxy knows. */
static json_t *live_json(const struct explanation *e)
{
	if (!e->live)
		return json_null();
	return json_pack("{s:o, s:o, s:b, s:I, s:o, s:o}", "service", json_text(e->service->name),
	                 "bound", json_text(e->bound != NULL ? e->bound->id : NULL), "panic",
	                 (int)e->panic, "waiting", (json_int_t)e->waiting, "client_connections",
	                 e->limited ? json_integer(e->connections) : json_null(), "client_limit",
	                 json_text(limit_word(e->verdict)));
}

json_t *explanation_json(const struct explanation *e, const struct explain_sources *s)
{
	char ip[IP_TEXT_MAX];
	char why[WHY_MAX];

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:o, s:o}",
	                 "client", json_text(ip_format(&e->client, ip)), "place", place_json(e),
	                 "access", access_json(e), "local_region",
	                 json_text(region_name(e->table->local_region)), "app", json_text(e->app),
	                 "geo", geo_json(e, s), "routes", routes_json(e, s), "backends",
	                 candidates_json(e, s->most), "winner",
	                 json_text(e->winner != NULL ? e->winner->id : NULL), "from_affinity",
	                 (int)e->from_affinity, "drawn",
	                 e->winner != NULL && !e->from_affinity && e->best_count > 1, "why",
	                 json_text(explanation_why(e, why)), "live", live_json(e));
}
