/* Bindings are shown as a count by backend, and one by one where somebody asks for some of them. */
#include "cli/bindings.h"

#include "cli/confirm.h"
#include "cli/control.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct command_option bindings_options[] = {
	{"client", "CIDR", "of clients in this network, or with this address", ARGUMENT_TEXT},
	{"backend", "ID", "to this backend", ARGUMENT_BACKEND},
	{"app", "APP", "to backends of this app", ARGUMENT_TEXT},
	{"limit", "N", "show so many at most, 0 to 1000", ARGUMENT_TEXT},
	{"all", NULL, "clear: every binding", ARGUMENT_TEXT},
	{"yes", NULL, "clear: do not ask", ARGUMENT_TEXT},
	{"json", NULL, "the answer of the API as it is", ARGUMENT_TEXT},
	{0},
};

static const struct text_column count_columns[] = {
	{.head = "BACKEND", .cut = true},
	{.head = "BINDINGS", .right = true},
};

static const struct text_column entry_columns[] = {
	{.head = "CLIENT"},
	{.head = "BACKEND", .cut = true},
	{.head = "SERVICE", .cut = true},
	{.head = "UNUSED FOR", .right = true},
};

static void print_counts(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "by_backend");
	struct text_table *t = text_table_new(count_columns, 2);
	char count[OUTPUT_TEXT_MAX];

	for (size_t i = 0; t != NULL && i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);

		snprintf(count, sizeof(count), "%" PRIu64, output_uint(row, "bindings"));
		text_table_add(t, (const char *[]){output_text(row, "backend", "(gone)"), count});
	}
	if (t != NULL && json_array_size(list) > 0)
		text_table_print(t);
	text_table_free(t);
}

static void print_entries(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "bindings");
	struct text_table *t = text_table_new(entry_columns, 4);
	char unused[OUTPUT_TEXT_MAX];

	for (size_t i = 0; t != NULL && i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);

		text_table_add(
			t, (const char *[]){output_text(row, "client", "?"),
		                            output_text(row, "backend", "(gone)"),
		                            output_text(row, "service", "(gone)"),
		                            output_secs(output_uint(row, "unused_secs"), unused)});
	}
	if (t != NULL && json_array_size(list) > 0)
		text_table_print(t);
	text_table_free(t);
}

static void filter_path(struct control_path *path, const struct arguments *a, const char *limit)
{
	control_path_init(path, "/api/v1/bindings");
	control_path_parameter(path, "client", arguments_value(a, "client"));
	control_path_parameter(path, "backend", arguments_value(a, "backend"));
	control_path_parameter(path, "app", arguments_value(a, "app"));
	control_path_parameter(path, "limit", limit);
}

static bool is_filtered(const struct arguments *a)
{
	return arguments_has(a, "client") || arguments_has(a, "backend") || arguments_has(a, "app");
}

static int list(struct control *c, const struct arguments *a)
{
	bool one_by_one = is_filtered(a) || arguments_has(a, "limit");
	struct control_answer answer;
	struct control_path path;
	int r;

	filter_path(&path, a, arguments_value(a, "limit"));
	r = control_ask(c, "GET", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	if (arguments_has(a, "json")) {
		output_raw(answer.text, answer.len);
	} else {
		if (one_by_one)
			print_entries(answer.json);
		else
			print_counts(answer.json);
		printf("%" PRIu64 " of %" PRIu64 " bindings\n", output_uint(answer.json, "matched"),
		       output_uint(answer.json, "seen"));
	}
	control_answer_done(&answer);
	return CONTROL_OK;
}

static int clear(struct control *c, const struct arguments *a)
{
	struct control_answer answer;
	struct control_path path;
	uint64_t matched;
	int r;

	if (!is_filtered(a) && !arguments_has(a, "all")) {
		fprintf(stderr, "edgeproxy bindings: clear which? Filter by --client, --backend or "
		                "--app, or say --all\n");
		return CONTROL_ARGUMENTS;
	}
	filter_path(&path, a, "0");
	if (!arguments_has(a, "yes")) {
		r = control_ask(c, "GET", &path, &answer);
		if (r != CONTROL_OK)
			return r;
		matched = output_uint(answer.json, "matched");
		control_answer_done(&answer);
		if (matched > 0 && !confirm("bindings", matched, "bindings will be forgotten"))
			return CONTROL_FAILED;
	}
	control_path_parameter(&path, "all", arguments_has(a, "all") ? "true" : NULL);
	r = control_ask(c, "DELETE", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	if (arguments_has(a, "json"))
		output_raw(answer.text, answer.len);
	else
		printf("cleared: %" PRIu64 " bindings; these clients are routed anew when they "
		       "connect\n",
		       output_uint(answer.json, "cleared"));
	control_answer_done(&answer);
	return CONTROL_OK;
}

int bindings_main(int argc, char **argv)
{
	struct arguments a;
	struct control *c;
	int r = arguments_read(argc, argv, "edgeproxy bindings [clear] [OPTION ...]",
	                       bindings_options, 0, 1, &a);
	bool clears;

	if (r != ARGUMENTS_GO_ON)
		return r;
	clears = a.rest_count > 0 && strcmp(a.rest[0], "clear") == 0;
	if (a.rest_count > 0 && !clears) {
		fprintf(stderr, "edgeproxy bindings: unknown word: %s; there is only \"clear\"\n",
		        a.rest[0]);
		return CONTROL_ARGUMENTS;
	}
	r = control_open("bindings", &c);
	if (r != CONTROL_OK)
		return r;
	r = clears ? clear(c, &a) : list(c, &a);
	control_close(c);
	return r;
}
