/* Backends as the running proxy sees them, and their admin state. The list comes in pages; a table
 * of the proxy that changes in between may show a backend twice or not at all, which does not
 * matter to who looks and is why nothing is decided by it. */
#include "cli/backends.h"

#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE "1000"
#define CELL_MAX 200

const struct command_option backends_options[] = {
	{"app", "APP", "of this app", ARGUMENT_TEXT},
	{"region", "REGION", "in this region", ARGUMENT_TEXT},
	{"state", "STATE", "up, drain, maint, unhealthy, check-down, ejected, hard-limit, ...",
         ARGUMENT_STATE},
	{"wide", NULL, "every column", ARGUMENT_TEXT},
	{"json", NULL, "the answer of the API as it is", ARGUMENT_TEXT},
	{0},
};

const struct command_option backend_state_options[] = {
	{"json", NULL, "the answer of the API as it is", ARGUMENT_TEXT},
	{0},
};

/* ---- the list ---- */

enum field {
	FIELD_ID,
	FIELD_APP,
	FIELD_REGION,
	FIELD_STATUS,
	FIELD_CONNECTIONS,
	FIELD_WEIGHT,
	FIELD_RTT,
	FIELD_CONNECTS,
	FIELD_FAILURES,
	FIELDS_NARROW,
	FIELD_ADDR = FIELDS_NARROW,
	FIELD_RAMP,
	FIELD_FAULTS,
	FIELDS
};

static const struct text_column columns[FIELDS] = {
	[FIELD_ID] = {.head = "BACKEND", .cut = true},
	[FIELD_APP] = {.head = "APP", .cut = true},
	[FIELD_REGION] = {.head = "REGION"},
	[FIELD_STATUS] = {.head = "STATUS"},
	[FIELD_CONNECTIONS] = {.head = "CONN/SOFT/HARD", .right = true},
	[FIELD_WEIGHT] = {.head = "WT", .right = true},
	[FIELD_RTT] = {.head = "RTT", .right = true},
	[FIELD_CONNECTS] = {.head = "CONNECTS", .right = true},
	[FIELD_FAILURES] = {.head = "FAILED", .right = true},
	[FIELD_ADDR] = {.head = "ADDRESS"},
	[FIELD_RAMP] = {.head = "RAMP", .right = true},
	[FIELD_FAULTS] = {.head = "FAULTS", .cut = true},
};

/* "check-down,ejected"; "(check-down)": seen, but ignored in panic. */
static void format_faults(const json_t *b, char buf[CELL_MAX])
{
	const json_t *faults = json_object_get(b, "faults");
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < json_array_size(faults) && len < CELL_MAX; i++) {
		const char *word = json_string_value(json_array_get(faults, i));

		len += (size_t)snprintf(buf + len, CELL_MAX - len, "%s%s", i > 0 ? "," : "",
		                        word != NULL ? word : "?");
	}
}

static void add_row(struct text_table *t, const json_t *b)
{
	char cell[FIELDS][CELL_MAX];
	char time[OUTPUT_TEXT_MAX];
	const char *cells[FIELDS];
	const char *country = output_text(b, "country", "");
	const char *status = output_text(b, "status", "?");
	uint64_t ramp = output_uint(b, "ramp");
	uint64_t rtt_us = output_uint(b, "rtt_us");

	snprintf(cell[FIELD_ID], CELL_MAX, "%s", output_text(b, "id", "?"));
	snprintf(cell[FIELD_APP], CELL_MAX, "%s", output_text(b, "app", "?"));
	snprintf(cell[FIELD_REGION], CELL_MAX, "%s%s%s", output_text(b, "region", "?"),
	         country[0] != '\0' ? "/" : "", country);
	snprintf(cell[FIELD_STATUS], CELL_MAX, "%s%s", status,
	         output_bool(b, "panic") ? " (panic)"
	         : ramp > 0              ? " (slow start)"
	                                 : "");
	snprintf(cell[FIELD_CONNECTIONS], CELL_MAX, "%" PRIu64 "/%" PRIu64 "/%" PRIu64,
	         output_uint(b, "connections"), output_uint(b, "soft_limit"),
	         output_uint(b, "hard_limit"));
	snprintf(cell[FIELD_WEIGHT], CELL_MAX, "%" PRIu64, output_uint(b, "weight"));
	snprintf(cell[FIELD_RTT], CELL_MAX, "%s", rtt_us > 0 ? output_us(rtt_us, time) : "");
	snprintf(cell[FIELD_CONNECTS], CELL_MAX, "%" PRIu64, output_uint(b, "connects"));
	snprintf(cell[FIELD_FAILURES], CELL_MAX, "%" PRIu64, output_uint(b, "failures"));
	snprintf(cell[FIELD_ADDR], CELL_MAX, "%s", output_text(b, "addr", "?"));
	snprintf(cell[FIELD_RAMP], CELL_MAX, ramp > 0 ? "%" PRIu64 "%%" : "-", ramp);
	format_faults(b, cell[FIELD_FAULTS]);
	for (int i = 0; i < FIELDS; i++)
		cells[i] = cell[i][0] != '\0' ? cell[i] : NULL;
	text_table_add(t, cells);
}

