/* An explanation, for people: a head that says where the client is and how that is known, a table
 * of every backend with its terms or the reason of its exclusion, the winner, and the rows that the
 * database could not make good.
 *
 * Ids, app and region names come from validated rows; what a quarantined row holds is hostile and
 * reaches the terminal only through printable(). Columns are as wide as what is in them. */
#include "cli/explanation.h"

#include "geo/country.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LABEL "%-10s "
#define LABEL_WIDTH 11
#define SCREEN_WIDTH 75 /* leaves room to quote it in 80 columns */
#define DATE_MAX 16
#define PERCENT 100.0

static const char *const exclusion_helps[] = {
#define EXCLUSION(name, word, help) [EXCLUDED_##name] = help,
#include "route/exclusion.def"
#undef EXCLUSION
};

static const char *region_score_words(unsigned region_score)
{
	switch (region_score) {
	case 0:
		return "in the client's region";
	case 1:
		return "in this POP's region";
	default:
		return "in another region";
	}
}

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

/* ---- why ---- */

static void why_no_winner(const struct explanation *e, char buf[WHY_MAX])
{
	switch (e->error) {
	case -EACCES:
		snprintf(buf, WHY_MAX, "access rule %s denies this client", e->rule->id);
		break;
	case -EAGAIN:
		snprintf(buf, WHY_MAX, "every backend that takes clients is at its hard limit");
		break;
	case -ENOENT:
		snprintf(buf, WHY_MAX, "no backend takes new clients%s%s",
		         e->app != NULL ? " of app " : "", e->app != NULL ? e->app : "");
		break;
	default:
		snprintf(buf, WHY_MAX, "no choice was possible: %s", strerror(-e->error));
	}
}

static void why_drawn(const struct explanation *e, char buf[WHY_MAX])
{
	size_t len = (size_t)snprintf(
		buf, WHY_MAX,
		"%zu backends are equally good (%s, score %.6g): a weighted random choice,",
		e->best_count, region_score_words(e->candidates[0].terms.region_score),
		e->candidates[0].terms.score);

	for (size_t i = 0; i < e->best_count && len < WHY_MAX; i++)
		len += (size_t)snprintf(buf + len, WHY_MAX - len, "%s %s %.3g %%", i > 0 ? "," : "",
		                        e->candidates[i].backend->id,
		                        e->candidates[i].share * PERCENT);
	if (len >= WHY_MAX)
		snprintf(buf, WHY_MAX,
		         "%zu backends are equally good (%s, score %.6g): a random choice, by "
		         "weight",
		         e->best_count, region_score_words(e->candidates[0].terms.region_score),
		         e->candidates[0].terms.score);
}

static void why_best(const struct explanation *e, char buf[WHY_MAX])
{
	const struct candidate *best = &e->candidates[0];
	bool only = e->candidate_count == 1 || e->candidates[1].terms.exclusion != EXCLUDED_NOT;

	if (only)
		snprintf(buf, WHY_MAX, "it is the only backend that takes this client (%s)",
		         region_score_words(best->terms.region_score));
	else if (best->terms.own_country)
		snprintf(buf, WHY_MAX,
		         "it is in the client's region and country, %s, and under its soft limit",
		         best->backend->country);
	else
		snprintf(buf, WHY_MAX, "it has the lowest score, %.6g (%s)", best->terms.score,
		         region_score_words(best->terms.region_score));
}

char *explanation_why(const struct explanation *e, char buf[WHY_MAX])
{
	if (e->winner == NULL)
		why_no_winner(e, buf);
	else if (e->best_count > 1)
		why_drawn(e, buf);
	else
		why_best(e, buf);
	return buf;
}

/* ---- the head ---- */

