/* What `edgeproxy explain` found out, as plain data, and the two ways to show it. */
#ifndef CLI_EXPLANATION_H
#define CLI_EXPLANATION_H

#include "base/check.h"
#include "cli/inputs.h"
#include "route/policy.h"
#include "route/table.h"

#include <stdbool.h>
#include <stddef.h>

/* Where the client's region came from. */
enum region_source {
	REGION_FROM_NOWHERE,
	REGION_FROM_OVERRIDE,        /* the row of geo_overrides names one */
	REGION_FROM_COUNTRY_REGIONS, /* a row of country_regions does, for the country */
	REGION_FROM_DEFAULT,         /* the country's, from geo/country_region.def */
};

struct candidate {
	const struct backend *backend;
	struct balancer_terms terms;
	double share; /* of the clients like this one that would be sent there, now: 0..1 */
};

struct explanation {
	const struct inputs *inputs;
	const struct table *table;
	const char *app; /* NULL: every app */
	struct ip client;
	struct place place;
	enum region_source region_source;
	const struct access_rule_row *rule; /* decides whether it may come in; NULL: none does */
	struct candidate *candidates;       /* every backend: the best first, excluded ones last */
	size_t candidate_count;
	size_t best_count; /* the first so many are equally good; one of them is drawn by weight */
	int error;         /* -EACCES: denied; else of policy_choose(); 0: there is a winner */
	const struct backend *winner;
};

#define WHY_MAX 512

/* One sentence: why the winner won, or why there is none. Returns buf. */
char *explanation_why(const struct explanation *e, char buf[WHY_MAX]);
/* For people: standard output, text that fits 80 columns where the ids do. */
void explanation_print(const struct explanation *e);
/* For programs: one JSON object on standard output. 0, or -ENOMEM. */
MUST_CHECK int explanation_print_json(const struct explanation *e);

#endif
