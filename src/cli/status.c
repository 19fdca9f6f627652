/* `edgeproxy status`: one page about the process that answers at the control socket. */
#include "cli/status.h"

#include "cli/arguments.h"
#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LABEL "%-10s "
#define DATE_MAX 16

const struct command_option status_options[] = {
	{.name = "json", .help = "the answer of the API as it is"},
	{0},
};

static void print_process(const json_t *s, const char *socket)
{
	char text[OUTPUT_TEXT_MAX];

	printf("edgeproxy ");
	output_print(output_text(s, "version", "?"));
	printf("  pid %" PRIu64 ", up %s%s\n", output_uint(s, "pid"),
	       output_secs(output_uint(s, "uptime_secs"), text),
	       strcmp(output_text(s, "status", ""), "ok") == 0
	               ? ""
	               : ", stopping: accepts no new clients");
	printf(LABEL "%s\n", "socket", socket);
	printf(LABEL "region %s, app %s; %" PRIu64 " workers\n", "POP",
	       output_text(s, "region", "?"), output_text(s, "app", "any"),
	       output_uint(s, "workers"));
}

static void print_traffic(const json_t *s)
{
	const json_t *sessions = json_object_get(s, "sessions");
	const json_t *queue = json_object_get(s, "queue");
	uint64_t elsewhere = output_uint(sessions, "draining_elsewhere");
	char in[OUTPUT_TEXT_MAX], out[OUTPUT_TEXT_MAX];

	printf(LABEL "%" PRIu64 " now, %" PRIu64 " accepted; %s from clients, %s to them\n",
	       "sessions", output_uint(sessions, "now"), output_uint(sessions, "accepted"),
	       output_bytes(output_uint(sessions, "bytes_received"), in),
	       output_bytes(output_uint(sessions, "bytes_sent"), out));
	if (elsewhere > 0)
		printf(LABEL "%" PRIu64 " more in the processes that this one has taken over from, "
		             "which drain\n",
		       "upgrade", elsewhere);
	printf(LABEL "%" PRIu64 " wait for a place; %" PRIu64 " have waited\n", "queue",
	       output_uint(queue, "waiting"), output_uint(queue, "waited"));
}

static void print_backends(const json_t *s)
{
	const json_t *b = json_object_get(s, "backends");
	const json_t *faults = json_object_get(b, "faults");
	const char *comma = "; ";
	const char *word;
	const json_t *count;
	void *at;

	printf(LABEL "%" PRIu64 ", %" PRIu64 " take clients", "backends", output_uint(b, "rows"),
	       output_uint(b, "usable"));
	for (at = json_object_iter((json_t *)(uintptr_t)faults); at != NULL;
	     at = json_object_iter_next((json_t *)(uintptr_t)faults, at)) {
		word = json_object_iter_key(at);
		count = json_object_iter_value(at);
		if (json_integer_value(count) > 0) {
			printf("%s%" JSON_INTEGER_FORMAT " %s", comma, json_integer_value(count),
			       word);
			comma = ", ";
		}
	}
	for (size_t i = 0; i < 3; i++) {
		static const char *const keys[] = {"drain", "maint", "warming_up"};
		static const char *const words[] = {"to drain", "in maint", "in slow start"};

		if (output_uint(b, keys[i]) == 0)
			continue;
		printf("%s%" PRIu64 " %s", comma, output_uint(b, keys[i]), words[i]);
		comma = ", ";
	}
	printf("\n");
}

static void print_panic(const json_t *s)
{
	const json_t *apps = json_object_get(s, "panic");

	for (size_t i = 0; i < json_array_size(apps); i++) {
		const char *app = json_string_value(json_array_get(apps, i));

		printf(LABEL "faults of ", i == 0 ? "PANIC" : "");
		output_print(app != NULL ? app : "all apps together");
		printf(" are ignored: too few of its backends are sound\n");
	}
}

static void print_sources(const json_t *s)
{
	const json_t *table = json_object_get(s, "table");
	const json_t *geo = json_object_get(s, "geo");
	time_t built = (time_t)output_uint(geo, "build_epoch");
	const char *path = output_text(geo, "path", NULL);
	char age[OUTPUT_TEXT_MAX];
	char date[DATE_MAX] = "?";
	struct tm tm;

	printf(LABEL, "routes");
	output_print(output_text(table, "path", "?"));
	printf(": table %" PRIu64 ", %s old; %" PRIu64 " services\n", output_uint(table, "version"),
	       output_secs(output_uint(table, "age_secs"), age), output_uint(table, "services"));
	if (output_uint(table, "quarantined") != 0)
		printf(LABEL "%" PRIu64 " rows are quarantined: edgeproxy check names them\n", "",
		       output_uint(table, "quarantined"));
	if (json_is_true(json_object_get(table, "failing")))
		printf(LABEL "the database cannot be read; the last good table routes\n", "");
	if (json_is_true(json_object_get(table, "held")))
		printf(LABEL "a table with far fewer backends is held back: SIGHUP accepts it\n",
		       "");
	printf(LABEL, "countries");
	if (!json_is_object(geo)) {
		printf("no database\n");
		return;
	}
	if (gmtime_r(&built, &tm) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	output_print(output_text(geo, "type", "?"));
	printf(", built %s, ", date);
	output_print(path != NULL ? path : "the one inside the binary");
	printf("\n");
}

int status_main(int argc, char **argv)
{
	struct arguments arguments;
	struct control_path path;
	struct control_answer a;
	struct control *c;
	int r = arguments_read(argc, argv, "edgeproxy status [--json]", status_options, 0, 0,
	                       &arguments);

	if (r != ARGUMENTS_GO_ON)
		return r;
	r = control_open("status", &c);
	if (r != CONTROL_OK)
		return r;
	control_path_init(&path, "/api/v1/status");
	r = control_ask(c, "GET", &path, &a);
	if (r == CONTROL_OK) {
		if (arguments_has(&arguments, "json")) {
			output_raw(a.text, a.len);
		} else {
			print_process(a.json, control_socket(c));
			print_traffic(a.json);
			print_backends(a.json);
			print_panic(a.json);
			print_sources(a.json);
		}
		control_answer_done(&a);
	}
	control_close(c);
	return r;
}
