/* An explanation for people: a head that says where the client is and how that is known, a table of
 * the backends with their terms or the reason of their exclusion, and the winner. Made from the
 * JSON alone, so that it is the same whether files or a running proxy were asked. */
#include "cli/explain_text.h"

#include "cli/output.h"
#include "route/balancer.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LABEL "%-10s "
#define LABEL_WIDTH 11
#define SCREEN_WIDTH 75 /* leaves room to quote it in 80 columns */
#define DATE_MAX 16
#define CELL_MAX 160

static const struct {
	const char *word;
	const char *help;
} exclusions[] = {
#define EXCLUSION(name, word, help) {word, help},
#include "route/exclusion.def"
#undef EXCLUSION
};

/* Behind a label, in lines of the screen's width. */
static void print_wrapped(const char *text)
{
	size_t column = LABEL_WIDTH;

	while (*text != '\0') {
		size_t len = strcspn(text, " ");

		if (column > LABEL_WIDTH && column + 1 + len > SCREEN_WIDTH) {
			printf("\n" LABEL, "");
			column = LABEL_WIDTH;
		}
		column += (size_t)printf("%s%.*s", column > LABEL_WIDTH ? " " : "", (int)len, text);
		text += len + strspn(text + len, " ");
	}
	printf("\n");
}

/* ---- the head ---- */

static void print_place(const json_t *e)
{
	const json_t *place = json_object_get(e, "place");
	const json_t *special = json_object_get(place, "special");
	const char *source = output_text(place, "source", "");
	const char *network = output_text(place, "network", "?");
	const char *country = output_text(place, "country", NULL);

	printf(LABEL, "found in");
	if (strcmp(source, "override") == 0)
		printf("geo_overrides, row %s\n", network);
	else if (strcmp(source, "special") == 0)
		printf("special-purpose range %s, %s (%s)\n", network,
		       output_text(special, "name", "?"), output_text(special, "rfc", "?"));
	else if (strcmp(source, "database") == 0)
		printf("country database, network %s\n", network);
	else
		printf("no geo_overrides row, special-purpose range or country database\n");
	printf(LABEL, "country");
	if (country == NULL)
		printf("none\n");
	else
		printf("%s %s\n", country,
		       output_text(place, "country_name", "(not an ISO 3166 code)"));
}

static void print_region(const json_t *e)
{
	const json_t *place = json_object_get(e, "place");
	const char *source = output_text(place, "region_source", "");
	const char *region = output_text(place, "region", NULL);
	const char *country = output_text(place, "country", "?");

	printf(LABEL, "region");
	if (region == NULL)
		printf("none: the POP's own region comes first\n");
	else if (strcmp(source, "geo_overrides") == 0)
		printf("%s (from the geo_overrides row)\n", region);
	else if (strcmp(source, "country_regions") == 0)
		printf("%s (country_regions, row %s)\n", region, country);
	else
		printf("%s (the default for %s)\n", region, country);
}

static void print_access(const json_t *e)
{
	const json_t *access = json_object_get(e, "access");
	const char *rule = output_text(access, "rule", NULL);
	const char *cidr = output_text(access, "cidr", NULL);
	const char *country = output_text(access, "country", "*");

	printf(LABEL, "access");
	if (rule == NULL) {
		printf("allowed: no rule of access_rules is about it\n");
		return;
	}
	printf("%s by rule ",
	       strcmp(output_text(access, "action", ""), "allow") == 0 ? "allowed" : "denied");
	output_print(rule);
	if (cidr != NULL)
		printf(" (cidr %s", cidr);
	else if (strcmp(country, "*") == 0)
		printf(" (everybody");
	else
		printf(" (country %s", country);
	printf(", app ");
	output_print(output_text(access, "app", "*"));
	printf(")\n");
}

static void print_sources(const json_t *e)
{
	const json_t *routes = json_object_get(e, "routes");
	const json_t *geo = json_object_get(e, "geo");
	const json_t *quarantined = json_object_get(routes, "quarantined");
	time_t built = (time_t)output_uint(geo, "build_epoch");
	const char *path = output_text(geo, "path", NULL);
	char date[DATE_MAX] = "?";
	struct tm tm;

	printf(LABEL "%s (EDGEPROXY_REGION), app ", "POP", output_text(e, "local_region", "?"));
	output_print(output_text(e, "app", "any"));
	printf("\n" LABEL, "routes");
	output_print(output_text(routes, "path", "?"));
	printf(": %" PRIu64 " backends, %" PRIu64 " usable", output_uint(routes, "backends"),
	       output_uint(routes, "usable"));
	if (json_is_array(quarantined))
		printf(", %zu rows quarantined", json_array_size(quarantined));
	printf("\n" LABEL, "countries");
	if (!json_is_object(geo)) {
		printf("no database\n");
		return;
	}
	if (gmtime_r(&built, &tm) != NULL)
		strftime(date, sizeof date, "%Y-%m-%d", &tm);
	output_print(output_text(geo, "type", "?"));
	printf(", built %s, ", date);
	output_print(path != NULL ? path : "the one inside the binary");
	printf("\n");
}