static void print_place(const struct explanation *e)
{
	char network[PREFIX_TEXT_MAX];
	const char *name = country_name(e->place.country);

	printf(LABEL, "found in");
	switch (e->place.source) {
	case PLACE_OVERRIDE:
		printf("geo_overrides, row %s\n", prefix_format(&e->place.network, network));
		break;
	case PLACE_SPECIAL:
		printf("special-purpose range %s, %s (%s)\n",
		       prefix_format(&e->place.network, network), e->place.special->name,
		       e->place.special->rfc);
		break;
	case PLACE_DATABASE:
		printf("country database, network %s\n", prefix_format(&e->place.network, network));
		break;
	case PLACE_UNKNOWN:
		printf("no geo_overrides row, special-purpose range or country database\n");
		break;
	}
	printf(LABEL, "country");
	if (e->place.country[0] == '\0')
		printf("none\n");
	else
		printf("%s %s\n", e->place.country, name != NULL ? name : "(not an ISO 3166 code)");
}

static void print_region(const struct explanation *e)
{
	printf(LABEL, "region");
	switch (e->region_source) {
	case REGION_FROM_NOWHERE:
		printf("none: the POP's own region comes first\n");
		break;
	case REGION_FROM_OVERRIDE:
		printf("%s (from the geo_overrides row)\n", region_name(e->place.region));
		break;
	case REGION_FROM_COUNTRY_REGIONS:
		printf("%s (country_regions, row %s)\n", region_name(e->place.region),
		       e->place.country);
		break;
	case REGION_FROM_DEFAULT:
		printf("%s (the default for %s)\n", region_name(e->place.region), e->place.country);
		break;
	}
}

static void print_access(const struct explanation *e)
{
	const struct access_rule_row *rule = e->rule;
	char prefix[PREFIX_TEXT_MAX];

	printf(LABEL, "access");
	if (rule == NULL) {
		printf("allowed: no rule of access_rules is about it\n");
		return;
	}
	printf("%s by rule %s (", rule->allow ? "allowed" : "denied", rule->id);
	switch (rule->match) {
	case ACCESS_CIDR:
		printf("cidr %s", prefix_format(&rule->prefix, prefix));
		break;
	case ACCESS_COUNTRY:
		printf("country %s", rule->country);
		break;
	case ACCESS_ALL:
		printf("everybody");
		break;
	}
	printf(", app %s)\n", rule->app[0] != '\0' ? rule->app : "*");
}

static void print_sources(const struct explanation *e)
{
	const struct inputs *in = e->inputs;
	time_t built = (time_t)geo_db_build_epoch(in->geo);
	char date[DATE_MAX] = "?";
	struct tm tm;

	if (gmtime_r(&built, &tm) != NULL)
		strftime(date, sizeof date, "%Y-%m-%d", &tm);
	printf(LABEL "%s (EDGEPROXY_REGION), app %s\n", "POP", region_name(e->table->local_region),
	       e->app != NULL ? e->app : "any");
	printf(LABEL "%s: %u backends, %u usable, %zu rows quarantined\n", "routes",
	       in->config.db_path, e->table->backend_count, e->table->usable_count,
	       in->quarantined_count);
	printf(LABEL "%s, built %s%s%s\n\n", "countries", geo_db_type(in->geo), date,
	       *in->config.geoip_path != '\0' ? ", " : ", the one inside the binary",
	       in->config.geoip_path);
}

/* ---- the table ---- */

enum field {
	FIELD_BACKEND,
	FIELD_REGION,
	FIELD_REGION_SCORE,
	FIELD_CONNECTIONS,
	FIELD_WEIGHT,
	FIELD_SCORE,
	FIELD_NOTE, /* the last: as long as it is */
	FIELDS
};

static const char *const field_heads[FIELDS] = {"backend", "region", "region_score", "conns/soft",
                                                "weight",  "score",  "note"};

struct row {
	char cell[FIELDS][BACKEND_ID_MAX + 1];
};

