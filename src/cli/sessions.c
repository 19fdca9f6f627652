/* Sessions are listed and ended by the same filter, so who wants to end some can look first. Ending
 * more than one asks, unless --yes says so; without a terminal to ask at, it does not end them. */
#include "cli/sessions.h"

#include "cli/confirm.h"
#include "cli/control.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN "100"
#define CELL_MAX 200

const struct command_option sessions_options[] = {
	{"client", "CIDR", "of clients in this network, or with this address", ARGUMENT_TEXT},
	{"backend", "ID", "at this backend", ARGUMENT_BACKEND},
	{"country", "CC", "of clients in this country", ARGUMENT_TEXT},
	{"app", "APP", "of this app", ARGUMENT_TEXT},
	{"limit", "N", "show so many at most, 0 to 10000 (" SHOWN ")", ARGUMENT_TEXT},
	{"all", NULL, "end: every session", ARGUMENT_TEXT},
	{"yes", NULL, "end: do not ask", ARGUMENT_TEXT},
	{"json", NULL, "the answer of the API as it is", ARGUMENT_TEXT},
	{0},
};

enum field {
	FIELD_ID,
	FIELD_CLIENT,
	FIELD_COUNTRY,
	FIELD_BACKEND,
	FIELD_STATE,
	FIELD_AGE,
	FIELD_IDLE,
	FIELD_IN,
	FIELD_OUT,
	FIELDS
};

static const struct text_column columns[FIELDS] = {
	[FIELD_ID] = {.head = "SESSION"},
	[FIELD_CLIENT] = {.head = "CLIENT", .cut = true},
	[FIELD_COUNTRY] = {.head = "CC"},
	[FIELD_BACKEND] = {.head = "BACKEND", .cut = true},
	[FIELD_STATE] = {.head = "STATE"},
	[FIELD_AGE] = {.head = "AGE", .right = true},
	[FIELD_IDLE] = {.head = "IDLE", .right = true},
	[FIELD_IN] = {.head = "IN", .right = true},
	[FIELD_OUT] = {.head = "OUT", .right = true},
};

static void add_row(struct text_table *t, const json_t *s)
{
	char age[OUTPUT_TEXT_MAX], idle[OUTPUT_TEXT_MAX];
	char in[OUTPUT_TEXT_MAX], out[OUTPUT_TEXT_MAX];
	const char *cells[FIELDS] = {
		[FIELD_ID] = output_text(s, "id", "?"),
		[FIELD_CLIENT] = output_text(s, "client", "?"),
		[FIELD_COUNTRY] = output_text(s, "country", "-"),
		[FIELD_BACKEND] = output_text(s, "backend", "-"),
		[FIELD_STATE] = output_bool(s, "ending") ? "ending" : output_text(s, "state", "?"),
		[FIELD_AGE] = output_age(output_uint(s, "age_ms") / 1000, age),
		[FIELD_IDLE] = output_age(output_uint(s, "idle_ms") / 1000, idle),
		[FIELD_IN] = output_size(output_uint(s, "bytes_in"), in),
		[FIELD_OUT] = output_size(output_uint(s, "bytes_out"), out),
	};

	text_table_add(t, cells);
}

static void print_list(const json_t *answer)
{
	const json_t *sessions = json_object_get(answer, "sessions");
	uint64_t matched = output_uint(answer, "matched");
	struct text_table *t = text_table_new(columns, FIELDS);
	size_t n = json_array_size(sessions);

	for (size_t i = 0; t != NULL && i < n; i++)
		add_row(t, json_array_get(sessions, i));
	if (t != NULL && n > 0)
		text_table_print(t);
	text_table_free(t);
	if (matched > n)
		printf("%zu of %" PRIu64 " sessions that match; of %" PRIu64 " in all\n", n,
		       matched, output_uint(answer, "seen"));
	else
		printf("%s%" PRIu64 " of %" PRIu64 " sessions\n", n > 0 ? "" : "none: ", matched,
		       output_uint(answer, "seen"));
}