/* What was asked. */
static void print_asked(const json_t *e, const char *asked)
{
	const json_t *live = json_object_get(e, "live");
	const char *bound = output_text(live, "bound", NULL);
	const char *limit = output_text(live, "client_limit", NULL);
	const json_t *connections = json_object_get(live, "client_connections");

	printf(LABEL, "asked");
	output_print(asked);
	printf("\n");
	if (!json_is_object(live))
		return;
	printf(LABEL "%s", "binding", bound != NULL ? "it had " : "none: the balancer chooses");
	output_print(bound != NULL ? bound : "");
	printf("\n");
	if (json_is_integer(connections))
		printf(LABEL "%" PRIu64 " connections, %s%s\n", "limits",
		       output_uint(live, "client_connections"),
		       limit != NULL ? "refused: " : "within what one client may have",
		       limit != NULL ? limit : "");
	if (output_bool(live, "panic"))
		printf(LABEL "faults are ignored: too few backends are sound\n", "PANIC");
	if (output_uint(live, "waiting") > 0)
		printf(LABEL "%" PRIu64 " clients wait for a place\n", "queue",
		       output_uint(live, "waiting"));
}

/* ---- the table ---- */

enum field {
	FIELD_BACKEND,
	FIELD_REGION,
	FIELD_REGION_SCORE,
	FIELD_CONNECTIONS,
	FIELD_WEIGHT,
	FIELD_SCORE,
	FIELD_NOTE,
	FIELDS
};

static const struct text_column columns[FIELDS] = {
	{.head = "backend", .cut = true},
	{.head = "region"},
	{.head = "region_score"},
	{.head = "conns/soft"},
	{.head = "weight"},
	{.head = "score"},
	{.head = "note"},
};

static void add_row(struct text_table *t, const json_t *e, const json_t *b)
{
	const char *excluded = output_text(b, "excluded", NULL);
	const char *country = output_text(b, "country", "");
	const char *id = output_text(b, "id", "?");
	uint64_t ramp = output_uint(b, "ramp");
	bool wins = strcmp(output_text(e, "winner", ""), id) == 0;
	char cell[FIELDS][CELL_MAX] = {""};
	const char *cells[FIELDS];
	size_t len;

	snprintf(cell[FIELD_BACKEND], CELL_MAX, "%s", id);
	snprintf(cell[FIELD_REGION], CELL_MAX, "%s%s%s", output_text(b, "region", "?"),
	         country[0] != '\0' ? "/" : "", country);
	snprintf(cell[FIELD_WEIGHT], CELL_MAX, "%" PRIu64, output_uint(b, "weight"));
	snprintf(cell[FIELD_CONNECTIONS], CELL_MAX, "%" PRIu64 "/%" PRIu64,
	         output_uint(b, "connections"), output_uint(b, "soft_limit"));
	if (excluded != NULL) {
		snprintf(cell[FIELD_NOTE], CELL_MAX, "%s", excluded);
	} else {
		snprintf(cell[FIELD_SCORE], CELL_MAX, "%.6g",
		         json_number_value(json_object_get(b, "score")));
		snprintf(cell[FIELD_REGION_SCORE], CELL_MAX, "%" PRIu64,
		         output_uint(b, "region_score"));
		len = (size_t)snprintf(cell[FIELD_NOTE], CELL_MAX, "%s%s", wins ? "winner" : "",
		                       output_bool(b, "own_country")
		                               ? (wins ? ", own country" : "own country")
		                               : "");
		if (ramp > 0)
			snprintf(cell[FIELD_NOTE] + len, CELL_MAX - len,
			         "%sslow start %" PRIu64 " %%", len > 0 ? ", " : "", ramp);
	}
	for (int i = 0; i < FIELDS; i++)
		cells[i] = i != FIELD_NOTE && cell[i][0] == '\0' ? NULL : cell[i];
	text_table_add(t, cells);
}

/* What the words in the last column mean, for those that occur. */
static void print_exclusions(const json_t *backends)
{
	for (size_t i = EXCLUDED_NOT + 1; i < sizeof exclusions / sizeof exclusions[0]; i++) {
		for (size_t n = 0; n < json_array_size(backends); n++) {
			const json_t *b = json_array_get(backends, n);

			if (strcmp(output_text(b, "excluded", ""), exclusions[i].word) != 0)
				continue;
			printf("  %s: %s\n", exclusions[i].word, exclusions[i].help);
			break;
		}
	}
}

static void print_table(const json_t *e)
{
	const json_t *backends = json_object_get(e, "backends");
	uint64_t all = output_uint(json_object_get(e, "routes"), "backends");
	size_t shown = json_array_size(backends);
	struct text_table *t = text_table_new(columns, FIELDS);

	if (t == NULL)
		return;
	for (size_t i = 0; i < shown; i++)
		add_row(t, e, json_array_get(backends, i));
	text_table_print(t);
	text_table_free(t);
	if (all == 0)
		printf("(none)\n");
	else if (all > shown)
		printf("(and %" PRIu64 " more behind these)\n", all - shown);
	print_exclusions(backends);
}

void explain_print(const json_t *e, const char *asked)
{
	const char *winner = output_text(e, "winner", "none");
	char text[1024];

	printf(LABEL "%s\n", "client", output_text(e, "client", "?"));
	print_place(e);
	print_region(e);
	print_access(e);
	print_asked(e, asked);
	print_sources(e);
	printf("\n");
	print_table(e);
	snprintf(text, sizeof text, "%s: %s.", winner, output_text(e, "why", "?"));
	printf("\n" LABEL, "winner");
	print_wrapped(text);
	if (json_is_object(json_object_get(e, "live")))
		return;
	printf(LABEL, "");
	print_wrapped("(A running proxy also counts its connections, here 0, and remembers which "
	              "backend a client had and what it has seen of backends.)");
}
