/* How a plan is told: the summary first, then who moves where, then the backends, then what is bad.
 * Only what changes is in the tables, and of that the greatest; JSON has all. */
#include "cli/plan_report.h"

#include "base/json_text.h"
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LABEL "%-13s "
#define ROWS_MAX 20
/* A smaller share is not worth a line. */
#define SHARE_SHOWN 0.0005
#define PERCENT_MAX 24
/* A backend that has so many more or fewer connections has changed. */
#define CONNECTIONS_SHOWN 0.5

bool plan_report_harm(const struct plan_report *p)
{
	const struct plan_result *r = p->result;

	if (r->newly_unserved > SHARE_SHOWN || r->would_be_held || p->quarantined_count > 0 ||
	    p->quarantined_more > 0)
		return true;
	for (size_t i = 0; i < r->backend_count; i++) {
		const struct plan_backend *b = &r->backends[i];

		if ((b->passes_soft[PLAN_THEN] && !b->passes_soft[PLAN_NOW]) ||
		    (b->reaches_hard[PLAN_THEN] && !b->reaches_hard[PLAN_NOW]))
			return true;
	}
	return false;
}

static const char *percent(double share, char buf[PERCENT_MAX])
{
	snprintf(buf, PERCENT_MAX, "%.1f%%", share * 100);
	return buf;
}

static const char *target_word(const struct plan_result *r, uint32_t target)
{
	switch (target) {
	case PLAN_NO_BACKEND:
		return "(no backend)";
	case PLAN_DENIED:
		return "(denied)";
	case PLAN_NOT_LISTENING:
		return "(no listener)";
	default:
		return r->backends[target].id;
	}
}

static const char *country_word(const char *country)
{
	return country[0] != '\0' ? country : "(unknown)";
}

/* ---- text ---- */

static void print_now_then(const char *label, double now, double then)
{
	char a[PERCENT_MAX], b[PERCENT_MAX];

	printf(LABEL "%s now, %s then\n", label, percent(now, a), percent(then, b));
}

static void print_summary(const struct plan_report *p)
{
	const struct plan_result *r = p->result;
	char text[PERCENT_MAX];
	char hours[OUTPUT_TEXT_MAX];

	printf(LABEL, "change");
	output_print(p->file);
	printf(": %zu statements, %" PRId64 " rows, tried on a copy of ", p->statements, p->rows);
	output_print(p->db_path);
	printf("\n" LABEL
	       "%zu prefixes, %.0f connections of the last hours (half count after %s)\n",
	       "clients", p->prefixes, r->weight, output_secs(p->half_life_secs, hours));
	if (p->forgotten > 0)
		printf(LABEL "%zu more came to listeners that are no more\n", "", p->forgotten);
	printf(LABEL "%s of clients would go to another backend\n", "moves",
	       percent(r->moved, text));
	print_now_then("no backend", r->unserved[PLAN_NOW], r->unserved[PLAN_THEN]);
	if (r->denied[PLAN_NOW] + r->denied[PLAN_THEN] > 0)
		print_now_then("denied", r->denied[PLAN_NOW], r->denied[PLAN_THEN]);
	if (r->not_listening[PLAN_NOW] + r->not_listening[PLAN_THEN] > 0)
		print_now_then("no listener", r->not_listening[PLAN_NOW],
		               r->not_listening[PLAN_THEN]);
	for (int score = 0; score < 3; score++) {
		char label[24];

		snprintf(label, sizeof(label), "region_score%d", score);
		print_now_then(label, r->scores[PLAN_NOW][score], r->scores[PLAN_THEN][score]);
	}
	printf(LABEL "%s kept, ", "bindings", percent(r->bindings_kept, text));
	printf("%s lost; the others have none that holds now\n", percent(r->bindings_lost, text));
}

/* The rows shown, and how many more there are of what. */
static void end_table(struct text_table *t, size_t shown, size_t left, const char *more)
{
	if (t != NULL && shown > 0)
		printf("\n");
	text_table_end(t);
	if (left > 0)
		printf("and %zu %s\n", left, more);
}

static void print_countries(const struct plan_result *r)
{
	static const struct text_column columns[] = {
		{.head = "COUNTRY"},
		{.head = "CLIENTS", .right = true},
		{.head = "MOVE", .right = true},
		{.head = "SCORE NOW", .right = true},
		{.head = "THEN", .right = true},
		{.head = "NO BACKEND NOW", .right = true},
		{.head = "THEN", .right = true},
	};
	struct text_table *t = text_table_new(columns, 7);
	size_t shown = 0, left = 0;

	for (size_t i = 0; t != NULL && i < r->country_count; i++) {
		const struct plan_country *c = &r->countries[i];
		char cell[6][PERCENT_MAX];

		if (c->moved < SHARE_SHOWN)
			continue;
		if (shown == ROWS_MAX) {
			left++;
			continue;
		}
		snprintf(cell[2], PERCENT_MAX, "%.2f", c->score[PLAN_NOW]);
		snprintf(cell[3], PERCENT_MAX, "%.2f", c->score[PLAN_THEN]);
		text_table_add(t, (const char *const[]){
					  country_word(c->country), percent(c->share, cell[0]),
					  percent(c->moved, cell[1]), cell[2], cell[3],
					  percent(c->unserved[PLAN_NOW], cell[4]),
					  percent(c->unserved[PLAN_THEN], cell[5])});
		shown++;
	}
	end_table(t, shown, left, "more countries");
}

