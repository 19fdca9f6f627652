/* Bindings are shown as a count by backend, and one by one where somebody asks for some of them.
 * How they are selected and cleared is cli/selection.c. */
#include "cli/bindings.h"

#include "cli/output.h"
#include "cli/selection.h"

#include <inttypes.h>
#include <stdio.h>

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
	text_table_end(t);
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
	text_table_end(t);
}

static const char *const filters[] = {"client", "backend", "app", NULL};

static void print_list(const struct arguments *a, const json_t *answer)
{
	if (arguments_has_any(a, filters) || arguments_has(a, "limit"))
		print_entries(answer);
	else
		print_counts(answer);
	printf("%" PRIu64 " of %" PRIu64 " bindings\n", output_uint(answer, "matched"),
	       output_uint(answer, "seen"));
}

static void print_cleared(const struct arguments *a, const json_t *answer)
{
	(void)a;
	printf("cleared: %" PRIu64 " bindings; these clients are routed anew when they connect\n",
	       output_uint(answer, "cleared"));
}

static const struct selection bindings = {
	.command = "bindings",
	.usage = "edgeproxy bindings [clear] [OPTION ...]",
	.options = bindings_options,
	.filters = filters,
	.path = "/api/v1/bindings",
	.verb = "clear",
	.which = "clear which? Filter by --client, --backend or --app, or say --all",
	.consequence = "bindings will be forgotten",
	.print_list = print_list,
	.print_ended = print_cleared,
};

int bindings_main(int argc, char **argv)
{
	return selection_main(&bindings, argc, argv);
}
