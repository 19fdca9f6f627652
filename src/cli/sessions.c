/* Sessions one by one, as they are at this moment, and what is said of those that were ended. How
 * they are selected and ended is cli/selection.c. */
#include "cli/sessions.h"

#include "cli/output.h"
#include "cli/selection.h"

#include <inttypes.h>
#include <stdio.h>

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

static void print_list(const struct arguments *a, const json_t *answer)
{
	const json_t *rows = json_object_get(answer, "sessions");
	uint64_t matched = output_uint(answer, "matched");
	struct text_table *t = text_table_new(columns, FIELDS);
	size_t n = json_array_size(rows);

	(void)a;
	for (size_t i = 0; t != NULL && i < n; i++)
		add_row(t, json_array_get(rows, i));
	text_table_end(t);
	if (matched > n)
		printf("%zu of %" PRIu64 " sessions that match; of %" PRIu64 " in all\n", n,
		       matched, output_uint(answer, "seen"));
	else
		printf("%s%" PRIu64 " of %" PRIu64 " sessions\n", n > 0 ? "" : "none: ", matched,
		       output_uint(answer, "seen"));
}

static void print_ended(const struct arguments *a, const json_t *answer)
{
	(void)a;
	printf("ended: %" PRIu64 " sessions; both sides were reset\n",
	       output_uint(answer, "ended"));
}

static void print_one(const struct arguments *a, const json_t *answer)
{
	(void)a;
	printf("ended: session %s of client %s; both sides were reset\n",
	       output_text(answer, "id", "?"), output_text(answer, "client", "?"));
}

static const struct selection sessions = {
	.command = "sessions",
	.usage = "edgeproxy sessions [end [SESSION]] [OPTION ...]",
	.options = sessions_options,
	.filters = (const char *const[]){"client", "backend", "country", "app", NULL},
	.path = "/api/v1/sessions",
	.verb = "end",
	.which = "end which? Name a session, filter by --client, --backend, --country or --app, "
		 "or say --all",
	.consequence = "sessions will be reset",
	.names_ended = true,
	.print_list = print_list,
	.print_ended = print_ended,
	.print_one = print_one,
};

int sessions_main(int argc, char **argv)
{
	return selection_main(&sessions, argc, argv);
}