static void print_moves(const struct plan_result *r)
{
	static const struct text_column columns[] = {
		{.head = "MOVES", .right = true},
		{.head = "COUNTRY"},
		{.head = "FROM", .cut = true},
		{.head = "TO", .cut = true},
	};
	struct text_table *t = text_table_new(columns, 4);
	size_t shown = 0, left = 0;

	for (size_t i = 0; t != NULL && i < r->move_count; i++) {
		const struct plan_move *m = &r->moves[i];
		char share[PERCENT_MAX];

		if (m->share < SHARE_SHOWN)
			continue;
		if (shown == ROWS_MAX) {
			left++;
			continue;
		}
		text_table_add(
			t, (const char *const[]){percent(m->share, share), country_word(m->country),
		                                 target_word(r, m->from), target_word(r, m->to)});
		shown++;
	}
	end_table(t, shown, left, "smaller moves");
}

static const char *note_of(const struct plan_backend *b)
{
	if (b->row[PLAN_NOW] == NULL)
		return b->reaches_hard[PLAN_THEN] ? "new, reaches its hard limit" : "new";
	if (b->row[PLAN_THEN] == NULL)
		return "removed";
	if (b->reaches_hard[PLAN_THEN])
		return b->reaches_hard[PLAN_NOW] ? "at its hard limit, as now"
		                                 : "REACHES ITS HARD LIMIT";
	if (b->passes_soft[PLAN_THEN])
		return b->passes_soft[PLAN_NOW] ? "over its soft limit, as now"
		                                : "PASSES ITS SOFT LIMIT";
	return "";
}

static bool backend_changes(const struct plan_backend *b)
{
	return fabs(b->share[PLAN_NOW] - b->share[PLAN_THEN]) > SHARE_SHOWN ||
	       fabs(b->expected[PLAN_NOW] - b->expected[PLAN_THEN]) > CONNECTIONS_SHOWN ||
	       (b->row[PLAN_NOW] == NULL) != (b->row[PLAN_THEN] == NULL) ||
	       b->passes_soft[PLAN_THEN] || b->reaches_hard[PLAN_THEN];
}

static void add_backend(struct text_table *t, const struct plan_backend *b)
{
	const struct backend_row *row = b->row[PLAN_THEN] != NULL ? b->row[PLAN_THEN]
	                                                          : b->row[PLAN_NOW];
	char cell[6][PERCENT_MAX];

	snprintf(cell[2], PERCENT_MAX, "%" PRIu32, b->connections);
	snprintf(cell[3], PERCENT_MAX, "%.0f", b->expected[PLAN_THEN]);
	snprintf(cell[4], PERCENT_MAX, "%" PRIu32, row->soft_limit);
	snprintf(cell[5], PERCENT_MAX, "%" PRIu32, row->hard_limit);
	text_table_add(t,
	               (const char *const[]){b->id, b->region, percent(b->share[PLAN_NOW], cell[0]),
	                                     percent(b->share[PLAN_THEN], cell[1]), cell[2],
	                                     cell[3], cell[4], cell[5], note_of(b)});
}

static void print_backends(const struct plan_result *r)
{
	static const struct text_column columns[] = {
		{.head = "BACKEND", .cut = true}, {.head = "REGION", .cut = true},
		{.head = "NOW", .right = true},   {.head = "THEN", .right = true},
		{.head = "CONNS", .right = true}, {.head = "EXPECTED", .right = true},
		{.head = "SOFT", .right = true},  {.head = "HARD", .right = true},
		{.head = "NOTE", .cut = true},
	};
	struct text_table *t = text_table_new(columns, 9);
	size_t shown = 0, left = 0;

	for (size_t i = 0; t != NULL && i < r->backend_count; i++) {
		if (!backend_changes(&r->backends[i]))
			continue;
		left += shown == ROWS_MAX;
		if (shown < ROWS_MAX) {
			add_backend(t, &r->backends[i]);
			shown++;
		}
	}
	end_table(t, shown, left, "more backends that change; --json has all");
}

