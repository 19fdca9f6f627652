/* An explanation as JSON: one object, the same facts as the text, with the names that the database,
 * the log and the environment use. What is unknown is null, never left out.
 *
 * JSON is UTF-8; a quarantined value may hold any bytes. What is not UTF-8 is shown with "?" for
 * every byte that is not ASCII: it is there to be recognised, not to be read back. */
#include "cli/explanation.h"
#include "geo/country.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDENT 2
#define DIGITS 9

/* NULL and "" become null. */
static json_t *text(const char *s)
{
	json_t *value;
	char *ascii;

	if (s == NULL || *s == '\0')
		return json_null();
	value = json_string(s);
	if (value != NULL)
		return value;
	ascii = strdup(s);
	if (ascii == NULL)
		return NULL;
	for (char *p = ascii; *p != '\0'; p++)
		*p = (unsigned char)*p < 0x80 ? *p : '?';
	value = json_string(ascii);
	free(ascii);
	return value;
}

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
		special = json_pack("{s:o, s:o}", "name", text(p->special->name), "rfc",
		                    text(p->special->rfc));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "source",
	                 text(place_source_word(p->source)), "network", text(network), "special",
	                 special, "country", text(p->country), "country_name",
	                 text(country_name(p->country)), "region", text(region_name(p->region)),
	                 "region_source", text(region_source_word(e->region_source)));
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
	                 "rule", text(rule->id), "app",
	                 text(rule->app[0] != '\0' ? rule->app : "*"), "cidr", text(prefix),
	                 "country", text(country));
}

static json_t *geo_json(const struct inputs *in)
{
	return json_pack("{s:o, s:o, s:I}", "path", text(in->config.geoip_path), "type",
	                 text(geo_db_type(in->geo)), "build_epoch",
	                 (json_int_t)geo_db_build_epoch(in->geo));
}

static json_t *quarantined_json(const struct inputs *in)
{
	json_t *list = json_array();

	for (size_t i = 0; i < in->quarantined_count; i++) {
		const struct quarantined *q = &in->quarantined[i];

		if (json_array_append_new(
			    list, json_pack("{s:o, s:o, s:o, s:o, s:o}", "table", text(q->table),
		                            "row", text(q->row), "column", text(q->column), "value",
		                            text(q->value), "why", text(q->why))) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *candidate_json(const struct explanation *e, const struct candidate *c)
{
	const struct backend *b = c->backend;
	char addr[ENDPOINT_TEXT_MAX];
	json_t *row = json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "id",
	                        text(b->id), "app", text(b->app), "region",
	                        text(region_name(b->region)), "country", text(b->country), "addr",
	                        text(endpoint_format(&b->addr, addr)), "weight",
	                        (json_int_t)b->weight, "soft_limit", (json_int_t)b->soft_limit,
	                        "hard_limit", (json_int_t)b->hard_limit, "connections",
	                        (json_int_t)live_connections(e->table->live, b->slot), "excluded",
	                        text(exclusion_word(c->terms.exclusion)));
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

static json_t *candidates_json(const struct explanation *e)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->candidate_count; i++) {
		if (json_array_append_new(list, candidate_json(e, &e->candidates[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *routes_json(const struct explanation *e)
{
	return json_pack("{s:o, s:I, s:I, s:o}", "path", text(e->inputs->config.db_path),
	                 "backends", (json_int_t)e->table->backend_count, "usable",
	                 (json_int_t)e->table->usable_count, "quarantined",
	                 quarantined_json(e->inputs));
}

int explanation_print_json(const struct explanation *e)
{
	char ip[IP_TEXT_MAX];
	char why[WHY_MAX];
	json_t *root = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}",
	                         "client", text(ip_format(&e->client, ip)), "place", place_json(e),
	                         "access", access_json(e), "local_region",
	                         text(region_name(e->table->local_region)), "app", text(e->app),
	                         "geo", geo_json(e->inputs), "routes", routes_json(e), "backends",
	                         candidates_json(e), "winner",
	                         text(e->winner != NULL ? e->winner->id : NULL), "drawn",
	                         e->best_count > 1, "why", text(explanation_why(e, why)));

	if (root == NULL)
		return -ENOMEM;
	json_dumpf(root, stdout, JSON_INDENT(INDENT) | JSON_REAL_PRECISION(DIGITS));
	printf("\n");
	json_decref(root);
	return 0;
}