static void row_fill(const struct explanation *e, const struct candidate *c, struct row *row)
{
	const struct backend *b = c->backend;
	bool in = c->terms.exclusion == EXCLUDED_NOT;
	size_t size = sizeof row->cell[0];

	*row = (struct row){0};
	snprintf(row->cell[FIELD_BACKEND], size, "%s", b->id);
	snprintf(row->cell[FIELD_REGION], size, "%s%s%s", region_name(b->region),
	         b->country[0] != '\0' ? "/" : "", b->country);
	snprintf(row->cell[FIELD_WEIGHT], size, "%u", b->weight);
	snprintf(row->cell[FIELD_CONNECTIONS], size, "%u/%u",
	         live_connections(e->table->live, b->slot), b->soft_limit);
	snprintf(row->cell[FIELD_SCORE], size, in ? "%.6g" : "-", c->terms.score);
	snprintf(row->cell[FIELD_REGION_SCORE], size, in ? "%u" : "-", c->terms.region_score);
	if (!in)
		snprintf(row->cell[FIELD_NOTE], size, "%s", exclusion_word(c->terms.exclusion));
	else if (b == e->winner)
		snprintf(row->cell[FIELD_NOTE], size, "winner%s",
		         c->terms.own_country ? ", own country" : "");
	else
		snprintf(row->cell[FIELD_NOTE], size, "%s",
		         c->terms.own_country ? "own country" : "");
}

/* What the words in the last column mean, for those that occur. */
static void print_exclusions(const struct explanation *e)
{
	bool occurs[sizeof exclusion_helps / sizeof exclusion_helps[0]] = {false};

	for (size_t n = 0; n < e->candidate_count; n++)
		occurs[e->candidates[n].terms.exclusion] = true;
	for (size_t i = EXCLUDED_NOT + 1; i < sizeof occurs / sizeof occurs[0]; i++) {
		if (occurs[i])
			printf("  %s: %s\n", exclusion_word((enum exclusion)i), exclusion_helps[i]);
	}
}

static void print_table(const struct explanation *e)
{
	size_t width[FIELDS];
	struct row row;

	for (int i = 0; i < FIELDS; i++)
		width[i] = strlen(field_heads[i]);
	for (size_t n = 0; n < e->candidate_count; n++) {
		row_fill(e, &e->candidates[n], &row);
		for (int i = 0; i < FIELDS; i++)
			width[i] = strlen(row.cell[i]) > width[i] ? strlen(row.cell[i]) : width[i];
	}
	for (int i = 0; i < FIELD_NOTE; i++)
		printf("%-*s  ", (int)width[i], field_heads[i]);
	printf("%s\n", field_heads[FIELD_NOTE]);
	for (size_t n = 0; n < e->candidate_count; n++) {
		row_fill(e, &e->candidates[n], &row);
		for (int i = 0; i < FIELD_SCORE; i++)
			printf("%-*s  ", (int)width[i], row.cell[i]);
		if (row.cell[FIELD_NOTE][0] == '\0')
			printf("%s\n", row.cell[FIELD_SCORE]);
		else
			printf("%-*s  %s\n", (int)width[FIELD_SCORE], row.cell[FIELD_SCORE],
			       row.cell[FIELD_NOTE]);
	}
	if (e->candidate_count == 0)
		printf("(none)\n");
	print_exclusions(e);
}

void explanation_print(const struct explanation *e)
{
	char ip[IP_TEXT_MAX];
	char why[WHY_MAX];
	char text[WHY_MAX + BACKEND_ID_MAX + 4];

	printf(LABEL "%s\n", "client", ip_format(&e->client, ip));
	print_place(e);
	print_region(e);
	print_access(e);
	print_sources(e);
	print_table(e);
	snprintf(text, sizeof text, "%s: %s.", e->winner != NULL ? e->winner->id : "none",
	         explanation_why(e, why));
	printf("\n" LABEL, "winner");
	print_wrapped(text);
	printf(LABEL, "");
	print_wrapped("(A running proxy also counts its connections, here 0, and remembers which "
	              "backend a client had and what it has seen of backends.)");
	if (e->inputs->quarantined_count > 0)
		printf("\nquarantined rows, which route nobody:\n");
	for (size_t i = 0; i < e->inputs->quarantined_count; i++) {
		char line[QUARANTINED_TEXT_MAX];

		printf("  %s\n", quarantined_format(&e->inputs->quarantined[i], line));
	}
}