void plan_report_print(const struct plan_report *p)
{
	const struct plan_result *r = p->result;
	char text[PERCENT_MAX];

	print_summary(p);
	print_countries(r);
	print_moves(r);
	print_backends(r);
	if (p->quarantined_count + p->quarantined_more > 0)
		printf("\nrows that the change makes bad, which would route nobody:\n");
	for (size_t i = 0; i < p->quarantined_count; i++)
		printf("  %s\n", p->quarantined[i]);
	if (p->quarantined_more > 0)
		printf("  and %zu more\n", p->quarantined_more);
	if (p->prefixes == 0)
		printf("\nNo clients were seen in the last hours, so nobody can be said to "
		       "move.\n");
	if (r->would_be_held)
		printf("\nHELD: more than half of the usable backends would go, so the proxy would "
		       "wait for\nEDGEPROXY_SHRINK_HOLD_SECS or SIGHUP.\n");
	if (r->newly_unserved > SHARE_SHOWN)
		printf("\nHARM: %s of clients have a backend now and would have none.\n",
		       percent(r->newly_unserved, text));
	printf("\nMoves are of clients who are new or whose binding has ended; a client whose "
	       "binding is kept\nstays where it is.\n");
}

/* ---- JSON ---- */

static json_t *pair(double now, double then)
{
	return json_pack("{s:f, s:f}", "now", now, "then", then);
}

static json_t *countries_json(const struct plan_result *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->country_count; i++) {
		const struct plan_country *c = &r->countries[i];

		json_array_append_new(
			all, json_pack("{s:s, s:f, s:f, s:o, s:o}", "country", c->country, "share",
		                       c->share, "moved", c->moved, "region_score",
		                       pair(c->score[PLAN_NOW], c->score[PLAN_THEN]), "unserved",
		                       pair(c->unserved[PLAN_NOW], c->unserved[PLAN_THEN])));
	}
	return all;
}

static json_t *moves_json(const struct plan_result *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->move_count; i++)
		json_array_append_new(
			all, json_pack("{s:s, s:o, s:o, s:f}", "country", r->moves[i].country,
		                       "from", json_text(target_word(r, r->moves[i].from)), "to",
		                       json_text(target_word(r, r->moves[i].to)), "share",
		                       r->moves[i].share));
	return all;
}

static json_t *backends_json(const struct plan_result *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->backend_count; i++) {
		const struct plan_backend *b = &r->backends[i];

		if (!backend_changes(b) && b->share[PLAN_NOW] <= 0)
			continue;
		json_array_append_new(
			all,
			json_pack("{s:o, s:s, s:I, s:o, s:o, s:b, s:b, s:s}", "id",
		                  json_text(b->id), "region", b->region, "connections",
		                  (json_int_t)b->connections, "share",
		                  pair(b->share[PLAN_NOW], b->share[PLAN_THEN]), "expected",
		                  pair(b->expected[PLAN_NOW], b->expected[PLAN_THEN]),
		                  "passes_soft", (int)b->passes_soft[PLAN_THEN], "reaches_hard",
		                  (int)b->reaches_hard[PLAN_THEN], "note", note_of(b)));
	}
	return all;
}

static json_t *summary_json(const struct plan_report *p)
{
	const struct plan_result *r = p->result;
	json_t *scores = json_array();
	json_t *bad = json_array();

	for (int i = 0; i < 3; i++)
		json_array_append_new(scores,
		                      pair(r->scores[PLAN_NOW][i], r->scores[PLAN_THEN][i]));
	for (size_t i = 0; i < p->quarantined_count; i++)
		json_array_append_new(bad, json_text(p->quarantined[i]));
	return json_pack("{s:b, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:o, s:f, s:o, s:{s:f, "
	                 "s:f, s:f}, s:b, s:o}",
	                 "harm", (int)plan_report_harm(p), "statements", (json_int_t)p->statements,
	                 "rows", (json_int_t)p->rows, "prefixes", (json_int_t)p->prefixes,
	                 "connections", r->weight, "error_percent", p->error_percent, "moved",
	                 r->moved, "unserved", pair(r->unserved[PLAN_NOW], r->unserved[PLAN_THEN]),
	                 "denied", pair(r->denied[PLAN_NOW], r->denied[PLAN_THEN]), "not_listening",
	                 pair(r->not_listening[PLAN_NOW], r->not_listening[PLAN_THEN]),
	                 "newly_unserved", r->newly_unserved, "region_scores", scores, "bindings",
	                 "kept", r->bindings_kept, "lost", r->bindings_lost, "unknown",
	                 r->bindings_unknown, "would_be_held", (int)r->would_be_held, "quarantined",
	                 bad);
}

int plan_report_print_json(const struct plan_report *p)
{
	json_t *j = summary_json(p);
	int err = 0;

	if (j == NULL || json_object_set_new(j, "countries", countries_json(p->result)) != 0 ||
	    json_object_set_new(j, "moves", moves_json(p->result)) != 0 ||
	    json_object_set_new(j, "backends", backends_json(p->result)) != 0 ||
	    json_dumpf(j, stdout, JSON_INDENT(1)) != 0)
		err = -ENOMEM;
	putchar('\n');
	json_decref(j);
	return err;
}