/* All pages, as if there were one. */
static int fetch_all(struct control *c, const struct arguments *a, json_t **ret)
{
	char offset[24] = "0";
	json_t *all = json_array();
	json_t *next;
	int r;

	do {
		struct control_path path;
		struct control_answer answer;

		control_path_init(&path, "/api/v1/live/backends");
		control_path_parameter(&path, "limit", PAGE);
		control_path_parameter(&path, "offset", offset);
		control_path_parameter(&path, "app", arguments_value(a, "app"));
		control_path_parameter(&path, "region", arguments_value(a, "region"));
		control_path_parameter(&path, "state", arguments_value(a, "state"));
		r = control_ask(c, "GET", &path, &answer);
		if (r != CONTROL_OK) {
			json_decref(all);
			return r;
		}
		(void)json_array_extend(all, json_object_get(answer.json, "backends"));
		next = json_object_get(answer.json, "next");
		if (json_is_integer(next))
			snprintf(offset, sizeof(offset), "%" JSON_INTEGER_FORMAT,
			         json_integer_value(next));
		else
			next = NULL;
		control_answer_done(&answer);
	} while (next != NULL);
	*ret = all;
	return CONTROL_OK;
}

static void print_list(const json_t *backends, bool wide)
{
	struct text_table *t = text_table_new(columns, wide ? FIELDS : FIELDS_NARROW);
	size_t n = json_array_size(backends);

	if (n == 0)
		printf("no backend\n");
	for (size_t i = 0; t != NULL && i < n; i++)
		add_row(t, json_array_get(backends, i));
	text_table_end(t);
}

int backends_main(int argc, char **argv)
{
	struct arguments a;
	struct control *c;
	json_t *backends;
	int r = arguments_read(argc, argv, "edgeproxy backends [OPTION ...]", backends_options, 0,
	                       0, &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	r = control_open("backends", &c);
	if (r != CONTROL_OK)
		return r;
	r = fetch_all(c, &a, &backends);
	if (r == CONTROL_OK) {
		if (arguments_has(&a, "json")) {
			json_t *whole = json_pack("{s:O}", "backends", backends);

			json_dumpf(whole, stdout, JSON_COMPACT);
			putchar('\n');
			json_decref(whole);
		} else {
			print_list(backends, arguments_has(&a, "wide"));
		}
		json_decref(backends);
	}
	control_close(c);
	return r;
}

/* ---- drain, ready, maint ---- */

static void print_drain(const json_t *rules)
{
	char text[OUTPUT_TEXT_MAX];
	uint64_t grace_secs = output_uint(rules, "grace_secs");

	printf("  Its connections go on until they end.\n");
	if (grace_secs > 0)
		printf("  Clients that had it may come back to it for %s; all others go "
		       "elsewhere.\n",
		       output_secs(grace_secs, text));
	else
		printf("  No new client comes to it.\n");
}

static void print_maint(const json_t *rules)
{
	char text[OUTPUT_TEXT_MAX];
	uint64_t spread_secs = output_uint(rules, "close_spread_secs");

	if (output_bool(rules, "shutdown_sessions"))
		printf("  Its connections are ended now.\n");
	else if (spread_secs > 0)
		printf("  Its connections are ended, spread over %s.\n",
		       output_secs(spread_secs, text));
	else
		printf("  Its connections go on until they end (EDGEPROXY_CLOSE_SPREAD_SECS is "
		       "0); to end\n  them now: edgeproxy sessions end --backend ID\n");
	printf("  No client comes to it, not even one that had it.\n");
}

static void print_ready(const json_t *b)
{
	if (!output_bool(b, "healthy"))
		printf("  But its row says healthy = 0: no client comes to it before that is 1.\n");
	else if (output_uint(b, "weight") == 0)
		printf("  But its weight is 0: no new client comes to it.\n");
	else
		printf("  New clients come to it again, unless health checks say otherwise.\n");
}

static void print_change(const char *state, const json_t *b, const json_t *status)
{
	const json_t *rules = json_object_get(status, "drain_rules");

	output_print(output_text(b, "id", "?"));
	printf(" is in state %s, with %" PRIu64 " connections; workers know within 200 ms.\n",
	       state, output_uint(b, "connections"));
	if (strcmp(state, "drain") == 0)
		print_drain(rules);
	else if (strcmp(state, "maint") == 0)
		print_maint(rules);
	else
		print_ready(b);
}

int backend_state_main(int argc, char **argv)
{
	const char *state = argv[0];
	struct control_answer answer, status;
	struct control_path path;
	struct arguments a;
	struct control *c;
	char usage[64];
	int r;

	snprintf(usage, sizeof(usage), "edgeproxy %s BACKEND [--json]", state);
	r = arguments_read(argc, argv, usage, backend_state_options, 1, 1, &a);
	if (r != ARGUMENTS_GO_ON)
		return r;
	r = control_open(state, &c);
	if (r != CONTROL_OK)
		return r;
	control_path_init(&path, "/api/v1/backends");
	control_path_segment(&path, a.rest[0]);
	control_path_segment(&path, state);
	r = control_ask(c, "POST", &path, &answer);
	if (r == CONTROL_OK) {
		control_path_init(&path, "/api/v1/status");
		if (arguments_has(&a, "json")) {
			output_raw(answer.text, answer.len);
		} else if ((r = control_ask(c, "GET", &path, &status)) == CONTROL_OK) {
			print_change(state, answer.json, status.json);
			control_answer_done(&status);
		}
		control_answer_done(&answer);
	}
	control_close(c);
	return r;
}