static void filter_path(struct control_path *path, const struct arguments *a, const char *limit)
{
	control_path_init(path, "/api/v1/sessions");
	control_path_parameter(path, "client", arguments_value(a, "client"));
	control_path_parameter(path, "backend", arguments_value(a, "backend"));
	control_path_parameter(path, "country", arguments_value(a, "country"));
	control_path_parameter(path, "app", arguments_value(a, "app"));
	control_path_parameter(path, "limit", limit);
}

static int list(struct control *c, const struct arguments *a)
{
	struct control_answer answer;
	struct control_path path;
	int r;

	filter_path(&path, a, arguments_value(a, "limit"));
	r = control_ask(c, "GET", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	if (arguments_has(a, "json"))
		output_raw(answer.text, answer.len);
	else
		print_list(answer.json);
	control_answer_done(&answer);
	return CONTROL_OK;
}

static int end_one(struct control *c, const struct arguments *a, const char *id)
{
	struct control_answer answer;
	struct control_path path;
	int r;

	control_path_init(&path, "/api/v1/sessions");
	control_path_segment(&path, id);
	r = control_ask(c, "DELETE", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	if (arguments_has(a, "json")) {
		output_raw(answer.text, answer.len);
	} else {
		printf("ended: session %s of client %s; both sides were reset\n",
		       output_text(answer.json, "id", "?"),
		       output_text(answer.json, "client", "?"));
	}
	control_answer_done(&answer);
	return CONTROL_OK;
}

static int end_some(struct control *c, const struct arguments *a)
{
	struct control_answer answer;
	struct control_path path;
	uint64_t matched;
	int r;

	filter_path(&path, a, "0");
	if (!path.has_query || (strstr(path.text, "?limit=") != NULL && !arguments_has(a, "all"))) {
		fprintf(stderr, "edgeproxy sessions: end which? Name a session, filter by "
		                "--client, --backend, --country or --app, or say --all\n");
		return CONTROL_ARGUMENTS;
	}
	if (!arguments_has(a, "yes")) {
		r = control_ask(c, "GET", &path, &answer);
		if (r != CONTROL_OK)
			return r;
		matched = output_uint(answer.json, "matched");
		control_answer_done(&answer);
		if (matched > 0 && !confirm("sessions", matched, "sessions will be reset"))
			return CONTROL_FAILED;
	}
	filter_path(&path, a, arguments_value(a, "limit"));
	control_path_parameter(&path, "all", arguments_has(a, "all") ? "true" : NULL);
	r = control_ask(c, "DELETE", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	if (arguments_has(a, "json"))
		output_raw(answer.text, answer.len);
	else
		printf("ended: %" PRIu64 " sessions; both sides were reset\n",
		       output_uint(answer.json, "ended"));
	control_answer_done(&answer);
	return CONTROL_OK;
}

int sessions_main(int argc, char **argv)
{
	struct arguments a;
	struct control *c;
	int r = arguments_read(argc, argv, "edgeproxy sessions [end [SESSION]] [OPTION ...]",
	                       sessions_options, 0, 2, &a);
	bool end;

	if (r != ARGUMENTS_GO_ON)
		return r;
	end = a.rest_count > 0 && strcmp(a.rest[0], "end") == 0;
	if (a.rest_count > 0 && !end) {
		fprintf(stderr, "edgeproxy sessions: unknown word: %s; there is only \"end\"\n",
		        a.rest[0]);
		return CONTROL_ARGUMENTS;
	}
	r = control_open("sessions", &c);
	if (r != CONTROL_OK)
		return r;
	if (!end)
		r = list(c, &a);
	else if (a.rest_count == 2)
		r = end_one(c, &a, a.rest[1]);
	else
		r = end_some(c, &a);
	control_close(c);
	return r;
}
